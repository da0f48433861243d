"""The closed form agrees with the rehearsal of the real code, and its table is what that code gives."""

from dataclasses import replace

import pytest
from conftest import model_config

from arabic_llm.config import paths
from arabic_llm.config.hw import Precision
from arabic_llm.config.task import Optimizer
from arabic_llm.memory import training_peak, weights
from arabic_llm.memory.workload import CUBLAS_WORKSPACE, Attention, Workload
from arabic_llm.models import families
from arabic_llm.models.families import ALL_LINEAR
from arabic_llm.profiling import derive, training_rehearsal

FILES = sorted(path for path in paths.CONF.glob("model/*.yaml") if path.stem not in ("auto", "local"))
CAUSAL = [path.stem for path in FILES if "kind: masked" not in path.read_text(encoding="utf-8")]
SHAPES = {name: model_config(name).architecture for name in CAUSAL}
# Each shape once, where a closed form speaks of it; what has none is rehearsed (test_depth.py).
COUNTED = {name: a for name, a in SHAPES.items() if families.closed_form(a) is not None}
MODELS = list({str(replace(a, other={})): name for name, a in COUNTED.items()}.values())
# tokens, batch, rank, dropout, checkpointing, nf4; benchmarks/memory_closed_form.py goes further
SETTINGS = [
    (256, 8, 4, 0.0, True, True),
    (8192, 1, 128, 0.05, True, True),
    (1024, 2, 16, 0.05, False, True),
    (4096, 4, 64, 0.0, True, False),
    (512, 1, 128, 0.05, True, True),
    (2048, 8, 8, 0.0, False, True),
]


def workload(name: str, setting: tuple, layers: int | None = 2) -> Workload:
    """Return a workload with two layers: totals are affine in layers, so that two say all."""
    tokens, batch, rank, dropout, checkpointing, nf4 = setting
    shape = model_config(name).architecture
    eager = {"gemma2": Attention.eager}
    fused = Attention.flash if batch == 1 else Attention.efficient
    work = derive.regimes()[f"llama {fused.name} lora plain stored tiled autocast"]
    return replace(
        work,
        architecture=replace(shape, num_hidden_layers=layers or shape.num_hidden_layers),
        batch_size=batch,
        tokens=tokens,
        nf4=nf4,
        rank=rank,
        target_modules=(ALL_LINEAR,),
        dropout=dropout,
        attention=eager.get(shape.model_type, fused),
        checkpointing=checkpointing,
        padded=batch > 1,
        workspace_bytes=CUBLAS_WORKSPACE,
    )


@pytest.mark.parametrize("name", MODELS)
def test_the_closed_form_is_within_two_percent_of_the_real_code(name):
    work = workload(name, SETTINGS[MODELS.index(name) % len(SETTINGS)])
    real = training_rehearsal.peak(work).allocated
    assert training_peak.predict(work).allocated == pytest.approx(real, rel=0.02)


@pytest.mark.parametrize("name", ["qwen2_0_5b", "llama3_8b"])  # a head that is tied, and one of its own
def test_rows_of_new_tokens_are_within_three_percent_of_the_real_code(name):
    work = workload(name, SETTINGS[0])
    shape = replace(work.architecture, vocab_size=work.architecture.vocab_size + 5000)
    extended = replace(work, architecture=shape, new_tokens=5000)
    real, plain = training_rehearsal.peak(extended).allocated, training_peak.predict(work).allocated
    assert real > plain + 4 * weights.embedding_parameters(shape)  # the head's gradient is made whole
    assert training_peak.predict(extended).allocated == pytest.approx(real, rel=0.03)
    trained = training_peak.predict(extended).adapters - training_peak.predict(work).adapters
    assert 0 <= trained - 4 * weights.new_rows(shape, 5000) < 2 * 2**21  # in blocks of 2 MiB


@pytest.mark.parametrize(
    ("name", "regime", "batch", "tokens"),
    [
        ("gemma2_2b", "gemma2 eager nf4 dropout stored classify", 4, 128),
        ("qwen2_0_5b", "llama efficient_padded full plain checkpointing classify", 8, 128),
        ("arabert", "bert efficient_padded full plain stored classify", 8, 128),
        ("arabert", "bert flash lora dropout checkpointing classify", 1, 512),
    ],
)
def test_classes_take_what_the_closed_form_says(name, regime, batch, tokens):
    work = derive.regimes()[f"{regime} autocast"]
    shape = model_config(name).architecture
    work = replace(
        work,
        architecture=replace(shape, num_hidden_layers=4 if shape.model_type == "bert" else 2),
        batch_size=batch,
        tokens=tokens,
        rank=work.rank and 16,
        num_labels=3,
        target_modules=(ALL_LINEAR,),
        workspace_bytes=CUBLAS_WORKSPACE,
    )
    assert training_peak.predict(work).allocated == pytest.approx(
        training_rehearsal.peak(work).allocated, rel=0.02
    )


