"""One process a job: a job's death is its own, and the same command runs what is missing."""

import csv
import io
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import ROWS

from arabic_llm import child, files, machine, sweep
from arabic_llm.analysis import sweep_halving
from arabic_llm.grid import Grid
from arabic_llm.sweeping import forks, halving, pool, progress
from arabic_llm.sweeping.view import Shown, View

SHORT = (
    *("task.max_steps=2", "task.effective_batch_size=4", "hw=cpu", "tracking=none"),
    *("data=local", "data.path=rows.jsonl", "task.held_out.num_bytes=600"),
)


@pytest.fixture(autouse=True)
def _rows(tmp_path):
    """Leave few rows: the sample's 404 of dev take longer than the steps."""
    shutil.copy(ROWS, tmp_path / "rows.jsonl")


@pytest.fixture(scope="module")
def warm():
    """Return what jobs are forks of, for all tests: importing takes longer than a job."""
    started = forks.Warm("sft")
    yield started
    started.close()


@pytest.fixture
def swept(program, warm, monkeypatch):
    """Return a sweep in this process, with its jobs in forks of that one."""
    monkeypatch.setattr(warm, "close", lambda: None)
    monkeypatch.setattr(sweep, "Warm", lambda _task: warm)
    return lambda *overrides: program("-m", *SHORT, "hydra.sweep.dir=sweep", *overrides)


def begun(folder, running):
    """Return the directory of a job that has made a step: before, a signal leaves no checkpoint."""
    while running.poll() is None:
        for metrics in folder.glob("sweep/*/training/metrics.jsonl"):
            if '"loss"' in metrics.read_text():
                return metrics.parents[1]
        time.sleep(0.05)
    raise AssertionError(running.returncode)


