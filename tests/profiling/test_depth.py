"""Two shallow rehearsals say what a deep model takes, once, and never stand for another family's."""

import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import compose_config, model_config
from transformers import AutoModelForCausalLM

from arabic_llm import files
from arabic_llm.config.hw import Precision
from arabic_llm.config.model import ArchitectureConfig
from arabic_llm.config.task import Optimizer
from arabic_llm.errors import ConfigError
from arabic_llm.memory.workload import CUBLAS_WORKSPACE, Attention, Loss, Workload
from arabic_llm.models import adapter, families
from arabic_llm.models.load import Base
from arabic_llm.models.shape import to_transformers
from arabic_llm.profiling import depth, kept, training_rehearsal

GIB = 2**30
ALLOCATED, RESERVED = 0.015, 0.08  # how far off a rehearsal in full
MIXTRAL = ArchitectureConfig(
    model_type="mixtral",
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    vocab_size=32000,
    tie_word_embeddings=False,
)

EXPERTS = (families.ALL_LINEAR, "experts.gate_up_proj", "experts.down_proj")  # left out unless asked for


def step(shape, **changes):
    """Return a QLoRA step of two rows of 512 tokens."""
    eager = families.is_eager(shape.model_type)
    work = Workload(
        architecture=shape,
        batch_size=2,
        tokens=512,
        nf4=True,
        double_quant=True,
        weights=Precision.bfloat16,
        compute=Precision.bfloat16,
        autocast=True,
        rank=16,
        target_modules=(families.ALL_LINEAR,),
        dropout=0.0,
        attention=Attention.eager if eager else Attention.efficient,
        checkpointing=True,
        optimizer=Optimizer.adamw,
        loss=Loss.tiled,
        padded=True,
        accumulates=True,
        workspace_bytes=CUBLAS_WORKSPACE,
    )
    return replace(work, **changes)


def qwen3(layers):
    """Return Qwen3-0.6B's shape: 16 heads of 128 are twice the hidden size of 1024."""
    return ArchitectureConfig("qwen3", 1024, 3072, layers, 16, 8, 128, 151936, True)


FULL = {"nf4": False, "rank": None, "weights": Precision.float32}


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        (model_config("qwen2_0_5b").architecture, {}),
        (model_config("qwen2_0_5b").architecture, {"checkpointing": False, "accumulates": False}),
        (model_config("qwen2_0_5b").architecture, FULL | {"accumulates": False}),
        (model_config("gemma2_2b").architecture, {}),
        # a rehearsal in full takes long: half as deep says as much
        (replace(model_config("gemma2_2b").architecture, num_hidden_layers=14), {"checkpointing": False}),
        (qwen3(16), {}),
        (qwen3(14), {"checkpointing": False, "nf4": False}),
    ],
    ids=lambda value: value.model_type if isinstance(value, ArchitectureConfig) else str(value),
)
def test_two_shallow_rehearsals_say_what_one_in_full_depth_says(shape, changes):
    work = step(shape, **changes)
    shallow, full = depth.peak(work), training_rehearsal.peak(work)
    assert shallow.allocated == pytest.approx(full.allocated, rel=ALLOCATED)
    assert shallow.reserved == pytest.approx(full.reserved, rel=RESERVED)


def test_layers_of_several_kinds_are_cut_where_all_are_there():
    assert depth.depths(step(model_config("qwen2_1_5b").architecture)) == (3, 6)
    assert depth.depths(step(model_config("gemma2_2b").architecture)) == (3, 6)
    gemma3 = replace(qwen3(26), model_type="gemma3_text", num_attention_heads=4, num_key_value_heads=1)
    assert depth.depths(step(gemma3)) == (6, 9)  # five that slide, then one that sees all
    experts = {"mlp_only_layers": [0, 1, 2], "num_experts": 4, "moe_intermediate_size": 64}
    mixed = replace(qwen3(12), model_type="qwen3_moe", other=experts)
    assert depth.depths(step(mixed)) == (4, 7)  # three without experts come first
    assert depth.depths(step(qwen3(6))) is None


def test_mixtral_is_its_own_experts_and_not_a_llama():
    found = depth.peak(step(MIXTRAL), 8 * GIB)
    assert found.allocated > 2 * 45e9  # of 46.7 billion weights bitsandbytes leaves the experts in 16 bits
    assert not found.fits


def test_what_the_real_code_refuses_is_said_in_one_line():
    with pytest.raises(
        ConfigError, match="mixtral cannot be planned: .*'lora.ParamWrapper does not"
    ) as said:
        depth.peak(step(MIXTRAL, dropout=0.05, target_modules=EXPERTS))
    assert "\n" not in str(said.value)
    with pytest.raises(ConfigError, match="model_type=nonsense: transformers has no such model"):
        depth.peak(step(replace(MIXTRAL, model_type="nonsense")))
    with pytest.raises(ConfigError, match="no field 'num_exprts'.*did you mean .*num_experts"):
        depth.peak(step(replace(MIXTRAL, other={"num_exprts": 2})))


