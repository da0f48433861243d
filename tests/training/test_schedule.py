"""Which rows each step sees is decided once, and hw has no say in it."""

import numpy as np
import pytest
from conftest import compose_config

from arabic_llm.data.preparing.mixing import Mix
from arabic_llm.data.tokens.chat import IGNORED
from arabic_llm.training import schedule


def settings(*overrides):
    return compose_config("task=sft", *overrides).task


def plan(settings, num_rows, seed):
    """Return the schedule of so many rows of one source, all of one length."""
    lengths = [[1]] * num_rows
    return schedule.plan(schedule.sampler(settings, [""] * num_rows, lengths, Mix(), seed))


def test_epochs_become_steps_once():
    assert settings("task.epochs=3", "task.effective_batch_size=16").num_steps(100) == 19
    assert settings("task.epochs=0.5", "task.effective_batch_size=16").num_steps(100) == 4
    assert settings("task.epochs=3", "task.max_steps=5").num_steps(100) == 5


def test_every_row_is_seen_once_before_any_is_seen_twice():
    drawn = plan(settings("task.epochs=2", "task.effective_batch_size=7"), 50, seed=1)
    first, second = drawn.order[:50], drawn.order[50:100]
    assert sorted(first) == sorted(second) == list(range(50))
    assert list(first) != list(second)


def test_every_step_has_the_whole_batch():
    drawn = plan(settings("task.epochs=1", "task.effective_batch_size=16"), 50, seed=1)
    assert len(drawn.order) == drawn.num_steps * 16 == 64


def test_the_order_follows_from_the_seed_alone():
    one = plan(settings(), 50, seed=1).order
    assert np.array_equal(one, plan(settings(), 50, seed=1).order)
    assert not np.array_equal(one, plan(settings(), 50, seed=2).order)


def test_a_step_holds_the_rows_it_drew_the_longest_first():
    lengths = [[1 + 7 * row % 23] for row in range(40)]
    task, sources = settings("task.effective_batch_size=8"), [""] * 40
    drawn = plan(task, 40, seed=1)  # all of one length: in the order of the draw
    sorted_ = schedule.plan(schedule.sampler(task, sources, lengths, Mix(), 1))
    for step in range(drawn.num_steps):
        rows = sorted_.rows_of(step)
        assert rows == sorted(drawn.rows_of(step), key=lambda row: -lengths[row][0])
    assert any(sorted_.rows_of(step) != drawn.rows_of(step) for step in range(drawn.num_steps))


def test_rows_of_a_step_and_of_a_forward_pass():
    drawn = plan(settings("task.effective_batch_size=4"), 50, seed=1)
    assert drawn.rows_of(2) == list(drawn.order[8:12])
    assert drawn.rows_of(2, 2, 2) == list(drawn.order[10:12])


def test_tokens_are_counted_for_each_step():
    labels = [[IGNORED, 1, 2], [5, IGNORED, 3, 4], [7]]
    plan = schedule.Schedule(np.array([0, 1, 2, 0]), 2, 2)
    counts = schedule.count_tokens(plan, labels)
    assert list(counts.all) == [7, 4]
    assert list(counts.supervised) == [4, 2]  # a row's first position predicts nothing


@pytest.mark.parametrize("rows", [1, 3])
def test_fewer_rows_than_a_batch_are_repeated(rows):
    drawn = plan(settings("task.max_steps=2", "task.effective_batch_size=8"), rows, seed=1)
    assert len(drawn.order) == 16
