"""What a sweep says: nothing inside its noise, corrected for all comparisons; unlike jobs stay apart."""

import fcntl
from pathlib import Path

import numpy as np
import pytest
import sweeps
from scipy import stats

from arabic_llm import files
from arabic_llm.analysis import sweep_choice, sweep_jobs
from arabic_llm.analysis.sweep_found import JobOutcome
from arabic_llm.analysis.sweep_jobs import Job
from arabic_llm.analysis.sweep_noise import Noise
from arabic_llm.errors import DataError

RANKS = {"adapter.rank": [4, 8, 16]}
GRID = {**RANKS, "adapter.alpha": [16, 32, 64], "adapter.dropout": [0.0, 0.1]}


def sft(folder, grid, bits):
    """Write a sweep whose jobs have the loss that `bits` says of their levels."""
    sweeps.state(folder, grid)
    for levels in sweeps.combined(grid):
        sweeps.finished(folder / sweeps.name(levels), levels, bits(levels))
    return sweep_jobs.read(folder)


def study(folder, grid, right, **more):
    sweeps.state(folder, grid)
    for levels in sweeps.combined(grid):
        sweeps.judged(folder / sweeps.name(levels), levels, right(levels), **more)
    return sweep_jobs.read(folder)


def findings(sweep):
    (jobs,) = sweep.alike()
    return sweep_choice.find(jobs, sweep.keys)


def test_a_job_is_read_with_what_it_found_and_what_it_cost(tmp_path):
    job = sft(tmp_path, RANKS, lambda levels: 1.5).jobs[1]
    assert (job.name, job.state, job.levels, job.seconds) == ("rank=8", "done", {"adapter.rank": 8}, 12.0)
    found = job.found
    assert (found.value, found.is_loss, found.dev_loss) == (1.5, True, 3.0)
    assert (found.gain, found.forgetting, found.forgot) == (pytest.approx(0.5), pytest.approx(0.1), "en")
    assert (found.num_trained, found.predicted_mib, found.measured_mib) == (1600, 28.0, 28.5)
    assert (found.tokens_per_second, found.steps, found.scale) == (50.0, 9, 2.0)
    assert job.command == "python -m arabic_llm.run adapter.rank=8"


def test_a_sweep_that_is_half_done_has_a_row_for_every_job(tmp_path):
    killed = ("rank=4", "was killed by SIGKILL", ["training: 6 steps", "Killed"])
    sweeps.state(tmp_path, {"adapter.rank": [4, 8, 16, 32]}, [killed])
    sweeps.finished(tmp_path / "rank=8", {"adapter.rank": 8}, 1.2)
    sweeps.job(tmp_path / "rank=16", {"adapter.rank": 16})
    sweeps.finished(tmp_path / "rank=2", {"adapter.rank": 2}, 1.4)
    sweep = sweep_jobs.read(tmp_path)
    assert [(job.levels["adapter.rank"], job.state) for job in sweep.jobs] == [
        *((4, "failed"), (8, "done"), (16, "begun"), (32, "not begun"), (2, "done"))
    ]
    assert [job.is_left for job in sweep.jobs] == [False] * 4 + [True]
    assert sweep.jobs[0].cause == "was killed by SIGKILL"
    assert sweep.jobs[0].last_lines == ("training: 6 steps", "Killed")


