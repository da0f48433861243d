"""What judging takes: the closed form is what the real code makes, and batches are the most that fit."""

from dataclasses import replace

import pytest
from conftest import compose_config, model_config

from arabic_llm.config import paths
from arabic_llm.config.hw import GIB, MIB, Precision
from arabic_llm.config.model import ModelKind
from arabic_llm.memory import eval_batching
from arabic_llm.memory.inference_peak import ForwardPass, LoadedModel, predict
from arabic_llm.profiling import evaluation_rehearsal

NAMES = sorted({path.stem for path in (paths.CONF / "model").glob("*.yaml")} - {"auto", "local"})
MODELS = [model_config(name) for name in NAMES]
CAUSAL = [model for model in MODELS if model.kind is ModelKind.causal]
SHAPES = {str(replace(model.architecture, other={})): model for model in CAUSAL}  # each once
PASSES = {
    "tree": ForwardPass(1, 256, 2048, 2304, 200, masked=True),
    "first": ForwardPass(1, 1024, 0, 0, 4),
    "prompts": ForwardPass(4, 768, 0, 0, 4, masked=True, is_scored=False),
    "token": ForwardPass(8, 1, 4095, 4095, 8, masked=True, is_scored=False),
    "prompts in place": ForwardPass(2, 384, 0, 0, 2, masked=True, is_scored=False, in_place=(8, 512)),
    "behind examples": ForwardPass(
        3, 96, 2048, 0, 3, masked=True, is_scored=False, in_place=(8, 352), shared=2048
    ),
    "said in place": ForwardPass(8, 1, 511, 0, 8, masked=True, is_scored=False, in_place=(8, 512)),
    "said apart": ForwardPass(
        *(8, 1, 2399, 0, 8), masked=True, is_scored=False, in_place=(8, 352), shared=2048, apart=True
    ),
}


def off(held, shape):
    """Return how far the closed form is off, in bytes and as a share of what the real code takes."""
    real = evaluation_rehearsal.peak(held, shape).allocated
    return abs(predict(held, shape).allocated - real), abs(predict(held, shape).allocated / real - 1)


@pytest.mark.parametrize("nf4", [True, False], ids=["nf4", "16 bits"])
@pytest.mark.parametrize("model", SHAPES.values(), ids=lambda model: model.name)
def test_the_closed_form_is_within_two_percent_of_the_real_code(model, nf4):
    shape = replace(model.architecture, num_hidden_layers=2)
    plain = LoadedModel(shape, nf4, Precision.bfloat16)
    adapted = replace(plain, rank=16, target_modules=("all-linear",))
    of_adapted = ("tree", "prompts", "behind examples")
    cases = [*((plain, p) for p in PASSES.values()), *((adapted, PASSES[n]) for n in of_adapted)]
    for held, a_pass in cases:
        size, share = off(held, a_pass)
        # a block of the allocator may be a MiB larger than its tensor
        assert share < 0.02 or size < MIB, (held.rank, a_pass, share)


def test_every_layer_counts():
    held = LoadedModel(model_config("qwen2_0_5b").architecture, nf4=True, dtype=Precision.float16)
    assert off(held, ForwardPass(1, 256, 8192, 8448, 256, masked=True))[1] < 0.02


@pytest.mark.parametrize(("dtype", "on_cpu"), [(Precision.float32, True), (Precision.float16, False)])
def test_other_numbers_and_dora_and_what_lies_in_the_cache_are_known(dtype, on_cpu):
    shape = replace(model_config("qwen2_1_5b").architecture, num_hidden_layers=2)
    dora = LoadedModel(shape, True, dtype, 8, ("all-linear",), dora=True, on_cpu=on_cpu)
    some = LoadedModel(shape, True, dtype, 8, ("q_proj", "v_proj"), on_cpu=on_cpu)
    for held in (dora, some):
        assert off(held, PASSES["prompts"])[1] < 0.02
        assert off(held, ForwardPass(1, 64, 1024, 8192, 8, masked=True))[1] < 0.02


@pytest.mark.parametrize("nf4", [True, False], ids=["nf4", "16 bits"])
def test_a_masked_model_is_known_too(nf4):
    held = LoadedModel(model_config("arabert").architecture, nf4, Precision.bfloat16)
    for a_pass in (
        ForwardPass(8, 512, wanted=8, masked=True),
        ForwardPass(500, 4, wanted=500, masked=True),
    ):
        size, share = off(held, a_pass)
        assert share < 0.02 or size < 12 * MIB, share  # as many blocks, each up to a MiB larger


def of(*overrides):
    config = compose_config("task=evaluate", *overrides)
    return eval_batching.room(config.model, config.adapter, config.hw), config.model.max_length


@pytest.mark.parametrize(
    ("model", "hw"), [("qwen2_1_5b", "4gb"), ("gemma2_2b", "8gb"), ("llama3_8b", "24gb")]
)
def test_the_batch_is_the_largest_power_of_two_that_fits(model, hw):
    found, length = of(f"model={model}", "adapter=qlora", f"hw={hw}")
    for generates in (False, True):
        sizes = [found.at_once(tokens, generates=generates) for tokens in (64, 512, 2048, length)]
        assert sizes == sorted(sizes, reverse=True)
        for size, tokens in zip(sizes, (64, 512, 2048, length), strict=True):
            assert size in {1, 2, 4, 8, 16, 32, 64}
            assert size == 1 or found.fits(size, tokens, generates=generates)
            assert size == found.most or not found.fits(2 * size, tokens, generates=generates)


def test_what_was_asked_for_by_hand_stays_and_short_questions_get_what_hw_takes_today():
    expected = {"4gb": 4, "16gb": 16, "80gb": 64, "2x24gb": 32, "cpu": 32}
    for hw, size in expected.items():
        assert of("model=qwen2_0_5b", "adapter=qlora", f"hw={hw}")[0].at_once(256, generates=True) == size
    by_hand, length = of("model=qwen2_7b", "adapter=lora", "hw=4gb", "hw.eval_batch_size=3")
    assert by_hand.at_once(length, generates=True) == 3


def test_the_longest_contexts_are_those_that_fit():
    found, length = of("model=qwen2_1_5b", "adapter=qlora", "hw=4gb")
    longest = found.longest(1, length, generates=True)
    assert 8192 < longest < length
    assert found.fits(1, longest, generates=True)
    assert not found.fits(1, longest + 64, generates=True)
    assert found.needed(found.worst(1, longest, generates=True)) <= 3.6 * GIB
    too_large, _ = of("model=qwen2_7b", "adapter=lora", "hw=4gb")
    assert too_large.longest(1, length, generates=False) == 0
