"""The rehearsed step: what was measured on a T4, and that no part of it is lost."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import model_config

from arabic_llm.config.hw import MIB, Precision
from arabic_llm.config.task import Optimizer
from arabic_llm.memory.workload import CUBLAS_WORKSPACE, Attention, Loss, Workload
from arabic_llm.profiling import kept, training_rehearsal

DATA = Path(os.environ.get("ARABIC_LLM_DATA", "../shared/data")) / "gpu_memory_t4"
ROOT = Path(__file__).parents[2]
TINY = Workload(
    architecture=model_config("tiny").architecture,
    batch_size=2,
    tokens=256,
    nf4=True,
    double_quant=True,
    weights=Precision.bfloat16,
    compute=Precision.bfloat16,
    autocast=True,
    rank=8,
    target_modules=("q_proj", "v_proj"),
    dropout=0.05,
    attention=Attention.flash,
    checkpointing=True,
    optimizer=Optimizer.adamw,
    loss=Loss.tiled,
    padded=False,
    accumulates=True,
    workspace_bytes=CUBLAS_WORKSPACE,
)


def _benchmark(rows, folder):
    """Write rows and run benchmarks/memory.py on them."""
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    command = [sys.executable, ROOT / "benchmarks" / "memory.py", folder / "rows.csv"]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def test_a_measured_row_that_cannot_be_read_is_named_with_its_column(tmp_path):
    shape = {name: value for name, value in vars(TINY.architecture).items() if value is not None}
    shapes = {"tiny": {**shape, "model_type": "mistral", "head_dim": None}}
    (tmp_path / "architectures.json").write_text(json.dumps(shapes), encoding="utf-8")
    row = {
        "model": "tiny",
        "batch_size": 1,
        "seq_len": 64,
        "optimizer": "adam8bit",
        "peak_allocated_mib": 99,
    }
    done = _benchmark([row | {"peak_reserved_mib": 99}, row], tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"error: {tmp_path}/rows.csv:3: no 'peak_reserved_mib'"
    assert done.stdout.startswith("tiny")  # the row before it was read, all other columns by their defaults


@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data/gpu_memory_t4 (or ARABIC_LLM_DATA)")
def test_what_was_measured_on_a_t4_is_predicted_within_one_percent(tmp_path):
    with (DATA / "measured.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    (tmp_path / "architectures.json").write_bytes((DATA / "architectures.json").read_bytes())
    done = _benchmark([rows[2], rows[5]], tmp_path)  # eager and sdpa, 2 x 2048
    last = done.stdout.splitlines()[-1]
    mean, worst, reserved = (float(w.strip("%,")) for w in last.split() if "%" in w)
    assert (mean < 1, worst < 1, reserved < 5) == (True, True, True), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("change", "least"),
    [
        ({"batch_size": 4}, 0.5),
        ({"checkpointing": False}, 3),
        ({"attention": Attention.eager}, 0.2),  # the mask
        (
            {"attention": Attention.eager, "tokens": 1024},
            3 * 4 * 2 * 6,
        ),  # and three times the scores in float32
        ({"nf4": False, "double_quant": False}, 3),
        ({"rank": None}, 20),  # every weight has a gradient and moments
        ({"weights": Precision.float32}, 1.4),  # embeddings of 4096 x 192
    ],
    ids=str,
)
def test_what_takes_more_is_seen_to_take_more(change, least):
    if change.get("rank", 8) is None:
        change = {**change, "nf4": False, "weights": Precision.float32}
    more = training_rehearsal.peak(replace(TINY, **change)).allocated
    assert more - training_rehearsal.peak(TINY).allocated > least * MIB


def test_the_tiled_head_takes_a_tile_and_the_full_loss_the_logits_four_times():
    wide = replace(TINY, architecture=replace(TINY.architecture, vocab_size=131072))
    tiled, full = (
        training_rehearsal.peak(replace(wide, loss=loss)).by_phase["backward"]
        for loss in (Loss.tiled, Loss.full)
    )
    elements = 2 * 256 * 131072
    assert full / elements == pytest.approx(2 + 3 * 4, rel=0.35)  # 16 bits, then three times 32
    assert tiled < 2 * 256 * 32768 * 2 + 80 * MIB


def test_a_card_too_small_is_said_to_be():
    whole = training_rehearsal.peak(TINY)
    assert whole.fits
    assert training_rehearsal.peak(TINY, capacity=whole.reserved).fits
    assert not training_rehearsal.peak(TINY, capacity=whole.allocated - 4 * MIB).fits


def test_moments_in_8_bits_take_a_quarter():
    many = replace(TINY, rank=128, target_modules=("up_proj", "down_proj", "gate_proj"))
    full, eighth = (
        training_rehearsal.peak(replace(many, optimizer=kind)).allocated
        for kind in (Optimizer.adamw, Optimizer.adamw_8bit)
    )
    trained = 6 * 3 * 128 * (192 + 576)
    assert (full - eighth) / trained == pytest.approx(2 * (4 - 1 - 4 / 256), rel=0.35)  # blocks are rounded


@pytest.mark.parametrize("is_first", [True, False])
def test_the_memory_of_a_step_is_rehearsed_once_for_like_runs(tmp_path, monkeypatch, is_first):
    work = replace(TINY, nf4=False, device="cpu", loss=Loss.full, accumulates=False, checkpointing=False)
    plain = training_rehearsal.curve(work, is_first=is_first)
    assert kept.curve(work, tmp_path, is_first=is_first) == plain
    assert kept.curve(work, None, is_first=is_first) == plain
    monkeypatch.setattr(training_rehearsal, "curve", None)  # who rehearses again fails
    assert kept.curve(work, tmp_path, is_first=is_first) == plain
    for other in (replace(work, rank=4), replace(work, tokens=128)):
        with pytest.raises(TypeError):
            kept.curve(other, tmp_path, is_first=is_first)
    with pytest.raises(TypeError):
        kept.curve(work, tmp_path, is_first=not is_first)
