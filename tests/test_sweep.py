"""One process a job: a job's death is its own, and the same command runs what is missing."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

SHORT = ("task.max_steps=2", "task.effective_batch_size=4", "data.max_rows=40", "hw=cpu", "tracking=none")


def sweep(folder, *overrides):
    command = [sys.executable, "-m", "arabic_llm.run", "-m", *SHORT, "hydra.sweep.dir=sweep", *overrides]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


def test_jobs_fail_alone_and_the_rest_is_done_once(tmp_path):
    first = sweep(tmp_path, "adapter.rank=0,2")
    assert first.returncode == 2, first.stdout + first.stderr
    assert "error: adapter.rank must be at least 1, not 0" in first.stdout
    assert "job 0 could not run" in first.stdout
    jobs = sorted(path.name for path in (tmp_path / "sweep").iterdir() if (path / "result.json").exists())
    assert jobs == ["rank=2,max_rows=40,effective_batch_size=4,max_steps=2"]
    with (tmp_path / "sweep" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["job"] for row in rows] == jobs
    assert [row["adapter.rank"] for row in rows] == ["2"]
    assert all(0 < float(row["metric"]) < 20 for row in rows)
    tokens = list((tmp_path / "outputs" / "cache" / "tokens").glob("*.parquet"))
    assert len(tokens) == 2  # train and dev, for all jobs together

    again = sweep(tmp_path, "adapter.rank=2,3")  # another grid in the same folder: what fits is kept
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("done before, not run again") == 1
    assert again.stdout.count("trained 2 steps") == 1
    with (tmp_path / "sweep" / "results.csv").open() as file:
        assert [(row["adapter.rank"], *row) for row in csv.DictReader(file)] == [
            (rank, "job", "adapter.rank", "metric") for rank in ("2", "3")
        ]
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
    while not list(tmp_path.glob("sweep/*/training/metrics.jsonl")) and running.poll() is None:
        time.sleep(0.05)
    time.sleep(1)
    running.send_signal(signal.SIGTERM)
    said = running.communicate(timeout=60)[0]
    assert running.returncode == 130, said
    assert "interrupted (SIGTERM) after a checkpoint" in said
    assert list(metrics.glob("training/checkpoint-*/SEALED.json"))


def test_a_sweep_that_is_killed_leaves_no_job_running(tmp_path):
    command = [sys.executable, "-m", "arabic_llm.run", "-m", *SHORT[1:], "task.max_steps=4000"]
    running = subprocess.Popen([*command, "hydra.sweep.dir=sweep"], stdout=subprocess.DEVNULL, cwd=tmp_path)
    while (
        not (training := list(tmp_path.glob("sweep/*/training/metrics.jsonl"))) and running.poll() is None
    ):
        time.sleep(0.05)
    job = int((training[0].parents[1] / ".lock").read_text())
    running.kill()
    running.wait()
    deadline = time.monotonic() + 60  # it may be inside a step, and leaves a checkpoint
    while is_running(job) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(job)
    assert list(tmp_path.glob("sweep/*/training/checkpoint-*/SEALED.json"))


def is_running(pid):
    """Return whether a process lives; one whose parent has not asked for its end does not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
