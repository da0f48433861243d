"""The report of a sweep: a page and a table of all jobs, of half of it too, never a winner in the noise."""

import csv
import io
import re

import numpy as np
import pytest
import sweeps

from arabic_llm import files
from arabic_llm.analysis import sweep_jobs
from arabic_llm.config.run import Language
from arabic_llm.reports import spoken
from arabic_llm.reports import sweep_page as report

GRID = {"adapter.rank": [4, 8], "adapter.alpha": [16, 32], "adapter.dropout": [0.05, 0.1]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a sweep of eight jobs: six done, one killed, one not begun."""
    folder = tmp_path_factory.mktemp("runs") / "grid"
    killed = ("rank=8,alpha=32,dropout=0.1", "was killed by SIGKILL", ["step 3 <script>", "Killed"])
    sweeps.state(folder, GRID, [killed])
    for at, levels in enumerate(sweeps.combined(GRID)):
        if at < 6:
            bits = (
                1.3
                - levels["adapter.rank"] / 100
                + levels["adapter.dropout"] / 10
                + (0, 1, 2, 2)[at % 4] / 1e3
            )
            sweeps.finished(folder / sweeps.name(levels), levels, bits, forgetting=0.1 + at / 100)
    return folder


def table(sweep):
    return list(csv.DictReader(io.StringIO(report.as_csv(sweep))))


def test_the_table_has_a_row_for_each_job_and_a_column_for_each_swept_key(folder):
    rows = table(sweep_jobs.read(folder))
    assert [row["state"] for row in rows] == ["done"] * 6 + ["not begun", "failed"]
    first, last = rows[0], rows[-1]
    assert (first["adapter.rank"], first["adapter.alpha"], first["adapter.dropout"]) == ("4", "16", "0.05")
    told = {key: first[key] for key in ("trainable_parameters", "memory_predicted_mib", "seconds", "kind")}
    assert told == {
        "trainable_parameters": "800",
        "memory_predicted_mib": "24.0",
        "seconds": "12.0",
        "kind": "A",
    }
    assert float(first["dev_bits_per_byte"]) == pytest.approx(1.265)
    assert float(first["gain"]) == pytest.approx(0.735)
    assert (first["forgotten_text"], first["path"]) == ("en", str(folder / first["job"]))
    assert (last["cause"], last["value"], last["adapter.rank"]) == ("was killed by SIGKILL", "", "8")


def test_the_page_has_its_charts_the_choice_the_command_and_the_cause_of_a_death(folder):
    page = report.page(sweep_jobs.read(folder))
    assert "8 jobs: 6 done, 1 not begun, 1 failed" in page
    assert "Take rank 8, alpha 16, dropout 0.05: its loss on dev, bits a byte, 1.2250" in page
    assert "python -m arabic_llm.run adapter.rank=8 adapter.alpha=16 adapter.dropout=0.05" in page
    for title in ("Loss on dev, bits a byte, by setting", "Main effects", "By alpha / rank"):
        assert f"<h2>{title}</h2>" in page
    for title in ("Gain against forgetting", "Loss on dev, bits a byte against memory"):
        assert f"<h2>{title}</h2>" in page
    assert page.count("<svg") == 5
    assert "was killed by SIGKILL" in page
    assert "step 3 &lt;script&gt;\nKilled" in page
    assert "<script" not in page
    assert not re.search(
        r'(?<!xlink:)(?:src|href)="(?!#|data:)|url\(', page.replace("url(#", "")
    )  # of one file


def test_what_a_rung_stopped_is_never_called_beaten_where_chance_may_have_done_it(tmp_path):
    # The last job was to go on, and a kill came before.
    folder, grid = tmp_path / "halved", {"adapter.rank": [4, 8, 16, 32], "adapter.alpha": [16, 32]}
    sweeps.state(folder, grid)
    done, *others = sweeps.combined(grid)
    sweeps.finished(folder / sweeps.name(done), done, 1.2)
    fates = [*["no better"] * 5, "worse"]
    names = [sweeps.name(levels) for levels in others]
    stopped = {"stopped": dict.fromkeys(names, 12), "fates": dict(zip(names[:-1], fates, strict=True))}
    files.write_state(folder / "sweep.json", files.read_state(folder / "sweep.json") | stopped)
    sweep = sweep_jobs.read(folder)
    said = [
        "1 job was stopped at a rung: its loss on dev was behind the best one there beyond chance.",
        "5 jobs were stopped at a rung as no better: chance may have put them behind the best one there."
        " Nothing here is a winner over them.",
    ]
    page = report.page(sweep)
    assert [line in page for line in said] == [True, True]
    assert report.line(sweep).splitlines()[-2:] == said
    assert "8 jobs: 1 done, 7 stopped after step 12" in page
    with spoken.speaking(Language.ar):
        assert not re.search("[a-z] stopped|stopped (after|at)|no better", report.page(sweep))


def test_where_all_settings_come_to_the_same_none_is_the_best_and_no_effect_is_drawn(tmp_path):
    grid = {"adapter.rank": [4, 8], "seed": [1, 2]}
    sweeps.state(tmp_path, grid)
    for levels in sweeps.combined(grid):
        right = np.arange(80) % 3 == 0
        sweeps.judged(tmp_path / sweeps.name(levels), levels, right[:: 1 if levels["seed"] == 1 else -1])
    page = report.page(sweep_jobs.read(tmp_path))
    assert re.search(
        r"Take rank \d: all settings have the same mean score, .*, and none is cheaper\.", page
    )
    assert "is the best" not in page
    assert not re.search(r"1e[-−]\d", re.sub(r"<style.*?</style>", "", page, flags=re.DOTALL))


def test_of_scores_each_task_has_its_interval_and_seeds_are_averaged(tmp_path):
    grid = {"adapter.rank": [4, 8], "seed": [1, 2]}
    sweeps.state(tmp_path, grid)
    draw = np.random.default_rng(0)
    for levels in sweeps.combined(grid):
        sweeps.judged(tmp_path / sweeps.name(levels), levels, draw.random(80) < 0.5)
    sweep = sweep_jobs.read(tmp_path)
    for row in table(sweep):
        assert float(row["exams_low"]) < float(row["exams"]) < float(row["exams_high"])
        assert float(row["value"]) == float(row["exams"])
    page = report.page(sweep)
    assert "Values are means over the seeds." in page
    assert "It is no winner." in page
    assert "within noise" in page


def test_one_job_of_several_kinds_and_none_at_all_still_make_a_page(tmp_path):
    sweeps.state(tmp_path, {"adapter.rank": [4, 8]})
    assert "2 jobs: 2 not begun" in report.page(sweep_jobs.read(tmp_path))
    sweeps.finished(tmp_path / "rank=4", {"adapter.rank": 4}, 1.0)
    sweeps.finished(tmp_path / "rank=8", {"adapter.rank": 8}, 0.1, data="other")
    page = report.page(sweep_jobs.read(tmp_path))
    assert page.count("there is nothing to choose from yet") == 2
    assert "These jobs are of 2 kinds" in page
    _, kinds, choice = report.line(sweep_jobs.read(tmp_path)).splitlines()
    assert kinds.startswith("These jobs are of 2 kinds")
    assert choice == "Only one setting is done (these settings): there is nothing to choose from yet."


def test_without_a_measure_of_chance_nothing_is_taken(tmp_path):
    for rank in (4, 8):
        sweeps.finished(tmp_path / f"rank={rank}", {"adapter.rank": rank}, 1 + rank / 10)
    sweep = sweep_jobs.read(tmp_path)
    assert report.line(sweep).splitlines() == [
        "2 jobs: 2 done",
        "Nothing can be chosen yet: rank 4 has the best loss on dev, bits a byte (1.4000), but with one job"
        " a setting and one factor chance cannot be told from it; sweep seed=1,2,3 too, with the same"
        " command.",
    ]
    assert "noise not known" in report.page(sweep)


def test_the_cheaper_one_is_taken_with_what_it_saves(tmp_path):
    losses = iter((1.21, 1.19, 1.2, 1.195, 1.205, 1.197))
    grid = {"adapter.rank": [4, 64], "seed": [1, 2, 3]}
    sweeps.state(tmp_path, grid)
    for levels in sweeps.combined(grid):
        sweeps.finished(tmp_path / sweeps.name(levels), levels, next(losses))
    assert report.line(sweep_jobs.read(tmp_path)).splitlines()[1] == (
        "Take rank 4: it is as good as rank 64, the best, within one standard error (1.2000 against 1.1990;"
        " 0.0010 behind, standard error 0.0087), with 24 MiB of memory instead of 84 MiB and 800 trained"
        " parameters instead of 12.8 k."
    )


def test_task_report_writes_the_report_of_each_sweep_it_is_asked_about(folder, program, tmp_path):
    status, said = program("task=report", f"task.folders=[{folder.parent}]")
    assert status == 0, said
    assert f"report: {folder / 'sweep.html'}" in said
    assert (folder / "sweep.csv").read_text() == report.as_csv(sweep_jobs.read(folder))
    assert not (tmp_path / "outputs").exists()
