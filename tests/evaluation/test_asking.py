"""An answer is of the model and the item alone, and where there is none the evaluation says so."""

import random
import shutil

import pytest
import torch
from conftest import compose_config
from lm_eval.api.instance import Instance
from safetensors.torch import load_file, save_file
from test_scoring import SIZE, ids, model_of
from transformers import Gemma3TextConfig, GenerationConfig, LlamaConfig, MistralConfig, Qwen2Config

from arabic_llm import files
from arabic_llm.config.paths import PACKAGE
from arabic_llm.errors import ConfigError, ModelError
from arabic_llm.evaluation import rotary, scoring
from arabic_llm.evaluation.answers import Answers
from arabic_llm.evaluation.chat_lm import ChatLM, Limits
from arabic_llm.evaluation.prefixes import Request
from arabic_llm.models import adapter, bases, load, placement

LONG = {"max_position_embeddings": 16}
DYNAMIC = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}
LONGROPE = {
    **{"rope_type": "longrope", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 8},
    **{"short_factor": [1.0, 1.0, 1.0, 1.0], "long_factor": [1.0, 2.0, 4.0, 8.0]},
}
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}
LAYERS = {"sliding_attention": {"rope_type": "default", "rope_theta": 1e4}, "full_attention": DYNAMIC}


def asked(kind, *texts):
    """Return what lm-eval hands over, the items of a task."""
    return [Instance(kind, {}, text, 0, metadata=("school", at, 1)) for at, text in enumerate(texts)]


def judge(codec, *, config=Qwen2Config, max_length=64, batch_size=4, **options):
    model = model_of(config(**{**SIZE, "vocab_size": len(codec.tokenizer)}, **options))
    return ChatLM(model, codec, Limits(batch_size, max_length, None))


def poison(lm, token):
    """Let the logit of a token be nan, as one weight that is nan makes it."""
    with torch.no_grad():
        lm.model.get_output_embeddings().weight[token, 3] = float("nan")


PAIRS = (("ما عاصمة مصر؟", " القاهرة"), ("ما عاصمة مصر؟", " عمان"))
GENERATE = ("ما عاصمة مصر؟", {"max_gen_toks": 5, "until": []})


@pytest.mark.parametrize("config", [Qwen2Config, MistralConfig])  # our scorer, and lm-eval's
def test_a_model_with_one_weight_that_is_nan_gets_no_score(tiny_codec, config):
    lm = judge(tiny_codec, config=config)
    poison(lm, 77)
    said = r"^school, item [01]: the model's logits are not finite there \(nan\), so it has no answer"
    with pytest.raises(ModelError, match=said):
        lm.loglikelihood(asked("loglikelihood", *PAIRS), disable_tqdm=True)
    with pytest.raises(ModelError, match=said):
        lm.generate_until(asked("generate_until", GENERATE), disable_tqdm=True)
    assert not lm._answers._known


def test_the_row_that_is_not_finite_is_the_one_that_is_named(tiny_codec):
    lm, token = judge(tiny_codec), tiny_codec.tokenizer("مدرسة")["input_ids"][0]
    texts = ("ما عاصمة مصر؟", "مدرسة", "كلمة")
    assert all(token not in lm.tok_encode(text) for text in (texts[0], texts[2]))
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[token] = float("inf")
    with pytest.raises(ModelError, match="^school, item 1: "):
        lm.generate_until(asked("generate_until", *((text, GENERATE[1]) for text in texts)))
    with pytest.raises(ModelError, match="^school, item 1: "):
        lm.loglikelihood(asked("loglikelihood", *((text, " نعم") for text in texts)), disable_tqdm=True)


LONG_ANSWER = {"max_gen_toks": 24, "until": []}
REPEATS_OR_ENDS = (
    ("ما عاصمة مصر؟", LONG_ANSWER),
    ("<|im_start|>user\nما جمع كلمة كتاب؟<|im_end|>\n<|im_start|>assistant\n", LONG_ANSWER),
)
WISHES = {
    "repetition_penalty": 5.0,
    "no_repeat_ngram_size": 2,
    "encoder_repetition_penalty": 0.1,
    "suppress_tokens": list(range(100, 4000)),
    "begin_suppress_tokens": list(range(10, 4000)),
    "bad_words_ids": [[token] for token in range(10, 3000)],
    "min_length": 60,
    "min_new_tokens": 24,
    "forced_eos_token_id": 9,
    "sequence_bias": [[[5], 50.0]],
    "max_new_tokens": 2,
    "num_beams": 2,
    "stop_strings": ["ا"],
    "max_time": 0.0,
}


@pytest.fixture(scope="module")
def built_in(tiny_codec):
    """Return what asks the built-in model, and what it says."""
    config = compose_config("hw=cpu")
    base = bases.locate(config.model, None)
    model = load.base_model(config.model, base, config.adapter, placement.resolve(config.hw))
    lm = ChatLM(model, tiny_codec, Limits(4, 256, None))
    return lm, lm.generate_until(asked("generate_until", *REPEATS_OR_ENDS), disable_tqdm=True)


