"""datatrove's executors clean the same rows, byte for byte, and carry on what the other engine began."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from conftest import compose_config

from arabic_llm import files
from arabic_llm.data.cleaning import contamination
from arabic_llm.data.cleaning.rules import Rules
from arabic_llm.data.preparing import sources, staging
from arabic_llm.data.preparing.shards import Work
from arabic_llm.errors import HardwareError

needs_datatrove = pytest.mark.skipif(
    find_spec("datatrove") is None, reason="datatrove is not here: pip install 'arabic-llm[scale]'"
)
WORDS = "في مدينة بعيدة عاش تاجر له ثلاثة أولاد يحبون السفر والبحر".split()  # noqa: SIM905
DATED = {"manifest.json", "run.log", ".lock", "README.md"}  # the card says which command made it
TROVE = ("data.engine=datatrove", "hw.num_processes=2")


def story(number):
    return " ".join(WORDS[(number * step) % len(WORDS)] for step in range(3, 30)) + f" {number}"


@pytest.fixture
def raw(tmp_path):
    """Return a folder of three files: conversations with a copy and a near copy, a broken row, pairs."""
    rows = [{"instruction": f"اكتب قصة رقم {n}", "output": story(n)} for n in range(60)]
    rows += [rows[3], {"instruction": "اكتب قصة رقم 5", "output": f"{story(5)} ثم"}]
    broken = [{"instruction": "اكتب قصة", "output": ""}, {"instruction": "صف البحر", "output": story(70)}]
    pairs = [{"prompt": f"قصة عن {w}", "chosen": story(n), "rejected": "لا"} for n, w in enumerate(WORDS)]
    for name, content in (("a", rows), ("b", broken), ("c", pairs)):
        files.write_json_lines(tmp_path / "raw" / f"{name}.jsonl", content)
    return tmp_path / "raw"


def prepare(*more, folder="made"):
    return (
        *("task=prepare", "data=local", "data.path=raw", "data.cleaning.near_duplicates=0.8"),
        *("data.on_bad_row=drop", f"hydra.run.dir={folder}", *more),
    )


def made(folder):
    """Return the bytes of all that a run leaves, but for what tells when and how it ran."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in DATED}


def staged(*overrides):
    """Return what cleaning is given."""
    from arabic_llm.models import tokenization

    config = compose_config("data=local", "data.path=raw", "data.on_bad_row=drop", *overrides)
    rules = [Rules(config.data, contamination.index(()), 17, are_signed=True)]
    work = Work(rules, tokenization.rules(config.model))
    return work, [sources.inputs_of(config.data, Path())], config.hw


def shards_in(folder):
    return {path.name: path.read_bytes() for path in folder.glob("000-*")}


@needs_datatrove
def test_two_workers_of_the_local_executor_make_the_same_bytes(program, tmp_path, raw, capfd):
    assert program(*prepare(folder="processes"))[0] == 0
    code, said = program(*prepare(*TROVE, folder="trove"))
    assert code == 0, said
    assert "datatrove: cleaning of 3 files by its local executor" in said.splitlines()
    assert {"train.jsonl", "pref_train.jsonl", "ledger.json"} <= made(tmp_path / "trove").keys()
    assert made(tmp_path / "trove") == made(tmp_path / "processes")
    assert capfd.readouterr().err == ""  # what datatrove says is in its logs


@needs_datatrove
def test_either_engine_carries_on_what_the_other_began_and_reads_no_finished_input(
    tmp_path, raw, monkeypatch
):
    from arabic_llm.data.preparing import executors

    monkeypatch.chdir(tmp_path)
    work, inputs, hw = staged("hw.num_processes=2", "hw.executor.num_tasks=2")
    first = staging.stage(work, inputs, tmp_path / "first", 1)
    executors.clean(work, inputs, tmp_path / "work", hw)
    assert shards_in(tmp_path / "work") == shards_in(tmp_path / "first")
    whole = shards_in(tmp_path / "work")
    (raw / "a.jsonl").unlink()
    for name in ("000-00001.json", "000-00002.json", "000-00002-00000.json"):  # killed in the third input
        (tmp_path / "work" / name).unlink()
    executors.clean(work, inputs, tmp_path / "work", hw)
    assert shards_in(tmp_path / "work") == whole
    (raw / "b.jsonl").unlink()
    for name in ("000-00002.json", "000-00002-00000.json"):
        (tmp_path / "work" / name).unlink()
    assert [len(found) for found in staging.stage(work, inputs, tmp_path / "work", 1)] == [len(first[0])]
    assert shards_in(tmp_path / "work") == whole
    executors.clean(work, inputs, tmp_path / "work", hw)  # nothing to do, and no file to read
    assert not list((tmp_path / "work").glob("*.error"))


@needs_datatrove
def test_a_bad_row_stops_it_at_its_line_and_the_other_engine_may_go_on(program, tmp_path, raw):
    said = "error: raw/b.jsonl:1: 'output' is empty; mend it, or set data.on_bad_row=drop"
    stop = ("data.on_bad_row=stop", "data.cleaning.near_duplicates=null")
    for engine in (*2 * [TROVE], ("data.engine=processes",)):  # told again when it is tried again
        code, lines = program(*prepare(*stop, *engine))
        assert (code, lines.splitlines()[-1]) == (2, said)
    assert (tmp_path / "made" / ".work" / "000-00000.json").exists()