def test_all_layers_of_a_model_take_what_the_closed_form_says():
    work = workload("qwen2_1_5b", (1024, 2, 16, 0.05, True, True), layers=None)
    assert training_peak.predict(work).allocated == pytest.approx(
        training_rehearsal.peak(work).allocated, rel=0.01
    )


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", ["qwen2_1_5b", "llama3_8b"])  # tied, and with a head of its own
def test_every_weight_trained_takes_what_the_closed_form_says(name, checkpointing):
    work = workload(name, (1024, 2, 16, 0.0, checkpointing, False))
    work = replace(work, rank=None, weights=Precision.float32, accumulates=checkpointing)
    assert training_peak.predict(work).allocated == pytest.approx(
        training_rehearsal.peak(work).allocated, rel=0.01
    )


@pytest.mark.parametrize(
    "choice",
    [
        {"dora": True},
        {"optimizer": Optimizer.adamw_8bit},
        {"optimizer_on_host": True},
        {"adapter": Precision.bfloat16},
        {"adapter": Precision.bfloat16, "nf4": False},
        {"optimizer_on_host": True, "rank": 8},  # small tensors keep their moments on the card
        {"embedding_on_host": True},
        {"head_on_host": True},
        {"accumulates": False},
        {"accumulates": False, "rank": None, "nf4": False, "weights": Precision.float32},
    ],
    ids=str,
)
def test_every_choice_takes_what_the_closed_form_says(choice):
    work = replace(workload("llama3_8b", (512, 2, 64, 0.05, False, True)), **choice)
    assert training_peak.predict(work).allocated == pytest.approx(
        training_rehearsal.peak(work).allocated, rel=0.02
    )


@pytest.mark.parametrize("name", ["llama3_8b", "glm4_9b"])  # gate and up are one layer in the latter
@pytest.mark.parametrize("where", ["qv", "attention", "mlp"])
def test_an_adapter_on_common_layers_takes_what_the_closed_form_says(where, name):
    work = workload(name, SETTINGS[2 if where == "qv" else 4])
    work = replace(work, target_modules=tuple(weights.target_sets(work.architecture)[where]))
    assert training_peak.stands_for(work) is None
    assert training_peak.predict(work).allocated == pytest.approx(
        training_rehearsal.peak(work).allocated, rel=0.01
    )


@pytest.mark.parametrize("names", [("q_proj",), ("q_proj", "k_proj", "v_proj"), ("v_proj", "down_proj")])
def test_an_adapter_on_other_layers_never_takes_more_than_the_closed_form_says(names):
    # The next larger set stands for it: each layer with an adapter keeps its input for the way back.
    work = replace(workload("qwen2_1_5b", SETTINGS[2]), target_modules=names)
    assert training_peak.stands_for(work)
    assert training_rehearsal.peak(work).allocated < training_peak.predict(work).allocated


@pytest.mark.parametrize("rank", [None, 16])
def test_weights_shared_out_never_take_more_than_the_closed_form_says(rank):
    work = replace(workload("qwen2_0_5b", (512, 4, 16, 0.0, False, False)), num_cards=2, fsdp=True)
    work = replace(work, rank=rank, weights=Precision.bfloat16 if rank else Precision.float32)
    assert training_peak.is_upper_bound(work)
    assert training_rehearsal.peak(work).allocated < training_peak.predict(work).allocated


def test_the_table_is_what_the_code_of_today_gives():
    work = workload("qwen2_1_5b", SETTINGS[1])
    now = derive.moments(derive.regimes()[training_peak.regime(work)])
    assert now == training_peak.table()[training_peak.regime(work)], (
        "run: python -m arabic_llm.profiling.derive"
    )


@pytest.mark.parametrize(
    ("num_bytes", "found"),
    [
        (19 * 47 * 103 * 2, "2BTf"),
        (19 * 47 * 3 * 5 * 101 * 4, "4BTKGh"),  # the hidden size is a multiple of the heads
        (19 * 47 * 3 * 28 * 2, "2BTKD"),  # a head is 4 x 7
        (19 * 46 * 4, "4BS"),  # positions that predict: tokens - 1 = 2 x 23
        (19 * 46 * 32768 * 2, "2tile"),
    ],
)
def test_bytes_say_which_sizes_they_are_a_product_of(num_bytes, found):
    assert derive.product(num_bytes) == found
