"""The loss on held-out texts is what it says, and training does not notice that it is measured."""

import math
import signal

import numpy as np
import pytest
import torch
from lab import Lab, learned
from test_sft import Interrupt, losses

from arabic_llm import files
from arabic_llm.data.preparing import held_out
from arabic_llm.training import callbacks, held_out_loss

FEW = ("task.held_out.num_bytes=1500",)


def rows(directory):
    lines = files.read_json_lines(directory / callbacks.METRICS)
    return [line for line in lines if "held_out_loss/ar" in line]


@pytest.mark.parametrize("adapter", ["lora", "qlora"])
def test_training_is_the_same_to_the_bit_whether_it_is_measured_or_not(tmp_path, adapter):
    """With dropout on: one random number drawn by a measurement would change every step after it."""
    options = (f"adapter={adapter}", "adapter.dropout=0.1", *FEW, "task.eval_steps=9", "task.max_steps=4")
    alone, _ = Lab(options).train(tmp_path / "alone")
    followed, _ = Lab(options, follows=True).train(tmp_path / "followed")
    assert learned(followed) == learned(alone)
    curves = [[row for row in losses(tmp_path / name) if row[1]] for name in ("alone", "followed")]
    assert curves[0] == curves[1]
    assert [line["step"] for line in rows(tmp_path / "followed")] == [0, 2, 4]


def test_the_loss_is_of_every_token_and_byte_of_the_text(tmp_path):
    lab = Lab(("task.max_steps=1", "adapter.dropout=0"), follows=True)
    texts = held_out.load(lab.config.task.held_out, tmp_path, [])
    tokenizer, nats, tokens = lab.codec.tokenizer, 0.0, 0
    lab.model.eval()
    for text in texts["en"]:
        ids = torch.tensor(
            [[lab.codec.end_of_text_id, *tokenizer(text, add_special_tokens=False).input_ids]]
        )
        with torch.no_grad():
            logits = lab.model(input_ids=ids).logits[0, :-1]
        nats += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
        tokens += ids.shape[1] - 1
    lab.train(tmp_path)
    first, last = rows(tmp_path)
    assert first["held_out_loss/en"] == pytest.approx(nats / tokens, rel=1e-5)
    num_bytes = sum(len(text.encode()) for text in texts["en"])
    assert first["held_out_bits_per_byte/en"] == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-5)
    rise = last["held_out_loss/en"] - first["held_out_loss/en"]
    assert last["held_out_rise/en"] == pytest.approx(rise, abs=1e-9)
    assert set(first) == {"step"} | {
        f"held_out_{what}/{language}"
        for what in ("loss", "bits_per_byte", "rise", "rise_stderr", "texts")
        for language in ("ar", "arz", "en", "zh")
    }


def test_a_run_that_was_cut_and_carried_on_has_every_row_once_and_the_same(tmp_path):
    options = (*FEW, "task.max_steps=6")
    Lab(options, follows=True).train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):  # after step 3, which is no checkpoint of its own
        Lab(options, follows=True, tracker=Interrupt(2, signal.SIGTERM)).train(tmp_path / "cut")
    _, outcome = Lab(options, follows=True).train(tmp_path / "cut")
    assert outcome.resumed_from == 3
    assert [line["step"] for line in rows(tmp_path / "whole")] == [0, 2, 4, 6]
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


def test_the_error_of_the_rise_is_that_of_texts_of_one_length_and_scales_with_their_tokens():
    before, now = np.array([10.0, 20.0, 30.0, 40.0]), np.array([11.0, 23.0, 31.0, 43.0])
    rise, error = held_out_loss.risen(before, now, np.array([10, 10, 10, 10]))
    each = (now - before) / 10
    assert rise == pytest.approx(each.mean())
    assert error == pytest.approx(each.std(ddof=1) / 2)
    rise, error = held_out_loss.risen(before, before + np.arange(1, 5), np.array([10, 20, 30, 40]))
    assert (rise, error) == (pytest.approx(0.1), pytest.approx(0))  # a tenth a token in every text