def test_a_job_that_still_runs_is_not_taken_for_one_that_has_died(tmp_path):
    sweeps.state(tmp_path, {"adapter.rank": [4]}, [("rank=4", "was killed by SIGKILL", [])])
    sweeps.job(tmp_path / "rank=4", {"adapter.rank": 4})
    with (tmp_path / "rank=4" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert sweep_jobs.read(tmp_path).jobs[0].state == "running"
    assert sweep_jobs.read(tmp_path).jobs[0].state == "failed"


def test_a_loss_that_is_no_number_is_compared_with_nothing(tmp_path):
    sweep = sft(tmp_path, RANKS, lambda levels: 1.5 if levels["adapter.rank"] > 4 else 1e999)
    assert [job.state for job in sweep.jobs] == ["done"] * 3
    assert [len(jobs) for jobs in sweep.alike()] == [2]


def test_a_sweep_whose_state_is_damaged_is_read_from_its_jobs(tmp_path):
    sft(tmp_path, RANKS, lambda levels: 1.5)
    (tmp_path / "sweep.json").write_text("{")
    assert sweep_jobs.read(tmp_path).keys == ("adapter.rank",)


def test_a_folder_without_a_sweep_says_so_and_damage_is_no_result(tmp_path):
    with pytest.raises(DataError, match="holds no sweep"):
        sweep_jobs.read(tmp_path)
    sweep = sft(tmp_path / "s", RANKS, lambda levels: 1.5)
    (sweep.folder / "rank=4" / "result.json").write_text("{")
    (sweep.folder / "rank=8" / "training" / "metrics.jsonl").write_text("torn")
    first, second, _ = sweep_jobs.read(sweep.folder).jobs
    assert (first.state, second.state, second.found.gain) == ("begun", "done", None)


@pytest.mark.parametrize("change", [{"data": "other"}, {"task": "orpo"}])
def test_jobs_on_other_data_or_of_another_loss_are_never_compared(change, tmp_path):
    sweeps.finished(tmp_path / "a", {"adapter.rank": 4}, 1.0)
    sweeps.finished(tmp_path / "b", {"adapter.rank": 8}, 1.1)
    sweeps.finished(tmp_path / "c", {"adapter.rank": 16}, 0.1, **change)
    groups = sweep_jobs.read(tmp_path).alike()
    assert [[job.name for job in jobs] for jobs in groups] == [["a", "b"], ["c"]]


def test_jobs_of_rated_answers_are_compared_by_their_loss_unless_it_is_another_one(tmp_path):
    weight = "task.desirable_weight"
    for rank, levels in ((4, {}), (8, {}), (16, {weight: 2.0})):
        sweeps.finished(tmp_path / f"{rank}", {"adapter.rank": rank, **levels}, rank / 8, task="kto")
        files.write_state(tmp_path / f"{rank}" / "result.json", {"metric": rank / 8, "fingerprint": "f"})
    sweep = sweep_jobs.read(tmp_path)
    assert sorted(len(jobs) for jobs in sweep.alike()) == [1, 2]
    assert all(job.found.is_loss for job in sweep.jobs)


def test_studies_in_stages_on_other_suites_are_never_compared(tmp_path):
    for name, suite in (("a", "exams"), ("b", "exams"), ("c", "oall")):
        levels = {"adapter.rank": len(tmp_path.parts), "suite": {"name": suite, "tasks": {}}}
        sweeps.finished(tmp_path / name, levels, 1.0, task="study")
    sweep = sweep_jobs.read(tmp_path)
    assert [len(jobs) for jobs in sweep.alike()] == [2, 1]
    assert {job.found.name for job in sweep.jobs} == {"mean score"}


def test_jobs_that_were_judged_otherwise_are_never_compared(tmp_path):
    sweeps.judged(tmp_path / "a", {"adapter.rank": 4}, np.ones(5))
    sweeps.judged(tmp_path / "b", {"adapter.rank": 8}, np.ones(5), suite="other")
    assert [len(jobs) for jobs in sweep_jobs.read(tmp_path).alike()] == [1, 1]


def test_a_swept_group_or_loss_setting_is_a_factor_or_a_kind(tmp_path):
    sweeps.state(tmp_path, {"task.max_length": [256, 512]})
    for length in (256, 512):  # drops other rows of dev
        sweeps.finished(tmp_path / f"max_length={length}", {"task.max_length": length}, 1.0)
    assert [len(jobs) for jobs in sweep_jobs.read(tmp_path).alike()] == [1, 1]


def test_without_replicates_or_a_second_factor_nothing_is_chosen(tmp_path):
    found = findings(sft(tmp_path, RANKS, lambda levels: levels["adapter.rank"] / 10))
    assert found.noise.sources == []
    assert np.isnan(found.best.mean.stderr)
    assert not any(cell.is_worse or cell.is_within_one_error for cell in found.cells[1:])
    assert not found.effects[0].matters


def test_replicates_are_the_measure_of_chance_where_seeds_are_swept(tmp_path):
    draws = iter(np.random.default_rng(1).normal(0, 0.01, 12))
    grid = {**RANKS, "seed": [1, 2, 3, 4]}
    sweep = sft(tmp_path, grid, lambda levels: 2 - levels["adapter.rank"] / 100 + next(draws))
    found = findings(sweep)
    assert found.noise.sources == ["replicates: the same settings with other seeds"]
    values = np.array([job.found.value for job in sweep.jobs]).reshape(3, 4)
    fitted = values.mean(1, keepdims=True) + values.mean(0) - values.mean()
    sigma = (((values - fitted) ** 2).sum() / 6) ** 0.5  # a two-way layout
    best, _, last = found.cells
    assert best.levels == {"adapter.rank": 16}
    assert best.mean.value == pytest.approx(values[2].mean())
    assert last.behind.value == pytest.approx(values[0].mean() - values[2].mean())
    assert last.behind.stderr == pytest.approx(sigma * (2 / 4) ** 0.5)
    assert last.behind.half == pytest.approx(last.behind.stderr * stats.t.ppf(0.975, 6))
    assert last.behind.p == pytest.approx(2 * stats.t.sf(last.behind.value / last.behind.stderr, 6))
    assert last.is_worse


def test_replicates_of_some_settings_alone_are_the_measure_for_all(tmp_path):
    ranks = {4: (1.0, 1.02, 1.04), 8: (1.1,), 16: (1.2,)}
    for rank, losses in ranks.items():
        for seed, bits in enumerate(losses):
            levels = {"adapter.rank": rank, "seed": seed}
            sweeps.finished(tmp_path / sweeps.name(levels), levels, bits)
    found = findings(sweep_jobs.read(tmp_path))
    assert found.noise.has_replicates
    assert [cell.mean.value for cell in found.cells] == pytest.approx([1.02, 1.1, 1.2])
    assert [cell.mean.stderr for cell in found.cells] == pytest.approx([0.02 / 3**0.5, 0.02, 0.02])


def test_a_command_that_repeats_a_job_names_no_folder_of_the_sweep(tmp_path):
    sweeps.finished(tmp_path / "a", {"adapter.rank": 4}, 1.0)
    typed = {"a": ["adapter.rank=4", "hydra.sweep.dir=x", "+experiment=rank"]}
    files.write_state(tmp_path / "sweep.json", {"jobs": ["a"], "typed": typed})
    (job,) = sweep_jobs.read(tmp_path).jobs
    assert job.command == "python -m arabic_llm.run adapter.rank=4 +experiment=rank hydra.mode=RUN"


def test_a_factor_is_judged_over_the_other_factors_where_there_are_no_seeds(tmp_path):
    noise = iter(np.random.default_rng(2).normal(0, 0.01, 18))
    sweep = sft(tmp_path, GRID, lambda levels: 1 + levels["adapter.dropout"] + next(noise))
    found = findings(sweep)
    assert "two by two" in found.noise.sources[0]
    by_key = {effect.key: effect for effect in found.effects}
    dropout = by_key["adapter.dropout"]
    assert (dropout.best, dropout.worst, dropout.matters) == (0.0, 0.1, True)
    values = {(job.levels["adapter.dropout"], job.name): job.found.value for job in sweep.jobs}
    means = [np.mean([v for (level, _), v in values.items() if level == one]) for one in (0.0, 0.1)]
    assert dropout.apart.value == pytest.approx(means[1] - means[0])
    assert not by_key["adapter.alpha"].matters


def test_a_grid_of_pure_noise_seldom_has_a_winner():
    draw, wrong = np.random.default_rng(0), {"cells": 0, "effects": 0}
    for _ in range(60):
        jobs = [
            Job(
                sweeps.name(levels),
                Path(),
                "done",
                levels,
                (),
                JobOutcome(draw.normal(1, 0.05), True, "loss", "k"),
            )
            for levels in sweeps.combined(GRID)
        ]
        found = sweep_choice.find(jobs, tuple(GRID))
        wrong["cells"] += any(cell.is_worse for cell in found.cells)
        wrong["effects"] += any(effect.matters for effect in found.effects)
    assert max(wrong.values()) <= 7  # of 60 at 5%: 3 are expected, more than 7 in one test of 100


def test_a_level_that_hides_behind_another_factor_is_not_told(tmp_path):
    for rank, alpha, bits in ((4, 16, 1.0), (4, 32, 1.1), (8, 64, 1.2)):  # 8 ran with 64 alone
        levels = {"adapter.rank": rank, "adapter.alpha": alpha}
        sweeps.finished(tmp_path / sweeps.name(levels), levels, bits)
    sweep = sweep_jobs.read(tmp_path)
    noise = Noise.of(sweep.jobs, sweep.keys)
    assert noise.of_level("adapter.rank", 8) is None
    assert [effect.apart for effect in findings(sweep).effects if effect.key == "adapter.rank"] == [None]


def test_scores_are_compared_item_by_item(tmp_path):
    easy = np.arange(200) < 120
    right = {4: easy, 8: np.roll(easy, 1), 16: np.arange(200) < 160}
    found = findings(study(tmp_path, RANKS, lambda levels: right[levels["adapter.rank"]]))
    assert found.noise.sources == [
        "the items of the benchmarks, paired: the same items were asked of every job"
    ]
    assert found.best.levels == {"adapter.rank": 16}
    assert found.best.mean.value == pytest.approx(0.8)
    assert [cell.behind.value for cell in found.cells[1:]] == pytest.approx([0.2, 0.2])
    change = right[16].astype(float) - right[4]
    assert found.cells[1].behind.stderr == pytest.approx(change.std(ddof=1) / 200**0.5)
    assert all(cell.is_worse for cell in found.cells[1:])


def test_a_few_items_that_changed_one_way_make_no_winner(tmp_path):
    right = {4: np.arange(100) < 50, 8: np.arange(100) < 55}  # McNemar's exact p of 5 to 0 is 0.0625
    ranks = {"adapter.rank": [4, 8]}
    found = findings(study(tmp_path, ranks, lambda levels: right[levels["adapter.rank"]]))
    assert found.cells[1].behind.p == pytest.approx(0.0625)
    assert not found.cells[1].is_worse


def test_every_pair_of_settings_counts_as_a_comparison(tmp_path):
    right = {4: 60, 8: 61, 16: 69}  # 9 of 9 changed alike: p 0.0039; of three comparisons 0.012
    found = findings(study(tmp_path, RANKS, lambda levels: np.arange(100) < right[levels["adapter.rank"]]))
    assert found.num_pairs == 3
    assert found.cells[2].holm_p == pytest.approx(3 * found.cells[2].behind.p)


def test_the_cheapest_within_one_standard_error_is_chosen(tmp_path):
    draw = np.random.default_rng(3)
    hard = draw.random(400)
    share = {4: 0.40, 8: 0.595, 16: 0.60}
    near = findings(
        study(
            tmp_path,
            RANKS,
            lambda levels: (hard + draw.normal(0, 0.1, 400)) < share[levels["adapter.rank"]],
        )
    )
    assert near.chosen.levels == {"adapter.rank": 8}
    assert near.chosen.behind.value <= near.chosen.behind.stderr


def test_a_run_that_two_grids_have_made_alike_is_no_replicate(tmp_path):
    for name in ("one", "two"):
        sweeps.finished(tmp_path / name, {"adapter.rank": 4}, 1.0)
    sweeps.finished(tmp_path / "other", {"adapter.rank": 8}, 1.1)
    found = findings(sweep_jobs.read(tmp_path))
    assert len(found.noise.jobs) == 2
    assert found.noise.sources == []


def test_a_front_holds_what_nothing_beats_in_both():
    assert sweep_choice.front([(1, 1), (2, 2), (1, 2), (3, 5), (2, 2)]) == [0, 1, 3, 4]
    assert sweep_choice.front([(1, 1)]) == [0]


def test_factors_that_depend_on_each_other_are_found_by_replicates(tmp_path):
    draws = iter(np.random.default_rng(4).normal(0, 0.01, 36))
    grid = {**RANKS, "adapter.alpha": [16, 32], "seed": [1, 2, 3]}

    def bits(levels):
        return 1 + (levels["adapter.rank"] == 16) * (levels["adapter.alpha"] == 32) * 0.2 + next(draws)

    assert findings(sft(tmp_path / "a", grid, bits)).interaction_p < 0.001
    added = sft(tmp_path / "b", grid, lambda levels: 1 + levels["adapter.rank"] / 100 + next(draws))
    assert findings(added).interaction_p > 0.05


def test_what_a_job_was_typed_with_is_read_from_its_manifest_where_no_state_is(tmp_path):
    sweeps.finished(tmp_path / "a", {"adapter.rank": 4}, 1.0)
    sweeps.finished(tmp_path / "b", {"adapter.rank": 8, "seed": 3}, 1.0)
    sweep = sweep_jobs.read(tmp_path)
    assert sweep.keys == ("adapter.rank", "seed")
    assert [job.levels["seed"] for job in sweep.jobs] == [17, 3]  # what it came to
    assert files.read_state(tmp_path / "b" / "manifest.json")["command"].endswith("hydra.run.dir='b'")
    assert sweep.jobs[1].command == "python -m arabic_llm.run adapter.rank=8 seed=3"
