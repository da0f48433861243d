"""Several processes of one run give the scores and bytes of one, write once, and end together."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from itertools import chain
from pathlib import Path

import pytest
import torch
from conftest import FEW_ROWS, compose_config, run_in
from safetensors.torch import load_file
from transformers import Qwen2Config, Qwen2ForCausalLM, TrainerState
from trl import SFTConfig

from arabic_llm import processes
from arabic_llm.errors import ConfigError
from arabic_llm.evaluation.answers import Answers
from arabic_llm.models import placement
from arabic_llm.profiling import training_memory
from arabic_llm.training import checkpoint

TRAIN = (
    *("hw=cpu", "hw.micro_batch_size=2", "task.max_steps=4", "task.effective_batch_size=8"),
    *(
        "task.eval_steps=4",
        "task.save_steps=2",
        "task.warmup_ratio=0",
        "tracking=none",
    ),
    "task.held_out.num_bytes=600",
    "hydra.run.dir=mine",
)
JUDGE = ("task=evaluate", "suite.limit=12", "hw=cpu", "tracking=none", "hydra.run.dir=mine")
ROOT = Path(__file__).parents[1]


def batches(folder):
    (path,) = (folder / "outputs" / "cache" / "answers").iterdir()
    return [json.loads(line)["answers"] for line in path.read_text(encoding="utf-8").split("\n") if line]


def in_two_processes(folder, *overrides):
    # Without cards, accelerate starts several processes only with --multi_gpu; they talk over gloo.
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    command += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"]
    return subprocess.run(
        [*command, "-m", "arabic_llm.run", *overrides],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
    )


def test_two_processes_carry_on_what_one_began_and_give_its_bytes(tmp_path, nursery):
    status, said = run_in(tmp_path, *JUDGE)
    assert status == 0, said
    alone, outputs = tmp_path / "alone", tmp_path / "outputs" / "cache"
    (tmp_path / "mine").rename(alone)
    shutil.rmtree(outputs / "evaluations")
    answers = batches(tmp_path)
    kept = [dict(list(batch.items())[::3]) for batch in answers]  # of each kind some, as a kill leaves them
    (path,) = (outputs / "answers").iterdir()
    path.unlink()
    for batch in kept:
        begun = Answers(path)
        begun.add(batch)
        begun.flush()
    assert nursery.together(tmp_path, JUDGE, JUDGE) == [0, 0]
    said = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert said.count("base model: evaluated on 48 items") == 1
    assert said.count("sample_choice") == 1
    for name in ("items.jsonl", "scores.md", "scores.csv"):
        written = (tmp_path / "mine" / "evaluation" / name).read_bytes()
        assert written == (alone / "evaluation" / name).read_bytes()
    assert (tmp_path / "mine" / "result.json").read_bytes() == (alone / "result.json").read_bytes()
    together = batches(tmp_path)
    merged = {key: answer for batch in together for key, answer in batch.items()}
    assert merged == {key: answer for batch in answers for key, answer in batch.items()}  # to the last bit
    assert sum(map(len, together[len(kept) :])) < len(merged)  # and what was there was not asked again


@pytest.fixture(scope="module")
def trained_alone(tmp_path_factory):
    """Return the losses of a run in one process."""
    folder = tmp_path_factory.mktemp("alone")
    status, said = run_in(folder, *TRAIN)
    assert status == 0, said
    return losses(folder)


def losses(folder):
    lines = (folder / "mine" / "training" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return [(line["step"], line[key]) for line in found for key in ("loss", "dev_loss") if key in line]


def assert_memory_was_predicted(folder, *, is_shared=False):
    memory = json.loads((folder / "mine" / "training" / "memory.json").read_text(encoding="utf-8"))
    assert (memory["num_processes"], memory["step"], memory["has_moments"]) == (2, 2, True)
    head = 4 * 4096 * 192 if is_shared else 0  # a rehearsal gathers it twice, a run once
    assert 0.99 * memory["measured"] <= memory["predicted"] <= 1.01 * memory["measured"] + head


def forget_the_end(folder, step=4):
    """Leave what a run leaves that is killed before the checkpoint of its last step."""
    for name in (f"training/checkpoint-{step}", "adapter"):
        shutil.rmtree(folder / "mine" / name)
    (folder / "mine" / "result.json").unlink()


def test_two_processes_train_as_one_and_one_carries_on(tmp_path, trained_alone):
    done = in_two_processes(tmp_path, *TRAIN, "hw.num_cards=2")
    assert (
        done.stdout.count("4 steps of 8 sequences (2 micro-batches of 2 in each of 2 processes)") == 1
    )  # in each process
    assert done.stdout.count("trained 4 steps") == 1
    assert done.stdout.count(" tokens in the fullest of 2 processes: ") == 1
    assert_memory_was_predicted(tmp_path)
    together = losses(tmp_path)
    assert [step for step, _ in together] == [step for step, _ in trained_alone]
    assert together == [(step, pytest.approx(loss, rel=1e-5)) for step, loss in trained_alone]
    forget_the_end(tmp_path)
    status, said = run_in(tmp_path, *TRAIN)
    assert status == 0, said
    assert "from step 2" in said
    assert losses(tmp_path) == [(step, pytest.approx(loss, rel=1e-5)) for step, loss in together]


@pytest.mark.parametrize("task", ["kto", "dpo"])
def test_two_processes_compare_answers_with_those_of_the_whole_step_also_of_shared_weights(
    task, tmp_path, nursery
):
    answers = (
        "القاهرة",
        "باريس",
        "طوكيو",
        "عمان",
        "بيروت",
        "مسقط, وهي على البحر",
        "تونس",
        "الرباط",
        "بغداد",
    )
    rows = [
        {"prompt": f"ما عاصمة {n}؟"}
        | ({"completion": one, "thumbs": n % 4 > 0} if task == "kto" else {"chosen": one, "rejected": "لا"})
        for n, one in enumerate(answers)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rated.jsonl").write_text(text, encoding="utf-8")
    given = (*TRAIN, f"task={task}", "data=local", f"data.path={tmp_path / 'rated.jsonl'}", "task.beta=0.5")
    given = (*given, "task.learning_rate=1e-3", "task.held_out.num_bytes=0", "hw.tokens_per_micro_batch=70")
    given = (*given, "adapter=qlora", "adapter.dropout=0", "hw.gradient_checkpointing=true")
    figures = []
    for count, is_shared in ((1, False), (2, True)):
        folder = tmp_path / str(count)
        folder.mkdir()
        assert (
            nursery.together(folder, *[(*given, "data.test_share=0", f"hw.fsdp={is_shared}")] * count)
            == [0] * count
        )
        found = (folder / "mine" / "training" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        lines = [json.loads(line) for line in found]
        figures.append(
            [(line["loss"], line["kl"], line["tokens_chosen"]) for line in lines if "loss" in line]
        )
    assert figures[1] == [pytest.approx(step, rel=1e-4, abs=1e-5) for step in figures[0]]
    assert abs(figures[0][-1][1]) > 0.05  # it has left the reference


def test_weights_shared_out_give_the_losses_of_whole_ones_and_carry_on(tmp_path, trained_alone, nursery):
    shared_out = (*TRAIN, "hw.fsdp=true")
    assert nursery.together(tmp_path, shared_out, shared_out) == [0, 0]
    (adapter,) = (tmp_path / "mine" / "adapter").glob("*.safetensors")
    before, bytes_before = losses(tmp_path), adapter.read_bytes()
    assert before == [(step, pytest.approx(loss, rel=1e-5)) for step, loss in trained_alone]
    assert (tmp_path / "mine" / "training" / "checkpoint-2" / "pytorch_model_fsdp.bin").exists()
    assert_memory_was_predicted(tmp_path, is_shared=True)
    forget_the_end(tmp_path)
    status, said = run_in(tmp_path, *TRAIN)
    assert status == 2
    assert "checkpoint-2 was written with FSDP and only carries on so: set hw.fsdp=true" in said
    assert nursery.together(tmp_path, shared_out, shared_out) == [0, 0]
    assert losses(tmp_path) == before
    assert adapter.read_bytes() == bytes_before


def test_4_bit_weights_shared_out_learn_as_whole_ones_and_any_number_of_processes_carries_on(
    tmp_path, nursery
):
    alone, shared = (tmp_path / name for name in ("alone", "shared"))
    given = (*TRAIN, *FEW_ROWS, "adapter=qlora", "adapter.dropout=0", "hw.gradient_checkpointing=true")
    given = (*given, "task.held_out.num_bytes=0", "task.learning_rate=1e-3", "task.max_steps=2")
    given = (*given, "task.save_steps=1", "task.eval_steps=2")
    shared_out = (*given, "hw.fsdp=true")
    for folder in (alone, shared):
        folder.mkdir()
    nursery.finish(alone, given)
    assert nursery.together(shared, shared_out, shared_out) == [0, 0]
    expected = [(step, pytest.approx(loss, rel=1e-6)) for step, loss in losses(alone)]
    assert losses(shared) == expected
    adapters = [load_file(next((f / "mine" / "adapter").glob("*.safetensors"))) for f in (alone, shared)]
    assert adapters[0].keys() == adapters[1].keys()
    assert all(torch.allclose(adapters[0][n], adapters[1][n], rtol=1e-3, atol=1e-6) for n in adapters[0])
    memory = json.loads((shared / "mine" / "training" / "memory.json").read_text(encoding="utf-8"))
    assert memory["predicted"] == pytest.approx(memory["measured"], rel=0.01)
    forget_the_end(shared, step=2)
    forget_the_end(alone, step=2)
    nursery.finish(shared, given)  # one carries on what two began, and two what one did
    assert nursery.together(alone, shared_out, shared_out) == [0, 0]
    for folder in (shared, alone):
        assert losses(folder) == expected
        assert "from step 1" in (folder / "log.txt").read_text(encoding="utf-8")


def test_a_step_that_processes_cannot_share_evenly_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="effective_batch_size=8 cannot be shared evenly by 3 processes"):
        placement.micro_batch(placement.resolve(compose_config("hw=cpu").hw), 8)


def test_an_error_in_one_process_is_said_once_and_ends_all(tmp_path, nursery):
    fails = (*JUDGE, "adapter.path=nowhere")  # only the second one's
    assert nursery.together(tmp_path, JUDGE, fails) == [2, 2]
    (line,) = (line for line in (tmp_path / "log.txt").read_text().splitlines() if "error" in line)
    assert line.startswith("error: nowhere holds no trained adapter or model")


# In the process that is named, the first pass of the second step asks for too much.
OUT_OF_MEMORY = """
import os, torch
from torch.nn.modules.module import register_module_forward_hook
passes = []
def ask(module, *_):
    if type(module).__name__ == "PeftModelForCausalLM" and module.training:
        passes.append(1)
        if len(passes) == 2 and os.environ["RANK"] == "1":
            torch.empty(2**47)
