"""One process a job: a job's death is its own, and the same command runs what is missing."""

import csv
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from arabic_llm import child, sweep

SHORT = ("task.max_steps=2", "task.effective_batch_size=4", "data.max_rows=40", "hw=cpu", "tracking=none")


def swept(folder, *overrides):
    command = [sys.executable, "-m", "arabic_llm.run", "-m", *SHORT, "hydra.sweep.dir=sweep", *overrides]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


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


def test_jobs_fail_alone_and_the_rest_is_done_once(tmp_path):
    first = swept(tmp_path, "adapter.rank=0,2")
    assert first.returncode == 2, first.stdout + first.stderr
    assert "error: adapter.rank must be at least 1, not 0" in first.stdout
    assert (
        "job 0 could not run (exit code 2, its line says why); 0 of 2 done, 1 failed; its last lines:\n"
        "    error: adapter.rank must be at least 1, not 0"
    ) in first.stdout
    assert "of 2 done, 1 failed" in first.stdout.partition("trained 2 steps")[2]
    jobs = sorted(path.name for path in (tmp_path / "sweep").iterdir() if (path / "result.json").exists())
    assert jobs == ["rank=2,max_rows=40,effective_batch_size=4,max_steps=2"]
    assert "sweep of 2 jobs: 2 new" in first.stdout
    refused, done = table(tmp_path)
    assert [done["job"]] == jobs
    assert (done["adapter.rank"], done["status"]) == ("2", "done")
    assert 0 < float(done["metric"]) < 20
    assert (refused["adapter.rank"], refused["metric"]) == ("0", "")
    assert refused["status"] == "could not run (exit code 2, its line says why)"
    tokens = list((tmp_path / "outputs" / "cache" / "tokens").glob("*.parquet"))
    assert len(tokens) == 2  # train and dev, for all jobs together

    again = swept(tmp_path, "adapter.rank=2,3")  # another grid in the same folder: what fits is kept
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("done before, not run again") == 1
    assert again.stdout.count("trained 2 steps") == 1
    assert "sweep of 2 jobs: 1 done before, 1 new" in again.stdout
    of_rank = "rank={},max_rows=40,effective_batch_size=4,max_steps=2"
    changed = f"ran in sweep before; added: {of_rank.format(3)}; left over: {of_rank.format(0)}"
    assert changed in again.stdout
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
    assert again.stdout.count("report: sweep/sweep.html") == 1
    assert again.stdout.count("\nnext:\n") == 1  # the sweep's, none of its jobs'
    assert "python -m arabic_llm.run task=report 'task.folders=[sweep]'\n" in again.stdout
    assert "Error" not in again.stderr


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
    metrics = tmp_path / "sweep" / "rank=2,max_rows=40,effective_batch_size=4,max_steps=400"
    begun(tmp_path, running)
    running.send_signal(signal.SIGTERM)
    said = running.communicate(timeout=60)[0]
    assert running.returncode == 130, said
    assert "interrupted (SIGTERM) after a checkpoint" in said
    assert list(metrics.glob("training/checkpoint-*/SEALED.json"))


def test_a_sweep_that_is_killed_leaves_no_job_running(tmp_path):
    command = [sys.executable, "-m", "arabic_llm.run", "-m", *SHORT[1:], "task.max_steps=4000"]
    running = subprocess.Popen([*command, "hydra.sweep.dir=sweep"], stdout=subprocess.DEVNULL, cwd=tmp_path)
    job = int((begun(tmp_path, running) / ".lock").read_text())
    running.kill()
    running.wait()
    deadline = time.monotonic() + 60  # it may be inside a step, and leaves a checkpoint
    while is_running(job) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(job)
    assert list(tmp_path.glob("sweep/*/training/checkpoint-*/SEALED.json"))


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
    died, refused = sweep.JobDiedError("job 1 was killed by SIGKILL (b)"), sweep.JobError("job 0 (a)")
    both = sweep.of_all([refused, died])
    assert isinstance(both, sweep.JobDiedError)
    assert str(both) == "job 0 (a); job 1 was killed by SIGKILL (b); the others went on"
    assert isinstance(sweep.of_all([refused]), sweep.JobError)
    bug = ValueError("a bug")
    assert sweep.of_all([refused, bug]) is bug


def is_running(pid):
    """Return whether a process lives; one whose parent has not asked for its end does not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
