"""The loss on held-out texts is what it says, and training does not notice that it is measured."""

import itertools
import math
import os
import signal

import numpy as np
import pytest
import torch
from lab import Lab, learned
from test_sft import Interrupt, losses

from arabic_llm import files
from arabic_llm.data.preparing import held_out
from arabic_llm.data.tokens.chat import TokenRow
from arabic_llm.training import callbacks, held_out_budget, held_out_loss, schedule

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
    read = [held_out_loss.cut(text, 1 / 4) for text in texts["en"]]  # all that so short a run allows
    for text in read:
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
    num_bytes = sum(len(text.encode()) for text in read)
    assert first["held_out_bits_per_byte/en"] == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-5)
    rise = last["held_out_loss/en"] - first["held_out_loss/en"]
    assert last["held_out_rise/en"] == pytest.approx(rise, abs=1e-9)
    assert first.pop("held_out_share") == 1 / 4
    assert set(first) == {"step"} | {
        f"held_out_{what}/{language}"
        for what in ("loss", "bits_per_byte", "rise", "rise_stderr", "texts")
        for language in ("ar", "arz", "en", "zh")
    }


SIX = (*FEW, "task.max_steps=6")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the rows of a run that nothing cut, and how often the model was asked for each."""
    folder, passes = tmp_path_factory.mktemp("whole"), []
    asked(Lab(SIX, follows=True), passes.append).train(folder)
    found = rows(folder)
    assert [line["step"] for line in found] == [0, 2, 4, 6]
    return found, len(passes) // len(found)


def asked(lab, watch):
    """Let `watch` know of each batch of held-out texts, by its number from 1."""
    numbers = itertools.count(1)
    lab.dev_rows = []  # the loss on dev would be counted too
    lab.model.register_forward_pre_hook(lambda module, _: None if module.training else watch(next(numbers)))
    return lab


def test_a_run_that_was_cut_and_carried_on_has_every_row_once_and_the_same(tmp_path, whole):
    with pytest.raises(KeyboardInterrupt):  # after step 3, which is no checkpoint of its own
        Lab(SIX, follows=True, tracker=Interrupt(2, signal.SIGTERM)).train(tmp_path)
    _, outcome = Lab(SIX, follows=True).train(tmp_path)
    assert outcome.resumed_from == 3
    assert rows(tmp_path) == whole[0]


def test_a_signal_while_it_is_measured_is_heeded_at_once_and_what_was_left_is_measured_later(
    tmp_path, whole
):
    found, each = whole
    passes = []

    def signalled_at(number):
        def watch(now):
            passes.append(now)
            if now == number:
                os.kill(os.getpid(), signal.SIGTERM)

        return watch

    lab = asked(Lab(SIX, follows=True), signalled_at(2))
    before = learned(lab.model)
    ended = []  # batches, at the model's last block
    lab.model.get_base_model().model.layers[-1].register_forward_hook(lambda *_: ended.append(1))
    with pytest.raises(KeyboardInterrupt, match=r"interrupted \(SIGTERM\) before the first step"):
        lab.train(tmp_path)
    assert passes == [1, 2]
    assert len(ended) == 1  # in the middle of a batch, however long it takes
    assert learned(lab.model) == before
    assert not (tmp_path / "checkpoint-0").exists()
    passes.clear()
    with pytest.raises(KeyboardInterrupt, match=r"interrupted \(SIGTERM\) after a checkpoint"):
        asked(Lab(SIX, follows=True), signalled_at(each + 1)).train(tmp_path)  # the first of step 2
    assert len(passes) == each + 1
    assert [line["step"] for line in rows(tmp_path)] == [0]
    _, outcome = Lab(SIX, follows=True).train(tmp_path)
    assert outcome.resumed_from == 2
    assert rows(tmp_path) == found


def budget(directory, num_steps, tokens_a_step):
    """Return the share and the tokens of texts of 100 tokens in two languages, under a budget."""
    order = schedule.Schedule(np.zeros(num_steps, np.int64), num_steps, 1)
    tokens = np.full(num_steps, tokens_a_step)

    def texts(share):
        row = TokenRow("", [0] * 100, [1] * round(100 * share), "text")
        return {language: held_out_loss.HeldOut([row], 100, share) for language in ("ar", "zh")}

    found = held_out_budget.within(texts, order, schedule.TokenCounts(tokens, tokens), 50, directory)
    return found["ar"].share, held_out_budget.num_tokens(found)


def test_the_loss_takes_a_fiftieth_of_the_training_and_the_texts_are_cut_for_it(tmp_path, caplog):
    caplog.set_level("INFO")
    # measured 3 times in 100 steps: 200 tokens take 600 forward passes of a token, of 3 x 100 x tokens
    assert budget(tmp_path, 100, 100) == (1.0, 200)
    assert caplog.text == ""
    assert budget(tmp_path, 100, 99) == (0.75, 150)
    assert "held-out texts: the first 75.0% of each (150 of 200 tokens), so that their" in caplog.text
    assert budget(tmp_path, 100, 40) == (3 / 8, 76)
    assert budget(tmp_path, 4, 100) == (1 / 4, 50)
    assert "their loss takes about 8% of so short a training" in caplog.text


def test_a_run_keeps_the_texts_it_was_begun_with(tmp_path):
    metrics = tmp_path / callbacks.METRICS
    files.write_json_lines(metrics, [{"step": 0, "held_out_loss/ar": 1.0, "held_out_share": 0.25}])
    assert budget(tmp_path, 100, 10_000) == (0.25, 50)
    files.write_json_lines(metrics, [{"step": 0, "held_out_loss/ar": 1.0}])  # whole, whatever it takes
    assert budget(tmp_path, 100, 1) == (1.0, 200)


@pytest.mark.parametrize(
    ("text", "share", "read"),
    [
        ("one two three four", 1, "one two three four"),
        ("one two three four", 1 / 2, "one two"),
        ("one two three four", 3 / 8, "one two"),
        ("one two three four", 1 / 8, "one"),
        ("onetwothreefour", 1 / 2, "onetwoth"),
        ("字字字字字字字字", 1 / 8, "字"),
    ],
)
def test_a_text_is_cut_after_a_word(text, share, read):
    assert held_out_loss.cut(text, share) == read


def test_the_error_of_the_rise_is_that_of_texts_of_one_length_and_scales_with_their_tokens():
    before, now = np.array([10.0, 20.0, 30.0, 40.0]), np.array([11.0, 23.0, 31.0, 43.0])
    rise, error = held_out_loss.risen(before, now, np.array([10, 10, 10, 10]))
    each = (now - before) / 10
    assert rise == pytest.approx(each.mean())
    assert error == pytest.approx(each.std(ddof=1) / 2)
    rise, error = held_out_loss.risen(before, before + np.arange(1, 5), np.array([10, 20, 30, 40]))
    assert (rise, error) == (pytest.approx(0.1), pytest.approx(0))  # a tenth a token in every text
