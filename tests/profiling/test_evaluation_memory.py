"""The memory of evaluating: planned before it, measured meanwhile, and no answer is changed by that."""

from dataclasses import asdict, replace

import pytest
import tiny_bert
from conftest import compose_config
from lm_eval.api.instance import Instance

from arabic_llm import files
from arabic_llm.config.hw import GIB, Precision
from arabic_llm.data.tokens import chat_template
from arabic_llm.errors import HardwareError
from arabic_llm.evaluation import harness, masked_lm, suites
from arabic_llm.evaluation.chat_lm import ChatLM, Limits
from arabic_llm.evaluation.prompts import Prompt
from arabic_llm.memory import eval_batching
from arabic_llm.models import adapter, bases, load, placement, tokenization
from arabic_llm.profiling import evaluation_fit, evaluation_memory


def judged(folder, *overrides, limit=3):
    """Return the items of an evaluation; what it took is left in the folder, where there is one."""
    config = compose_config("suite=sample", "hw=cpu", f"suite.limit={limit}", *overrides)
    base, place = bases.locate(config.model, None), placement.resolve(config.hw)
    model = load.base_model(config.model, base, config.adapter, place)
    if config.adapter.rank is not None:
        model = adapter.attach(model, config.adapter, base, 1)
    codec = chat_template.prepare(tokenization.load(base), config.model)
    chosen = suites.load(config.suite, files.Path("nowhere"))
    limits = Limits(16, config.model.max_length, config.suite.limit)
    with evaluation_memory.watching(model, folder):
        return harness.evaluate(model, codec, chosen, limits, ({}, {})).items


@pytest.mark.parametrize(
    "overrides",
    [
        ("adapter=none",),
        ("adapter=qlora", "hw.precision=bfloat16"),
        ("adapter=lora", "~suite.tasks.sample_short"),
    ],
    ids=" ".join,
)
def test_what_judging_takes_is_predicted_within_five_percent(tmp_path, overrides):
    judged(tmp_path, *overrides)
    found = files.read_json(tmp_path / evaluation_memory.MEMORY)
    assert found["predicted"] == pytest.approx(found["measured"], rel=0.05)
    assert found["measured"] > 3.4e6


@pytest.mark.parametrize("examples", [0, 60], ids=["plain", "behind examples"])
def test_what_answers_take_is_predicted_too_behind_examples_as_well(tiny_codec, tmp_path, examples):
    config = compose_config("hw=cpu")
    base, place = bases.locate(config.model, None), placement.resolve(config.hw)
    model = load.base_model(config.model, base, config.adapter, place)
    before = "س: ما جمع ولد؟\nج: أولاد\n\n" * examples
    texts = [f"{before}س: ما جمع {word}؟" for word in ("كتاب", "مدرسة", "قلم", "بيت", "باب")] * 3
    how = {"max_gen_toks": 40, "until": ["\n\n"]}
    requests = [Instance("generate_until", {}, (t, how), 0, metadata=("s", 0, 1)) for t in texts]
    with evaluation_memory.watching(model, tmp_path):
        ChatLM(model, tiny_codec, Limits(16, 2048, None)).generate_until(requests, disable_tqdm=True)
    found = files.read_json(tmp_path / evaluation_memory.MEMORY)
    assert found["widest"]["shared"] > 200 if examples else found["widest"]["in_place"][0] == 15
    assert found["predicted"] == pytest.approx(found["measured"], rel=0.05)


def test_measuring_changes_no_answer(tmp_path):
    watched, alone = judged(tmp_path), judged(None)
    assert (tmp_path / evaluation_memory.MEMORY).exists()
    assert [asdict(item) for item in watched] == [asdict(item) for item in alone]


def test_a_masked_model_is_measured_too(tmp_path):
    config = compose_config(
        "task=evaluate", *tiny_bert.OVERRIDES, "suite=sample", f"model.path={tiny_bert.save(tmp_path)}"
    )
    base = bases.locate(config.model, None)
    model = load.base_model(config.model, base, config.adapter, placement.resolve(config.hw))
    chosen, _ = masked_lm.applicable(suites.load(config.suite, tmp_path), "arabert")
    with evaluation_memory.watching(model, tmp_path):
        harness.evaluate(model, tokenization.load(base), chosen, Limits(4, 128, 4), ({}, {}))
    found = files.read_json(tmp_path / evaluation_memory.MEMORY)
    assert found["predicted"] == pytest.approx(found["measured"], rel=0.05)


def test_prompts_are_said_in_batches_that_fit(tiny_codec):
    config = compose_config("hw=cpu")
    own = eval_batching.room(config.model, config.adapter, config.hw)
    budget = own.needed(own.worst(2, 1200, generates=True))
    narrow = replace(own, most=4, budget_bytes=budget)
    base = bases.locate(config.model, None)
    model = load.base_model(config.model, base, config.adapter, placement.resolve(config.hw))
    asked = ChatLM(model, tiny_codec, Limits(4, 2048, None, narrow))
    lengths = [40, 1100, 1000, 30, 900, 20, 10]
    request = Instance("generate_until", {}, ("", {"max_gen_toks": 100}), 0, metadata=("school", 0, 1))
    prompts = [Prompt(request, "", tuple(range(n, 2 * n)), is_cut=False, most=100) for n in lengths]
    assert [batch.prompts for batch in asked._batches(prompts)] == [(1, 2), (4, 0), (3, 5, 6)]


def on_a_card(*overrides):
    """Return a configuration, and its fit as if the card of its hw were here."""
    config = compose_config("task=evaluate", "suite=sample", *overrides)
    fitted = evaluation_fit.fit(config, suites.load(config.suite, files.Path("nowhere")), adapted=False)
    return config, replace(fitted, place=replace(fitted.place, device="cuda", precision=Precision.bfloat16))


def test_a_model_of_which_not_one_question_fits_is_refused_in_a_line_with_the_cure():
    config, fitted = on_a_card("model=llama3_8b", "adapter=lora", "hw=8gb")
    expected = (
        r"^hw=8gb leaves 7.4 GiB and judging llama3_8b needs 15\.\d\d \(weights 14.96, cache 0.\d\d,"
        r" activations 0.\d\d, logits 0.\d\d\) for one question of 1,024 tokens:"
        r" take adapter.quantization=nf4, a smaller model or a larger hw$"
    )
    with pytest.raises(HardwareError, match=expected):
        evaluation_fit.refuse(config, fitted)
    assert "one question of 1,024 tokens needs 15." in evaluation_fit.line(config, fitted, 12)
    assert "GiB of 7.4 that hw leaves, which is too much" in evaluation_fit.line(config, fitted, 12)
    evaluation_fit.refuse(*on_a_card("model=llama3_8b", "adapter=qlora", "hw=8gb"))


def test_the_line_says_how_many_at_once_and_how_long():
    config, fitted = on_a_card("model=qwen2_1_5b", "adapter=qlora", "hw=4gb")
    said = evaluation_fit.line(config, fitted, 1234)
    assert said.startswith(
        "plan: judging qwen2_1_5b (nf4) on 1,234 items: batches of 4, contexts up to 9,216 tokens"
        " (one at a time up to 13,184 of the 32,768 it reads): needs up to 2."
    )
    assert "GiB of 3.6 that hw leaves: weights 1.06, cache 0." in said
    worst = fitted.own.worst(4, 9216, generates=True)
    assert worst.allocated < fitted.own.needed(worst) < 3.6 * GIB