@pytest.mark.parametrize("wish", WISHES)
def test_what_a_checkpoint_wishes_of_its_answers_is_not_followed(built_in, monkeypatch, wish):
    lm, plain = built_in
    own = GenerationConfig(eos_token_id=2, pad_token_id=0)
    setattr(own, wish, WISHES[wish])
    monkeypatch.setattr(lm.model, "generation_config", own)
    lm._answers = Answers()
    assert lm.generate_until(asked("generate_until", *REPEATS_OR_ENDS), disable_tqdm=True) == plain
    assert lm.model.generation_config is own


def test_nor_are_they_with_an_adapter(tiny_codec):
    """An adapter hands its configuration on to the model it stands on."""
    config = compose_config("hw=cpu")
    base, said = bases.locate(config.model, None), []
    for penalty in (None, 5.0):
        model = load.base_model(config.model, base, config.adapter, placement.resolve(config.hw))
        adapted = adapter.attach(model, config.adapter, base, 1).eval()
        model.generation_config.repetition_penalty = penalty
        lm = ChatLM(adapted, tiny_codec, Limits(4, 256, None))
        for _ in range(2):
            said.append(lm.generate_until(asked("generate_until", *REPEATS_OR_ENDS), disable_tqdm=True))
            lm._answers = Answers()
        assert model.generation_config.repetition_penalty == penalty
    assert said == said[:1] * 4


def test_the_tokens_that_end_an_answer_are_the_checkpoints(tiny_codec):
    lm = judge(tiny_codec)
    (plain,) = lm.generate_until(asked("generate_until", GENERATE), disable_tqdm=True)
    prompt = lm.tok_batch_encode([GENERATE[0]])[0]
    (whole,) = lm.model.generate(prompt, max_new_tokens=5, do_sample=False, pad_token_id=0)
    said = whole[prompt.shape[1] :]
    lm.model.generation_config.eos_token_id = [2, int(said[1])]
    (ended,) = lm.generate_until(asked("generate_until", ("ما عاصمة مصر؟", {"max_gen_toks": 5})))
    assert plain.startswith(ended)
    assert lm.tok_encode(ended) == said[:2].tolist() != lm.tok_encode(plain)


def test_what_is_drawn_at_random_is_drawn_alike_each_time(tiny_codec):
    drawn = {"max_gen_toks": 5, "do_sample": True, "temperature": 1.0}
    texts = [
        judge(tiny_codec).generate_until(asked("generate_until", *[("س", drawn)] * 2)) for _ in range(2)
    ]
    assert texts[0] == texts[1]
    assert texts[0][0] != texts[0][1]


@pytest.mark.parametrize("rope", [DYNAMIC, LONGROPE], ids=lambda rope: rope["rope_type"])
def test_frequencies_that_follow_the_length_are_those_of_the_text_alone(tiny_codec, rope):
    options = {"config": LlamaConfig, "rope_parameters": rope, **LONG}
    lm = judge(tiny_codec, **options)
    assert not scoring.can_share(lm.model)
    draw = random.Random(3)
    pairs = [(("", str(n)), ids(draw, n), ids(draw, 3)) for n in (5, 12, 20, 40, 20)]
    together = lm._loglikelihood_tokens(pairs, disable_tqdm=True)
    for pair, (logprob, _) in zip(pairs, together, strict=True):
        alone = judge(tiny_codec, **options)
        read = torch.tensor([pair[1] + pair[2][:-1]])
        with torch.no_grad():
            logits = alone.model(read).logits[0, -3:].log_softmax(-1)
        assert logprob == pytest.approx(float(logits[range(3), pair[2]].sum()), abs=1e-4)
    prompts = [(text, {"max_gen_toks": 8}) for text in ("كتاب " * 9, "كتاب " * 2, "قلم " * 5)]
    said = lm.generate_until(asked("generate_until", *prompts), disable_tqdm=True)
    for prompt, text in zip(prompts, said, strict=True):
        assert judge(tiny_codec, **options).generate_until(asked("generate_until", prompt)) == [text]


def test_which_frequencies_follow_the_length():
    def follows(config, longest=None, **options):
        return rotary.follow_length(model_of(config(**SIZE, **LONG, **options)), longest)

    assert not follows(Qwen2Config)
    assert not follows(LlamaConfig, rope_parameters=LINEAR)
    assert follows(LlamaConfig, rope_parameters=DYNAMIC)
    assert follows(LlamaConfig, rope_scaling={"type": "dynamic", "factor": 2.0})  # as older files spell it
    assert follows(Gemma3TextConfig, rope_parameters=LAYERS, layer_types=[*LAYERS, "full_attention"])
    assert [follows(LlamaConfig, n, rope_parameters=DYNAMIC) for n in (16, 17)] == [False, True]
    assert [follows(LlamaConfig, n, rope_parameters=LONGROPE) for n in (8, 9)] == [False, True]
    one = model_of(LlamaConfig(**SIZE))
    one.config.rope_parameters = {"rope_type": "of next year"}
    assert not scoring.can_share(one, 4)