@needs_datatrove
def test_nothing_outlives_a_killed_run_and_another_engine_ends_it(program, tmp_path, raw):
    many = [{"text": f"{story(n)} {n * n}"} for n in range(4000)]
    (raw / "c.jsonl").unlink()
    for name in "cde":
        files.write_json_lines(raw / f"{name}.jsonl", many)
    command = [sys.executable, "-m", "arabic_llm.run", *prepare(*TROVE), "tracking=none"]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True)
    work = tmp_path / "made" / ".work"
    while not list(work.glob("00?-?????.json")):
        assert run.poll() is None
        time.sleep(0.02)
    assert len(processes_in(tmp_path)) > 3  # the run, the leader, its manager, its workers
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    until = time.monotonic() + 20
    while processes_in(tmp_path) and time.monotonic() < until:
        time.sleep(0.1)
    assert processes_in(tmp_path) == []
    assert not (tmp_path / "made" / "result.json").exists()
    assert program(*prepare())[0] == 0
    assert program(*prepare(folder="whole"))[0] == 0
    assert made(tmp_path / "made") == made(tmp_path / "whole")


@needs_datatrove
def test_a_killed_worker_ends_the_run_in_one_line_and_the_same_command_makes_the_same_bytes(
    tmp_path, raw, monkeypatch
):
    from arabic_llm.data.preparing import executors

    monkeypatch.chdir(tmp_path)
    for name in "bc":
        files.write_json_lines(
            raw / f"{name}.jsonl", [{"text": f"{story(n)} {n * n}"} for n in range(4000)]
        )
    work, inputs, hw = staged("hw.num_processes=2")
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(executors.clean, work, inputs, tmp_path / "work", hw)
        while (worker := reader_of(raw / "c.jsonl")) is None:
            assert not run.done()
            time.sleep(0.02)
        worker.kill()
        try:
            with pytest.raises(HardwareError, match=r"of 3 files were not done .*command carries on$"):
                run.result(timeout=60)
        finally:  # one that hangs is not waited for
            for leader in multiprocessing.active_children():
                leader.kill()
    executors.clean(work, inputs, tmp_path / "work", hw)
    staging.stage(work, inputs, tmp_path / "whole", 1)
    assert shards_in(tmp_path / "work") == shards_in(tmp_path / "whole")


def reader_of(path):
    """Return the process of ours that has a file open, or None."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(opened.path == str(path) for opened in process.open_files()):
                return process
    return None


def processes_in(folder):
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


# What a cluster would have on the PATH. sbatch keeps the script; the test runs it as the job array.
SLURM = {
    "sbatch": 'echo "$@" >> sbatch.calls; cp "${!#}" job.sh; touch queued; echo "Submitted batch job 4711"',
    "squeue": "test -e queued && echo '4711 cpu arabic-llm PENDING'",
    "srun": 'while [ "${1#-}" != "$1" ]; do if [ "$1" = -n ]; then shift; fi; shift; done; exec "$@"',
    "scontrol": "echo node1",
}


@needs_datatrove
def test_a_job_of_slurm_is_submitted_once_and_the_same_command_ends_it(program, tmp_path, raw, monkeypatch):
    for name, line in SLURM.items():
        files.write_text(tmp_path / "bin" / name, f"#!/bin/bash\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    slurm = ("hw.executor.kind=slurm", "hw.executor.partition=cpu", "hw.executor.num_tasks=2")
    more = ("+hw.executor.sbatch_args.account=nlp", "hw.executor.mem_per_cpu_gb=4", *TROVE)
    logs = tmp_path / "made" / ".work" / "datatrove"
    for _ in range(2):
        code, said = program(*prepare(*slurm, *more))
        assert (code, said.splitlines()[-1]) == (
            2,
            f"error: Slurm job 4711 has 3 parts to do (its logs: {logs}); type the same command again"
            " when it has ended (squeue --jobs=4711)",
        )
    assert len((tmp_path / "sbatch.calls").read_text().splitlines()) == 1
    asked = (tmp_path / "job.sh").read_text().splitlines()
    for option in ("partition=cpu", "array=0-1%2", "mem-per-cpu=4G", "account=nlp", "time=24:00:00"):
        assert f"#SBATCH --{option}" in asked
    for task in ("0", "1"):
        job = {"SLURM_ARRAY_TASK_ID": task, "RUN_OFFSET": "0", "SLURM_NODELIST": "node1"}
        subprocess.run(
            ["bash", "job.sh"], cwd=tmp_path, env=os.environ | job, check=True, capture_output=True
        )
    (tmp_path / "queued").unlink()
    code, said = program(*prepare(*slurm, *more))
    assert code == 0, said
    assert program(*prepare(folder="processes"))[0] == 0
    assert made(tmp_path / "made") == made(tmp_path / "processes")


@needs_datatrove
def test_slurm_and_ray_that_are_not_here_are_named(program, raw):
    code, said = program(*prepare(*TROVE, "hw.executor.kind=slurm", "hw.executor.partition=cpu"))
    assert (code, said.splitlines()[-1]) == (
        2,
        "error: hw.executor.kind=slurm needs sbatch, which is not on this machine",
    )
    if find_spec("ray") is None:
        code, said = program(*prepare(*TROVE, "hw.executor.kind=ray"))
        assert (code, said.splitlines()[-1]) == (
            2,
            "error: hw.executor.kind=ray needs ray: pip install 'datatrove[ray]'",
        )


def test_datatrove_that_is_not_installed_is_named_with_what_installs_it(program, raw, monkeypatch):
    monkeypatch.setitem(sys.modules, "datatrove", None)  # as Python marks what cannot be imported
    code, said = program(*prepare(*TROVE))
    assert (code, said.splitlines()[-1]) == (
        2,
        "error: data.engine=datatrove needs datatrove: pip install 'arabic-llm[scale]'",
    )