def test_fields_of_config_json_that_no_row_speaks_of_reach_the_real_code():
    two, eight = (
        depth.peak(step(replace(MIXTRAL, other={"num_local_experts": n}))).allocated for n in (2, 8)
    )
    assert two < eight / 3


def test_a_rehearsal_is_kept_and_one_that_is_damaged_is_made_again(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    work = step(qwen3(2))
    first = kept.peak(work, None, tmp_path)
    (path,) = tmp_path.glob("rehearsals/*.json")
    files.write_state(path, files.read_state(path) | {"reserved": first.reserved + 1})
    assert kept.peak(work, None, tmp_path).reserved == first.reserved + 1  # read, and not rehearsed
    for damage in ("{", "[]", '{"allocated": 1}', path.read_text().replace("true", "false")):
        path.write_text(damage)
        caplog.clear()
        assert kept.peak(work, None, tmp_path) == first
        damaged, aside = [record.getMessage() for record in caplog.records]
        assert damaged.startswith(f"{path} is damaged: ")
        assert damaged.endswith("; it is made again")
        assert aside.startswith(f"{path} was set aside as ")


@pytest.mark.parametrize("what", ["work", "capacity", "libraries", "code"])
def test_what_is_kept_is_of_one_workload_card_library_and_code(what, monkeypatch):
    def key(work=None, capacity=None):
        return kept._identity(work or step(qwen3(2)), capacity)

    before = key()
    if what == "libraries":
        monkeypatch.setattr(kept, "library_version", lambda name: "0")
        assert key() != before
    elif what == "code":
        assert kept.code_hash(Path(__file__).parents[1]) != before["code"]
    elif what == "work":
        assert key(work=step(qwen3(2), tokens=256)) != before
    else:
        assert key(capacity=1) != before


MIXED = (
    *("task=plan", "hw=8gb", "model=llama2_7b", "model.name=mixtral", "adapter=qlora"),
    *("model.architecture.model_type=mixtral", "model.architecture.intermediate_size=14336"),
)


def test_a_plan_of_an_unknown_family_never_fits_by_the_formulas_of_a_llama(program):
    status, said = program(*MIXED, "adapter.dropout=0", "hw.micro_batch_size=1")
    assert status == 0
    assert "as its own code was rehearsed" in said
    assert "it does not fit: " in said
    assert "it fits" not in said
    status, said = program(*MIXED, f"adapter.target_modules=[{','.join(EXPERTS)}]")  # with dropout
    assert status == 2
    status, said = program(*MIXED, "task.of=evaluate")
    assert status == 2


@pytest.mark.parametrize("model_type", ["qwen3", "olmo2"])  # with a row, without one
def test_a_new_model_trains_and_is_planned(model_type):
    shape = replace(qwen3(2), model_type=model_type, hidden_size=48, intermediate_size=80, vocab_size=96)
    shape = replace(shape, num_attention_heads=4, num_key_value_heads=2, head_dim=16)
    config = compose_config("adapter=lora", "adapter.rank=4", "adapter.dtype=float32")
    torch.manual_seed(17)
    model = AutoModelForCausalLM.from_config(to_transformers(shape, pad_token_id=0), dtype=torch.float32)
    tuned = adapter.attach(model, config.adapter, Base(Path(), ""), seed=1)
    ids = torch.arange(24).reshape(2, 12)
    optimizer = torch.optim.AdamW([p for p in tuned.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for _ in range(60):
        loss = tuned(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    assert all(p.any() for n, p in tuned.named_parameters() if ".lora_B." in n)  # zeros until it learns
    adapted = {
        n.partition(".lora_")[0].rpartition(".")[2] for n, p in tuned.named_parameters() if p.requires_grad
    }
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert depth.peak(step(shape)).allocated > 0


def cpu_seconds(command, folder):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout + done.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def test_an_exact_plan_is_rehearsed_once_and_then_read_without_torch(tmp_path):
    program = [sys.executable, "-m", "arabic_llm.run", "task=plan", "tracking=none", "task.exact=true"]
    command = [*program, "model=qwen2_1_5b", "adapter=qlora", "hw=16gb"]
    rehearsal, said = cpu_seconds(command, tmp_path)
    again, same = cpu_seconds(command, tmp_path)
    assert said == same
    assert "rehearsed: " in said
    assert again < rehearsal / 2  # without torch
