"""Several processes of one run give the scores and bytes of one, write once, and end together."""

import json
import os
import shutil
import socket
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
from conftest import run_in

from arabic_llm import processes

JUDGE = ("task=evaluate", "suite.limit=12", "hw=cpu", "tracking=none", "hydra.run.dir=mine")
ROOT = Path(__file__).parents[1]


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **more}


def batches(folder):
    (path,) = (folder / "outputs" / "cache" / "answers").iterdir()
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_two_processes_carry_on_what_one_began_and_give_its_bytes(tmp_path):
    status, said = run_in(tmp_path, *JUDGE)
    assert status == 0, said
    alone, outputs = tmp_path / "alone", tmp_path / "outputs" / "cache"
    (tmp_path / "mine").rename(alone)
    shutil.rmtree(outputs / "evaluations")
    answers = batches(tmp_path)
    kept = [dict(list(batch.items())[::3]) for batch in answers]  # of each kind some, as a kill leaves them
    (path,) = (outputs / "answers").iterdir()
    path.write_text("".join(json.dumps(batch) + "\n" for batch in kept), encoding="utf-8")
    # Without cards, accelerate starts several processes only with --multi_gpu; they talk over gloo.
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    command += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"]
    done = subprocess.run(
        [*command, "-m", "arabic_llm.run", *JUDGE],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment(),
    )
    assert done.stdout.count("base model: judged on 48 items") == 1
    assert done.stdout.count("sample_choice") == 1
    for name in ("items.jsonl", "scores.md", "scores.csv"):
        written = (tmp_path / "mine" / "evaluation" / name).read_bytes()
        assert written == (alone / "evaluation" / name).read_bytes()
    assert (tmp_path / "mine" / "result.json").read_bytes() == (alone / "result.json").read_bytes()
    together = batches(tmp_path)
    merged = {key: answer for batch in together for key, answer in batch.items()}
    assert merged == {key: answer for batch in answers for key, answer in batch.items()}  # to the last bit
    assert sum(map(len, together[len(kept) :])) < len(merged)  # and what was there was not asked again


def test_an_error_in_one_process_is_said_once_and_ends_all(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank, own in enumerate(([], ["adapter.path=nowhere"])):  # only the second one's fails
        variables = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "arabic_llm.run", *JUDGE, *own],
                stdout=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
                env=environment(**variables),
            )
        )
    said = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [2, 2]
    (line,) = (line for line in "".join(said).splitlines() if "error" in line)
    assert line.startswith("error: nowhere holds no trained adapter or model")


def test_a_task_that_does_not_share_its_work_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for given in (("task=sft",), ("-m", "seed=1,2", "task=evaluate")):
        status, said = run_in(tmp_path, *given)
        assert status == 2
        assert "runs in one process; start it without accelerate launch or torchrun" in said


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_parts_of_the_processes_are_the_whole_and_about_as_large(monkeypatch, count):
    sizes = [5, 1, 40, 3, 3, 3, 20, 8, 1, 1, 1, 30]
    monkeypatch.setenv("WORLD_SIZE", str(count))
    parts = []
    for rank in range(count):
        monkeypatch.setenv("RANK", str(rank))
        parts.append(processes.share(range(len(sizes)), sizes))
        assert sum(sizes[i] for i in parts[-1]) <= sum(sizes) / count + max(sizes)
        assert processes.share([], []) == []
    assert list(chain.from_iterable(parts)) == list(range(len(sizes)))
