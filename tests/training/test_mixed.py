"""A run on several sources, texts and conversations, in buckets: it resumes anywhere, and hw has no say."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from lab import Lab, learned

from arabic_llm import files
from arabic_llm.data.preparing.mixing import Mix
from arabic_llm.data.sample import corpus
from arabic_llm.data.tokens.chat import IGNORED
from arabic_llm.tracking import NoTracker
from arabic_llm.training import batches, callbacks

MIX = Mix(
    {"questions": 1, "answers": 2, "texts": 4},
    {"questions": "ar", "answers": "ar", "texts": "zh"},
    {"ar": 0.7},
    num_buckets=2,
)
NO_DROPOUT = "adapter.dropout=0"


def mixed(*overrides, **options):
    """Return a lab of two sources of conversations and one of packed texts."""
    lab = Lab(("task.max_length=64", *overrides), mix=MIX, **options)
    chats = [replace(row, source=("questions", "answers")[n % 2]) for n, row in enumerate(lab.train_rows)]
    texts = lab._encode([replace(row, source="texts") for row in corpus.documents(20, 17)])
    lab.train_rows = [*chats[:12], *texts, *chats[12:20]]
    return lab


def losses(directory):
    lines = files.read_json_lines(directory / callbacks.METRICS)
    return [(line["step"], line.get("loss"), line.get("dev_loss"), line.get("grad_norm")) for line in lines]


class Interrupt(NoTracker):
    """A tracker that sends this process SIGTERM after the second step."""

    def log(self, values):
        if values["step"] == 2 and "loss" in values:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_cut_in_the_middle_of_an_epoch_carries_on_to_the_same_bytes(tmp_path):
    lab = mixed()
    data = batches.sequences(lab.train_rows, 64)
    assert 3 * 8 < len(data) < 4 * 8 + 8  # it is cut after step 3, in the first epoch
    whole, _ = lab.train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        mixed(tracker=Interrupt()).train(tmp_path / "cut")
    again, outcome = mixed().train(tmp_path / "cut")
    assert outcome.resumed_from == 3
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert learned(again) == learned(whole)


def test_hw_changes_neither_order_nor_loss(tmp_path):
    orders, curves = [], []
    for micro in (1, 2, 8):
        lab = mixed(NO_DROPOUT, f"hw.micro_batch_size={micro}", "task.max_steps=4")
        lab.train(tmp_path / str(micro))
        orders.append(lab.plan().order)
        curves.append([loss for _, loss, _, _ in losses(tmp_path / str(micro)) if loss])
    assert np.array_equal(orders[0], orders[1])
    assert np.array_equal(orders[0], orders[2])
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    assert curves[0] == pytest.approx(curves[2], rel=1e-4)


def alone(model, row):
    """Return the summed loss of one row by itself, and the tokens that count."""
    ids, labels = torch.tensor([row.input_ids]), torch.tensor([[IGNORED, *row.labels[1:]]])
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits
    summed = torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:], reduction="sum")
    return summed.item(), int((labels != IGNORED).sum())


def test_the_logged_loss_is_that_of_each_row_alone(tmp_path):
    lab = mixed(NO_DROPOUT, "task.max_steps=1")
    data = batches.sequences(lab.train_rows, 64)
    drawn = [number for line in lab.plan().rows_of(0) for number in dict.fromkeys(data["rows"][line])]
    assert {lab.train_rows[number].kind for number in drawn} == {"chat", "text"}
    lab.model.eval()
    sums = np.array([alone(lab.model, lab.train_rows[number]) for number in drawn])
    lab.train(tmp_path)
    logged = next(loss for _, loss, _, _ in losses(tmp_path) if loss)
    assert logged == pytest.approx(sums[:, 0].sum() / sums[:, 1].sum(), rel=1e-5)


def test_a_run_keeps_what_its_mix_came_to(tmp_path):
    lab = mixed("task.max_steps=2")
    lab.train(tmp_path)
    said = files.read_json(tmp_path / "mix.json")
    names = batches.sources(batches.sequences(lab.train_rows, 64), lab.train_rows)
    drawn = [names[line] for line in lab.plan().order]
    for share in said["sources"]:
        assert share["sequences"] == drawn.count(share["name"]) / 16
        assert share["asked"] == pytest.approx(
            {"questions": 0.7 / 3, "answers": 1.4 / 3, "texts": 0.3}[share["name"]]
        )
