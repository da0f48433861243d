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


@pytest.mark.parametrize("num_processes", [1, 2])
@pytest.mark.parametrize("most", [(8, 40), (3, 60), (8, 23), (1, 1000), (8, 1)], ids=str)
def test_steps_are_cut_by_tokens_into_as_many_passes_of_the_same_rows(most, num_processes):
    lengths = [[1 + 7 * row % 23] for row in range(40)]
    task, sources = settings("task.effective_batch_size=8"), [""] * 40
    whole = schedule.plan(schedule.sampler(task, sources, lengths, Mix(), 1))
    cut = schedule.cut_by_tokens(whole, lengths, most, num_processes)
    assert cut.num_passes % num_processes == 0
    assert [cut.rows_of(step) for step in range(5)] == [whole.rows_of(step) for step in range(5)]
    for step in range(cut.num_steps):
        passes = [cut.rows_of_pass(step, number, 8) for number in range(cut.num_passes)]
        assert [row for own in passes for row in own] == whole.rows_of(step)
        for own in passes:
            padded = len(own) * max(lengths[row][0] for row in own)
            assert len(own) == 1 or (len(own) <= most[0] and padded <= most[1])
    own = [cut.passes(rank, num_processes) for rank in range(num_processes)]
    assert len({len(each) for each in own}) == 1
    in_turn = [place for each in zip(*own, strict=True) for places in each for place in places]
    assert in_turn == list(range(len(cut.order)))
    assert len(cut.until(2).order) == 16
    assert cut.until(2).rows_of_pass(1, 0, 8) == cut.rows_of_pass(1, 0, 8)


def test_fewer_tokens_at_once_are_not_cut_finer_than_need_be():
    lengths = [[20], [4], [4], [4], [4], [2], [1], [1]]
    plan = schedule.Schedule(np.arange(8), 1, 8)
    assert schedule.cut_by_tokens(plan, lengths, (8, 20), 1).cuts.tolist() == [[0, 1, 6, 8]]
    assert schedule.cut_by_tokens(plan, lengths, (8, 20), 2).cuts.tolist() == [[0, 1, 3, 6, 8]]


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