register_module_forward_hook(ask)
"""


def test_memory_that_runs_out_in_one_process_is_said_once_and_ends_all_with_a_checkpoint(tmp_path, nursery):
    given = [
        "hw=cpu",
        "hw.micro_batch_size=4",
        "task.max_steps=2",
        "task.save_steps=1",
        "task.eval_steps=9",
    ]
    given += ["task.effective_batch_size=8", "task.held_out.num_bytes=0", *FEW_ROWS]
    given += ["tracking=none", "hydra.run.dir=mine"]
    assert nursery.together(tmp_path, given, given, first=OUT_OF_MEMORY) == [2, 2]
    said = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in said if "error" in line)
    assert "error: step 2: out of memory: 536,870,912 MiB was asked for, " in line  # behind a bar
    assert (
        "With hw.micro_batch_size=2 or hw.gradient_checkpointing=true the same command carries on" in line
    )
    assert " carries on from step 1. " in line
    assert checkpoint.newest_whole(tmp_path / "mine" / "training").name == "checkpoint-1"


def test_a_task_that_does_not_share_its_work_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for given in (("task=pretrain",), ("-m", "seed=1,2", "task=evaluate")):
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


def in_two_forks(work, seconds=60):
    """Do some work in two forks of this process, as torchrun starts a run's: their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    pids = []
    for rank in ("0", "1"):
        if not (pid := os.fork()):
            status = 1
            try:
                os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
                with processes.together():
                    work()
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    late = threading.Timer(seconds, lambda: [os.kill(pid, signal.SIGKILL) for pid in pids])
    late.start()
    states = [os.waitpid(pid, 0)[1] for pid in pids]
    late.cancel()
    return list(map(os.waitstatus_to_exitcode, states))


SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 32}


@pytest.mark.parametrize("breaks_at", ["the beginning", "the end"])
def test_no_process_waits_for_one_whose_measure_failed(tmp_path, breaks_at):
    model = Qwen2ForCausalLM(Qwen2Config(**SMALL, num_attention_heads=2, num_key_value_heads=2)).train()
    optimizer = torch.optim.AdamW(model.parameters())
    args, state = SFTConfig(str(tmp_path), report_to="none", use_cpu=True), TrainerState(global_step=1)
    ids = torch.ones(2, 4, dtype=torch.long)

    def work():
        is_broken = processes.rank() == 1
        observer = training_memory.watch(tmp_path)
        at_first = object() if is_broken and breaks_at == "the beginning" else model  # it takes no hook
        observer.on_step_begin(args, state, None, model=at_first, optimizer=optimizer)
        model(input_ids=ids, attention_mask=torch.ones(2, 4), labels=ids).loss.backward()
        if is_broken and breaks_at == "the end":
            observer.batches.insert(0, None)  # which has no width
        observer.on_step_end(args, state, None)
        assert (observer.found is None) == is_broken
        assert processes.gather(processes.rank()) == [0, 1]  # both have come to the same place

    assert in_two_forks(work) == [0, 0]