def test_short_texts_share_though_long_ones_would_not(tiny_codec):
    model = model_of(LlamaConfig(**SIZE, **LONG, rope_parameters=DYNAMIC))
    draw = random.Random(3)
    requests = [Request(ids(draw, 9), ids(draw, 2)) for _ in range(3)]
    assert scoring.can_share(model, 9)
    assert len(list(scoring.score(model, requests, range(3), 64))) == 3


@pytest.mark.parametrize(("context", "answer"), [("مد", "رسة"), ("م", "درسة"), ("  ", "القاهرة")])
def test_one_token_over_a_join_does_not_end_the_evaluation(tiny_codec, context, answer):
    """Both are one token together: the answer is then read by itself. Without a context it opens a text."""
    lm = judge(tiny_codec)
    if context.strip():
        assert lm.tok_encode(context + answer) == lm.tok_encode("مدرسة") != lm.tok_encode(context)
        assert len(lm.tok_encode(context + answer)) == 1
    answers = lm.loglikelihood(asked("loglikelihood", (context, answer), *PAIRS), disable_tqdm=True)
    assert answers[1:] == lm.loglikelihood(asked("loglikelihood", *PAIRS), disable_tqdm=True)
    read, said = lm._encode_pair(context, answer)
    assert lm.tokenizer.decode(said).strip() == answer
    with torch.no_grad():
        logits = lm.model(torch.tensor([read + said[:-1]])).logits[0, len(read) - 1 :].log_softmax(-1)
    assert answers[0][0] == pytest.approx(float(logits[range(len(said)), said].sum()), abs=1e-4)


def test_a_prompt_that_is_too_long_is_marked_with_what_it_lost(tiny_codec):
    lm, long = judge(tiny_codec, max_length=16), "كتاب كبير " * 20
    tokens = len(lm.tok_encode(long + " نعم"))
    lm.loglikelihood(asked("loglikelihood", (long, " نعم"), ("سؤال", " نعم")), disable_tqdm=True)
    assert lm.lost.of([(long, " نعم"), ("سؤال", " نعم")]) == tokens - 17  # the last one is not read
    assert lm.lost.of([("سؤال", " نعم")]) == 0
    how = {"max_gen_toks": 6, "until": []}
    lm.generate_until(asked("generate_until", (long, how), ("سؤال", how)), disable_tqdm=True)
    assert lm.lost.of([(long, how)]) == len(lm.tok_encode(long)) - 10
    assert lm.lost.of([("سؤال", how)]) == 0


@pytest.mark.parametrize("name", ["max_gen_toks", "max_new_tokens"])
def test_answers_that_leave_no_room_for_the_question_are_refused_in_a_line(tiny_codec, name):
    lm = judge(tiny_codec, max_length=16)
    said = r"^school, item 0: answers of 16 tokens leave no room for the question in model.max_length=16"
    with pytest.raises(ConfigError, match=said):
        lm.generate_until(asked("generate_until", ("سؤال", {name: 16})), disable_tqdm=True)


@pytest.fixture
def own_copy(tmp_path):
    """Return (folder, overrides) of a copy of the built-in model."""
    shutil.copytree(PACKAGE / "models" / "tiny", tmp_path / "own")
    own = ("model.builtin=false", f"model.path={tmp_path / 'own'}", "hw=cpu", "suite.limit=2")
    return tmp_path / "own", ("task=evaluate", *own)


def test_a_model_that_cannot_answer_ends_in_one_line_with_exit_code_2(program, own_copy):
    folder, command = own_copy
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][3, 3] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    status, said = program(*command)
    assert status == 2
    assert said.splitlines()[-1].startswith("error: sample_choice, item ")
    assert "the model's logits are not finite there (nan)" in said.splitlines()[-1]
    assert not list(folder.parent.rglob("items.jsonl"))


def test_prompts_that_were_cut_are_counted_where_scores_are_read(program, own_copy, tmp_path):
    status, said = program(*own_copy[1], "model.max_length=40", "hydra.run.dir=mine")
    assert status == 0
    line = "sample_short: 2 of 2 prompts are longer than the model can see and lost their beginning"
    assert line in said
    assert line in (tmp_path / "mine" / "evaluation" / "scores.md").read_text()
    items = files.read_json_lines(tmp_path / "mine" / "evaluation" / "items.jsonl")
    lost = {item["task"] for item in items if item["lost_tokens"] > 0}
    assert "sample_short" in lost != {item["task"] for item in items}
    assert {task for task in lost if f"\n{task}: 2 of 2 prompts" in said} == lost