def table(folder):
    with (folder / "sweep" / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_jobs_fail_alone_and_the_rest_is_done_once(tmp_path, swept):
    status, first = swept("adapter.rank=0,2", "hw.micro_batch_size=2", "task.loss_also_divided=true")
    assert status == 2, first
    assert "error: adapter.rank must be at least 1, not 0" in first
    assert (
        "job 0 could not run (exit code 2, its line says why); 0 of 2 done, 1 failed; its last lines:\n"
        "    error: adapter.rank must be at least 1, not 0"
    ) in first
    assert "of 2 done, 1 failed" in first.partition("trained 2 steps")[2]
    assert "divided by the 2 micro-batches of a step" in first
    jobs = sorted(path.name for path in (tmp_path / "sweep").iterdir() if (path / "result.json").exists())
    assert jobs == ["rank=2,data=local,path=rows.jsonl,effective_batch_size=4,num_bytes=600,max_steps=2"]
    assert "sweep of 2 jobs: 2 new" in first
    refused, done = table(tmp_path)
    assert [done["job"]] == jobs
    assert (done["adapter.rank"], done["status"]) == ("2", "done")
    assert 0 < float(done["metric"]) < 20
    assert (refused["adapter.rank"], refused["metric"]) == ("0", "")
    assert refused["status"] == "could not run (exit code 2, its line says why)"
    tokens = list((tmp_path / "outputs" / "cache" / "tokens").glob("*.parquet"))
    assert len(tokens) == 2  # train and dev, for all jobs together

    status, again = swept("adapter.rank=2,3")  # another grid in the same folder: what fits is kept
    assert status == 0, again
    assert again.count("done before, not run again") == 1
    assert again.count("trained 2 steps") == 1
    assert "micro-batches of a step (" not in again
    assert "sweep of 2 jobs: 1 done before, 1 new" in again
    of_rank = "rank={},data=local,path=rows.jsonl,effective_batch_size=4,num_bytes=600,max_steps=2"
    changed = f"ran in sweep before; added: {of_rank.format(3)}; left over: {of_rank.format(0)}"
    assert changed in again
    assert [(row["adapter.rank"], row["status"]) for row in table(tmp_path)] == [
        ("0", "could not run (exit code 2, its line says why), of another grid"),
        ("2", "done"),
        ("3", "done"),
    ]
    assert list(table(tmp_path)[0]) == ["job", "adapter.rank", "metric", "status"]
    with (tmp_path / "sweep" / "sweep.csv").open() as file:
        reported = [(row["adapter.rank"], row["state"]) for row in csv.DictReader(file)]
    assert reported == [("2", "done"), ("3", "done"), ("0", "failed")]
    page = (tmp_path / "sweep" / "sweep.html").read_text()
    assert "error: adapter.rank must be at least 1, not 0" in page
    assert again.count("report: sweep/sweep.html") == 1
    assert again.count("\nnext:\n") == 1  # the sweep's, none of its jobs'
    assert "python -m arabic_llm.run task=report 'task.folders=[sweep]'\n" in again
    assert "Error" not in again


def test_what_all_jobs_would_be_refused_for_is_said_once_before_any_starts(tmp_path, program):
    status, said = program("-m", "adapter.rank=2,4", "suite.limit=3", "hydra.sweep.dir=sweep")
    assert status == 2
    assert said.count("error: suite.limit has no meaning with task=sft") == said.count("\n") == 1
    assert not list(tmp_path.glob("sweep/*"))


def test_a_job_that_ends_takes_nothing_away_from_the_jobs_after_it(swept):
    status, said = swept("adapter.rank=2,3", "tracking=wandb")  # a folder of W&B's is made on import
    assert status == 0, said
    assert said.count("trained 2 steps") == 2
    assert "no further W&B copy" not in said


def test_a_sweep_that_is_told_to_end_lets_its_job_save_and_carries_on(tmp_path):
    command = [
        sys.executable,
        "-m",
        "arabic_llm.run",
        "-m",
        *SHORT[1:],
        "task.max_steps=400",
        "adapter.rank=2",
    ]
    command += ["hydra.sweep.dir=sweep"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    job = begun(tmp_path, running)
    running.send_signal(signal.SIGTERM)
    said = running.communicate(timeout=60)[0]
    assert running.returncode == 130, said
    assert "interrupted (SIGTERM) after a checkpoint" in said
    assert list(job.glob("training/checkpoint-*/SEALED.json"))


def test_a_sweep_that_is_killed_leaves_no_job_running_and_repeated_does_what_is_missing(tmp_path, swept):
    grid = ("adapter.rank=2,3", "task.max_steps=30", "sweep.jobs=2")
    command = [sys.executable, "-m", "arabic_llm.run", "-m", *SHORT, *grid, "hydra.sweep.dir=sweep"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tmp_path)
    job = int((begun(tmp_path, running) / ".lock").read_text())
    warm = int(Path(f"/proc/{job}/stat").read_text().rpartition(")")[2].split()[1])
    assert warm != running.pid
    running.kill()
    running.wait()
    deadline = time.monotonic() + 60  # it may be inside a step, and leaves a checkpoint
    while (is_running(job) or is_running(warm)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(job)
    assert not is_running(warm)
    assert list(tmp_path.glob("sweep/*/training/checkpoint-*/SEALED.json"))
    status, again = swept(*grid)
    assert status == 0, again
    assert "begun" in again.partition("\n")[0]
    assert "2 of 2 done" in again
    assert all(
        line.startswith(("[0] ", "[1] ")) for line in again.splitlines() if "trained 30 steps" in line
    )


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
        ("sys.exit(128 + signal.SIGBUS)", "was killed by SIGBUS"),
        ("sys.exit(3)", "failed (exit code 3, its lines say where)"),
        ("sys.exit(255)", "failed (exit code 255, its lines say where)"),
    ],
)
def test_a_jobs_death_has_the_name_of_its_cause(ends, said):
    ended = child.run([sys.executable, "-c", f"import os, signal, sys; {ends}"])
    assert ended.how == said
    assert not ended.was_told


def test_a_job_that_memory_ended_is_told_from_one_that_was_killed():
    ended = child.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    by_kernel, by_hand = replace(ended, oom_kills=1).how, replace(ended, oom_kills=0).how
    assert by_kernel.startswith("was killed by SIGKILL: the kernel's OOM killer ended a process")
    assert "SIGKILL, and not by the kernel for want of memory" in by_hand


def test_what_a_job_says_last_is_kept_without_its_bars_and_passed_on(capfd):
    says = (
        "import sys; print('first'); sys.stdout.flush();"
        r"sys.stderr.write('train:  50%|## | 1/2\rtrain: 100%|####| 2/2\r   \rtold\n'); sys.stderr.flush();"
        r"import time; time.sleep(0.5); print('\n'.join(map(str, range(20)))); sys.stdout.write('no end');"
        "raise SystemExit(1)"
    )
    ended = child.run([sys.executable, "-c", says])
    assert ended.last_lines == (*map(str, range(13, 20)), "no end")
    out, error = capfd.readouterr()
    assert out.startswith("first\n0\n1\n")
    assert out.endswith("19\nno end\n")
    assert error.endswith("told\n")
    short = child.run([sys.executable, "-c", says.partition("import time")[0]])
    assert sorted(short.last_lines) == ["first", "told"]
    moved = child.run([sys.executable, "-c", r"print('\x1b[A\n\x1b[31mred\x1b[0m \x07bell')"])
    assert moved.last_lines == ("red bell",)


CARDS = """#!/bin/sh
case "$*" in
  "-i 0 --query-gpu=name,memory.total,memory.free,compute_cap "*) echo "First Card, 8192, 7900, 8.6";;
  "-i 1 --query-gpu=name,memory.total,memory.free,compute_cap "*) echo "Second Card, 8192, 7900, 8.6";;
  "--query-gpu=index "*) printf "0\\n1\\n";;
  *) exit 6;;
esac
"""


def test_each_job_has_one_card_and_no_more_run_than_there_are_cards(program, tmp_path, monkeypatch):
    """A script plays the cards' own program: what a job is told of, it asks for by CUDA_VISIBLE_DEVICES."""
    (tmp_path / "nvidia-smi").write_text(CARDS)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    status, said = program("-m", "task=plan", "hw=auto", "adapter.rank=2,3,4", "sweep.jobs=9")
    assert status == 0, said
    cards = {line[:3]: line for line in said.splitlines() if "hw=auto is hw=8gb" in line}
    assert sorted(cards) == ["[0]", "[1]", "[2]"]
    assert ["First" in cards[job] for job in sorted(cards)] == [True, True, False]
    assert "Second Card" in cards["[2]"]
    begun = [said.index(f"\njob {number}: task=plan") for number in range(3)]
    ended = [said.index(f"\njob {number} done") for number in range(3)]
    assert begun[0] < ended[0] < begun[1] < begun[2] < min(ended[1:])  # the first one is weighed alone


def test_a_fork_has_the_card_that_its_order_names(tmp_path, warm, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nvidia-smi").write_text(CARDS)
    (tmp_path / "nvidia-smi").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": "1"}
    assert warm.cannot is None
    job = child.Child(warm.start(("task=plan", "hw=auto", "hydra.mode=RUN"), environment))
    while (ended := job.look()) is None:
        time.sleep(child.SECONDS)
    assert ended.status == 0
    assert "of Second Card" in capfd.readouterr().out


def test_where_memory_is_short_jobs_wait_for_each_other(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemAvailable:  1024 kB\n")  # of that machine
    typed = ("task=plan", "hw=cpu", "tracking=none")
    jobs = [pool.SweptJob(number, f"job{number}", tmp_path / f"job{number}", typed) for number in range(3)]
    own = pool.Pool(
        Grid(tmp_path, [job.name for job in jobs], typed={job.name: list(typed) for job in jobs}),
        *(3, None, partial(machine.free_gib, tmp_path)),
    )
    with caplog.at_level("INFO", "arabic_llm"):
        own.run(jobs)
    told = [line.split(";")[0].split(" in ")[0] for line in caplog.messages if line.startswith("job ")]
    said = [line for line in told if "step" not in line]
    assert said == [
        f"job {number}{how}" for number in range(3) for how in (f": {' '.join(typed)}", " done")
    ]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_flag_of_a_sweep_may_stand_anywhere(program, place):
    words = ["task=report", "task.folders=[a],[b]"]
    status, said = program(*words[:place], "-m", *words[place:])
    assert status == 2
    assert said.startswith("sweep of 2 jobs: 2 new\n")
    assert "no evaluation in a" in said
    assert "no evaluation in b" in said


def test_two_jobs_never_have_one_directory(program):
    status, said = program("-m", "task=plan", "hw=4gb,8gb", "hydra.sweep.subdir=one", "dry_run=true")
    assert status == 2
    assert "job 1 (task=plan hw=8gb dry_run=True tracking=none) would write into the directory of" in said
    assert "job 0 (task=plan hw=4gb dry_run=True tracking=none): " in said


def test_a_sweep_of_a_task_that_keeps_nothing_is_counted_and_has_no_report(program, tmp_path):
    status, said = program("-m", "task=plan", "hw=4gb,8gb")
    assert status == 0, said
    assert "2 of 2 done" in said
    assert "report:" not in said
    assert not list(tmp_path.glob("multirun/plan/hw/sweep.html"))


def test_what_ends_a_command_names_every_job_that_failed():
    died, refused = pool.JobDiedError("job 1 was killed by SIGKILL (b)"), pool.JobError("job 0 (a)")
    both = sweep.of_all([refused, died])
    assert isinstance(both, pool.JobDiedError)
    assert str(both) == "job 0 (a); job 1 was killed by SIGKILL (b); the others went on"
    assert isinstance(sweep.of_all([refused]), pool.JobError)
    bug = ValueError("a bug")
    assert sweep.of_all([refused, bug]) is bug


def is_running(pid):
    """Return whether a process lives; one whose parent has not asked for its end does not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture(scope="module")
def nats():
    """Return the loss of 200 rows under four jobs: two alike, one a little worse, one far worse."""
    base = np.random.default_rng(0).uniform(5, 15, 200)
    noise = np.random.default_rng(1).normal(0, 0.4, (3, 200))
    return {
        "a": base,
        "b": base + noise[0] - noise[0].mean() + 0.01,
        "c": base + 0.3 + noise[1],
        "d": base + 3 + noise[2],
    }


def test_what_a_rung_stops_is_worse_beyond_chance_or_said_to_be_no_better(nats):
    verdicts = {one.name: one for one in sweep_halving.decide(nats, [10] * 200, eta=4)}
    assert {name: one.fate for name, one in verdicts.items()} == {
        "a": "goes on", "b": "no better", "c": "worse", "d": "worse"
    }  # fmt: skip
    assert verdicts["b"].worse_p > 0.05 > verdicts["b"].better_p
    assert "not told apart from the best; better by" in verdicts["b"].why
    assert "beyond chance" in verdicts["c"].why
    behind = verdicts["d"]
    assert behind.low < 0.3 < behind.high  # 3 nats a row of 10 tokens
    assert behind.loss == pytest.approx(nats["d"].sum() / 2000)
    few = {name: own[:4] for name, own in nats.items()}
    fates = [one.fate for one in sweep_halving.decide(few, [10] * 4, eta=4)]
    assert fates == ["goes on", "no better", "no better", "worse"]  # c may be chance
    assert sum(one.fate == "goes on" for one in sweep_halving.decide(nats, [10] * 200, eta=2)) == 2


def test_a_job_that_may_yet_be_better_than_the_best_is_not_stopped(nats):
    """Such as one that is good at other rows: the difference of the means is hardly known."""
    other = nats | {"e": nats["a"][::-1] + 0.02}
    (verdict,) = [v for v in sweep_halving.decide(other, [10] * 200, eta=5) if v.name == "e"]
    assert (verdict.fate, verdict.low < -verdict.margin) == ("goes on", True)
    assert verdict.why.startswith("may be better than the best by more than 0.0214")
    one_row = {name: own[:1] for name, own in nats.items()}
    assert {one.fate for one in sweep_halving.decide(one_row, [10], eta=4)} == {"goes on"}


def test_of_jobs_that_are_alike_to_the_last_digit_one_share_goes_on(nats):
    alike = dict.fromkeys("abc", nats["a"])
    fates = [one.fate for one in sweep_halving.decide(alike, [10] * 200, eta=3)]
    assert fates == ["goes on", "no better", "no better"]


HALVED = (
    *("task.max_steps=9", "task.held_out.num_bytes=0", "data.max_rows=8", "task.learning_rate=0.05"),
    "data.dev_share=0.4",
)


def test_jobs_that_are_behind_stop_at_a_rung_and_carry_on_as_if_they_had_not(tmp_path, swept, nursery):
    """Three at a time, in forks: what they learn is what the same job learns alone."""
    grid = (*HALVED, "adapter.rank=2", "adapter.alpha=1,2,64")
    status, said = swept(*grid, "sweep.halving.eta=3", "sweep.jobs=3")
    assert status == 0, said
    with (tmp_path / "sweep" / "halving.csv").open() as file:
        decided = list(csv.DictReader(file))
    assert {row["step"] for row in decided} == {"1", "3"}
    last = {row["job"]: row["fate"] for row in decided}
    stopped = [name for name, fate in last.items() if fate != "goes on"]
    assert len(stopped) == 2, decided
    assert len(list(tmp_path.glob("sweep/*/result.json"))) == 1
    assert "stopped at a rung" in said
    assert "; 1 of 3 done, 2 stopped\n" in said  # and none is to come
    states = {row["job"]: row["state"] for row in csv.DictReader((tmp_path / "sweep" / "sweep.csv").open())}
    assert states[stopped[0]].startswith("stopped after step ")
    folder = tmp_path / "sweep" / stopped[0]
    typed = files.read_state(tmp_path / "sweep" / "sweep.json")["typed"][stopped[0]]
    nursery.finish(tmp_path, (*typed, f"hydra.run.dir='{folder}'"))
    nursery.finish(tmp_path, (*typed, "hydra.run.dir=mine"))
    alone = tmp_path / "mine"
    assert progress.of(folder) == progress.of(alone)
    weights = "adapter/adapter_model.safetensors"
    assert (folder / weights).read_bytes() == (alone / weights).read_bytes()


@pytest.mark.parametrize("damage", ["", "[]", '{"step": 1}', '{"step": 1, "nats": [2.5], "tokens": [7]}'])
def test_what_was_measured_at_a_rung_and_is_damaged_is_measured_again(tmp_path, damage):
    job = pool.SweptJob(0, "rank=2", tmp_path, ())
    path = tmp_path / "training" / "rung-1.json"
    files.write_state(path, found := {"step": 1, "nats": [2.5], "tokens": [3]})
    assert halving.measured(job, 1) == found
    path.write_text(damage)
    assert halving.measured(job, 1) is None
    assert [aside.name for aside in path.parent.iterdir()] == ["rung-1.json.damaged-1"]


def test_a_search_goes_on_where_it_was_and_draws_what_it_would_have_drawn(tmp_path, swept):
    space = ("adapter.rank=interval(2,40)", "task.learning_rate=tag(log,interval(1e-5,1e-3))")
    short = ("task.max_steps=1", "task.held_out.num_bytes=0", "data.max_rows=4")
    assert swept(*short, *space, "sweep.search.trials=1")[0] == 0
    with (tmp_path / "sweep" / "search.journal").open("a") as journal:
        journal.write('{"op_code": 4, "wor')  # a kill cut it
    status, said = swept(*short, *space, "sweep.search.trials=2")
    assert status == 0, said
    assert said.count("trained 1 steps") == 1
    first = sorted(row["job"] for row in table(tmp_path))
    assert len(first) == 2
    journal = tmp_path / "sweep" / "search.journal"
    journal.write_text(journal.read_text().replace("0", "1", 1))
    status, said = swept(*short, *space, "sweep.search.trials=2")
    assert status == 0, said
    assert "search.journal is damaged: it does not hold what was written; the search begins anew" in said
    assert "trained" not in said
    assert sorted(row["job"] for row in table(tmp_path)) == first
    (tmp_path / "sweep").rename(tmp_path / "cut")
    assert swept(*short, *space, "sweep.search.trials=2", "sweep.jobs=1")[0] == 0
    assert sorted(row["job"] for row in table(tmp_path)) == first


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("sweep.search.trials=3",), "nothing to search; give a range"),
        (("sweep.search.trials=3", "adapter.rank=interval(9,2)"), "9.0 is not below 2.0"),
        (("sweep.search.trials=3", "adapter.rank=interval(1.5,3)"), "takes whole numbers"),
        (("sweep.search.trials=3", "adapter.rank=tag(foo,interval(1,3))"), "no tag 'foo'"),
        (
            ("sweep.search.trials=3", "task.learning_rate=tag(log,interval(0,1))"),
            "needs an interval above 0",
        ),
        (("sweep.search.trials=3", "adapter.rank=tag(log,range(1,9))"), "steps of one size"),
        (("sweep.search.trials=0", "adapter.rank=2,3"), "sweep.search.trials must be at least 1, not 0"),
        (("sweep.search.trials=2", "sweep.halving.eta=3", "adapter.rank=2,3"), "two ways to choose"),
        (("sweep.search.trials=2", "task=plan", "hw=4gb,8gb"), "which of two is better"),
        (("adapter.rank=interval(2,9)",), "set sweep.search.trials=20"),
        (("adapter.rank=2,3", "sweep.jobs=0"), "sweep.jobs must be at least 1, not 0"),
        (("adapter.rank=2,3", "sweep.halving.eta=1"), "sweep.halving.eta must be at least 2, not 1"),
        (("adapter.rank=2,3", "sweep.halving.eta=3"), "set task.max_steps, one for all jobs"),
        (("task.max_steps=9,18", "sweep.halving.eta=3"), "set task.max_steps, one for all jobs"),
        (("task=plan", "hw=4gb,8gb", "sweep.halving.eta=3"), "no loss on dev to be compared by"),
        (("hw=4gb,8gb", "hydra/launcher=joblib", "sweep.jobs=2"), "leave one of the two out"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused_in_a_line(program, tmp_path, typed, said):
    status, told = program("-m", *typed)
    assert (status, said in told, told.count("\n")) == (2, True, 1), told
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("typed", ["sweep.jobs=2", "sweep.halving.eta=3", "sweep.search.trials=2"])
def test_a_single_run_is_no_sweep(program, typed):
    status, said = program(typed)
    assert (status, f"{typed} has no meaning without -m" in said) == (2, True), said


@pytest.mark.parametrize(
    "launcher",
    [("joblib", "hydra.launcher.n_jobs=2"), ("submitit_local", "hydra.launcher.timeout_min=5")],
    ids=lambda one: one[0],
)
def test_a_launcher_runs_the_jobs_and_says_which_failed(tmp_path, launcher):
    named = (f"hydra/launcher={launcher[0]}", *launcher[1:])
    command = [sys.executable, "-m", "arabic_llm.run", "-m", "task=plan", "hw=4gb", "adapter.rank=0,2"]
    ended = subprocess.run(
        [*command, "hydra.sweep.dir=sweep", *named], capture_output=True, text=True, cwd=tmp_path
    )
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "job 0 could not run (exit code 2, its line says why)" in ended.stdout
    state = files.read_state(tmp_path / "sweep" / "sweep.json")
    (lines,) = [one["lines"] for one in state["ended"].values()]
    assert lines == ["error: adapter.rank must be at least 1, not 0"]


def test_a_sweep_on_a_cluster_composes(monkeypatch):
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from arabic_llm.config import compose, paths

    compose.register()
    typed = [
        "hydra/launcher=submitit_slurm",
        "hydra.launcher.partition=gpu",
        "hydra.launcher.gpus_per_node=1",
    ]
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        launcher = hydra_compose("config", typed, return_hydra_config=True).hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert (launcher.partition, launcher.gpus_per_node) == ("gpu", 1)


@pytest.fixture
def shown(tmp_path):
    """Return a grid of two jobs, one of which has ended, and what is shown of the other."""
    grid = Grid(tmp_path, ["rank=2", "rank=4"], ["adapter.rank"], {"rank=2": ["a"], "rank=4": ["b"]})
    grid.end("rank=2", child.Ended(0), 1.0, stopped=3)
    running = Shown(1, "rank=4", progress.Progress(40, 2.5), time.monotonic() - 10)
    return grid, running


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_has_a_table_in_place_of_lines(shown, monkeypatch):
    grid, running = shown
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    with View(grid, 1) as view:
        view.took.append(25.0)
        view.ended(0, "rank=2", child.Ended(0), 25.0)
        view._last = 0.0
        view.show([running], waiting=3)
        table = terminal.getvalue()
        view.say("job 2: adapter.rank=8")
        assert terminal.getvalue().startswith("\x1b[4A\r\x1b[J", len(table))  # the table makes room
    head, stopped, now, last = table.splitlines()
    assert head.split() == ["job", "state", "step", "loss", "score", "left", "what", "is", "swept"]
    assert stopped.split() == ["0", "stopped", "3", "rank=2"]
    assert now.split() == ["1", "running", "40", "2.500", "15", "s", "rank=4"]
    assert last == "3 waiting; 0 of 2 done, about 50 s left"


def test_elsewhere_a_line_a_minute_says_how_far_each_job_is(shown, caplog):
    grid, running = shown
    view = View(grid, 1)
    with caplog.at_level("INFO", logger="arabic_llm"):
        view.show([running], waiting=0)
        assert caplog.messages == []
        view._last -= 61
        view.show([running], waiting=0)
    assert caplog.messages == ["job 1: step 40, loss 2.500 after 10 s"]


def test_how_far_a_job_is_survives_a_line_that_is_half_written(tmp_path):
    metrics = tmp_path / "training" / "metrics.jsonl"
    assert progress.of(tmp_path) == progress.Progress()
    metrics.parent.mkdir()
    metrics.write_text('{"step": 7, "loss": 2.5}\n{"step": 7, "dev_loss": 3.0}\n{"step": 8, "lo')
    assert progress.of(tmp_path) == progress.Progress(7, 2.5)
    for damaged in ('{"step": 8, "loss": }', '{"loss": 2.0}', '{"step": 8, "loss": null}', '{"loss": [}'):
        metrics.write_text(f'{{"step": 7, "loss": 2.5}}\n{damaged}\n')
        assert progress.of(tmp_path) == progress.Progress(7, 2.5)
