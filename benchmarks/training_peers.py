"""A training step of whole programs: ours, LLaMA-Factory's, Soup's and axolotl's, by their own commands.

    ARABIC_LLM_DATA=../shared/data OMP_NUM_THREADS=1 python benchmarks/training_peers.py MODEL PEERS [steps]

MODEL is the folder of a real model (models/smollm2_135m, which `make real_model_short` fetches). PEERS
holds an environment for each peer, as they want different versions of the same libraries (how to make them:
benchmarks/README.md); one that is not there is named with the reason. Every program learns the same
questions with their answers, once, with LoRA of rank 16 on all linear layers in float32: 8 rows a step, 2
at once, the answers alone supervised.

Each trains twice, the second time on twice as many rows. What the second run takes more, divided by its
additional steps, is the time of a step; what is left of the first is the start, our measurements included.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from training import BATCH, DATA, LONGEST, SEED, questions

from arabic_llm import files

RANK, RATE, AT_ONCE = 16, 1e-4, 2
QUIET = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "AXOLOTL_DO_NOT_TRACK": "1", "DO_NOT_TRACK": "1"}
TAIL = 200  # characters of what a program said before it failed
Settings = dict[str, Any]


@dataclass(frozen=True)
class Peer:
    """A program, and what its own settings file says of a training on rows in a folder."""

    version: tuple[str, ...]  # its command
    command: tuple[str, ...]  # before the settings file
    settings: Callable[[Path, Path, Path], Settings]  # of (model, rows, output)


@dataclass(frozen=True)
class Run:
    """What a whole run took, and the mean of its steps' losses."""

    cpu_s: float
    peak_mib: float
    losses: list[float]


def llama_factory(model: Path, rows: Path, out: Path) -> Settings:
    keys = {"messages": "messages"}
    tags = {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "system_tag": "system",
    }
    of_rows = {"file_name": rows.name, "formatting": "sharegpt", "columns": keys, "tags": tags}
    (rows.parent / "dataset_info.json").write_text(json.dumps({rows.stem: of_rows}))
    return {
        "model_name_or_path": str(model),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": RANK,
        "lora_alpha": 2 * RANK,
        "lora_dropout": 0.0,
        "lora_target": "all",
        "dataset_dir": str(rows.parent),
        "dataset": rows.stem,
        "template": "chatml",
        "cutoff_len": 2 * LONGEST,
        "preprocessing_num_workers": 1,
        "output_dir": str(out),
        "per_device_train_batch_size": AT_ONCE,
        "gradient_accumulation_steps": BATCH // AT_ONCE,
        "learning_rate": RATE,
        "lr_scheduler_type": "cosine",
        "num_train_epochs": 1,
        "logging_steps": 1,
        "report_to": "none",
        "disable_gradient_checkpointing": True,
        "use_cpu": True,
        "seed": SEED,
    }


def soup(model: Path, rows: Path, out: Path) -> Settings:
    return {
        "base": str(model),
        "task": "sft",
        "output": str(out),
        "data": {"train": str(rows), "format": "chatml", "val_split": 0.0, "max_length": 2 * LONGEST},
        "training": {
            "epochs": 1,
            "lr": RATE,
            "batch_size": AT_ONCE,
            "gradient_accumulation_steps": BATCH // AT_ONCE,
            "quantization": "none",
            "lora": {"r": RANK, "alpha": 2 * RANK, "dropout": 0.0, "target_modules": "all-linear"},
            "optimizer": "adamw_torch",
            "logging_steps": 1,
            "gradient_checkpointing": False,
            "warmup_ratio": 0.0,
            "seed": SEED,
        },
    }


def axolotl(model: Path, rows: Path, out: Path) -> Settings:
    return {
        "base_model": str(model),
        "datasets": [
            {
                "path": str(rows),
                "ds_type": "json",
                "type": "chat_template",
                "field_messages": "messages",
                "message_property_mappings": {"role": "role", "content": "content"},
                "roles_to_train": ["assistant"],
            }
        ],
        "chat_template": "chatml",
        "dataset_prepared_path": str(out / "prepared"),
        "adapter": "lora",
        "lora_r": RANK,
        "lora_alpha": 2 * RANK,
        "lora_dropout": 0.0,
        "lora_target_linear": True,
        "sequence_len": 2 * LONGEST,
        "sample_packing": False,
        "pad_to_sequence_len": False,
        "micro_batch_size": AT_ONCE,
        "gradient_accumulation_steps": BATCH // AT_ONCE,
        "num_epochs": 1,
        "optimizer": "adamw_torch",
        "lr_scheduler": "cosine",
        "learning_rate": RATE,
        "bf16": False,
        "fp16": False,
        "tf32": False,
        "gradient_checkpointing": False,
        "attn_implementation": "sdpa",
        # Kernels for cards alone.
        "lora_mlp_kernel": False,
        "lora_qkv_kernel": False,
        "lora_o_kernel": False,
        "logging_steps": 1,
        "output_dir": str(out),
        "seed": SEED,
    }


PEERS = {
    "llamafactory": Peer(
        ("bin/llamafactory-cli", "version"), ("bin/llamafactory-cli", "train"), llama_factory
    ),
    "soup": Peer(("bin/soup", "--version"), ("bin/soup", "train", "--yes", "--config"), soup),
    "axolotl": Peer(("bin/axolotl", "--version"), ("bin/axolotl", "train"), axolotl),
}


def main() -> None:
    if not DATA.is_dir():
        sys.exit(f"no real data at {DATA}; set ARABIC_LLM_DATA")
    model, peers, steps = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute(), int((*sys.argv, 6)[3])
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(f"{platform.processor() or platform.machine()}, {threads} threads; {model.name}")
    print(f"{steps} and {2 * steps} steps of {BATCH} rows, {AT_ONCE} at once", flush=True)
    print("| program | CPU s a step | ours is faster by | start, CPU s | peak MiB | mean loss of a step |")
    print("|---|---:|---:|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        written = [write_rows(model, Path(folder), count * BATCH) for count in (steps, 2 * steps)]
        mine = [ours(model, file, Path(folder, f"ours-{file.stem}")) for file in written]
        show("arabic-llm", mine, steps, mine)
        for name, peer in PEERS.items():
            if not (peers / name / peer.command[0]).exists():
                print(f"| {name} | not installed in {peers / name} | | | | |", flush=True)
                continue
            try:
                runs = [
                    theirs(peer, peers / name, model, file, Path(folder, name, file.stem))
                    for file in written
                ]
            except RuntimeError as error:
                print(f"| {name} | failed here: {error} | | | | |", flush=True)
                continue
            show(f"{name} {version(peer, peers / name)}", runs, steps, mine)


def show(name: str, runs: list[Run], steps: int, mine: list[Run]) -> None:
    """Print a row of the table."""
    for run, wanted in zip(runs, (steps, 2 * steps), strict=True):
        if len(run.losses) != wanted:
            sys.exit(f"{name} took {len(run.losses)} steps instead of {wanted}")
    step, own = ((long.cpu_s - short.cpu_s) / steps for short, long in (runs, mine))
    loss = sum(runs[-1].losses) / len(runs[-1].losses)
    print(
        f"| {name} | {step:.2f} | {step / own:.2f} | {runs[0].cpu_s - steps * step:.0f}"
        f" | {runs[-1].peak_mib:,.0f} | {loss:.3f} |",
        flush=True,
    )


def write_rows(model: Path, folder: Path, count: int) -> Path:
    """Write so many questions with answers, each unlike the others and of at most LONGEST tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    kept: dict[str, str] = {}
    for number, (question, answer) in enumerate(questions()):
        if number % 7 == 0 and len(tokenizer.encode(question + answer)) <= LONGEST:
            kept.setdefault(question.strip(), answer.strip())
    rows = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in list(kept.items())[:count]
    ]
    path = folder / f"rows{count}" / f"rows{count}.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def ours(model: Path, rows: Path, out: Path) -> Run:
    settings = [
        "task=sft", "model=auto", f"model.path={model}", "model.chat_template=chatml", "adapter=lora",
        f"adapter.rank={RANK}", f"adapter.alpha={2 * RANK}", "adapter.dropout=0", "hw=cpu",
        "hw.precision=float32", f"hw.micro_batch_size={AT_ONCE}", f"task.effective_batch_size={BATCH}",
        "task.epochs=1", f"task.learning_rate={RATE}", "task.warmup_ratio=0", "data=local",
        f"data.path={rows}", "data.dev_share=0", "data.test_share=0", f"seed={SEED}", "tracking=none",
        f"hydra.run.dir={out}",
    ]  # fmt: skip
    program = [sys.executable, "-m", "arabic_llm.run", *settings]
    return measured(program, rows.parent, lambda: files.read_json_lines(out / "training" / "metrics.jsonl"))


def theirs(peer: Peer, home: Path, model: Path, rows: Path, out: Path) -> Run:
    out.mkdir(parents=True)
    file = out / "settings.yaml"
    file.write_text(yaml.safe_dump(peer.settings(model, rows, out), allow_unicode=True), encoding="utf-8")
    program = [str(home / peer.command[0]), *peer.command[1:], str(file)]
    return measured(program, rows.parent, lambda: states(out))


def states(out: Path) -> list[Settings]:
    """Return the log of the longest training state below a folder, as transformers' Trainer writes it."""
    logs = [json.loads(path.read_text())["log_history"] for path in out.rglob("trainer_state.json")]
    return max(logs, key=len, default=[])


def measured(program: list[str], folder: Path, log: Callable[[], list[Settings]]) -> Run:
    """Run a program to its end, and return what it and the processes it waited for took.

    Raises RuntimeError with its last word where it fails.
    """
    own = {"PATH": f"{Path(program[0]).parent}:{os.environ['PATH']}"}  # they start programs of theirs
    said = folder / f"said-{time.time_ns()}.log"
    with said.open("w") as output:
        child = subprocess.Popen(
            program,
            cwd=folder,
            env=os.environ | QUIET | own,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        _, status, usage = os.wait4(child.pid, 0)
    if status:
        lines = said.read_text(errors="replace").strip().splitlines()
        raise RuntimeError(next((line for line in reversed(lines) if "Error: " in line), lines[-1])[:TAIL])
    losses = [line["loss"] for line in log() if "loss" in line]
    return Run(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, losses)


def version(peer: Peer, home: Path) -> str:
    """Return what a program says is its version."""
    command = [str(home / peer.version[0]), *peer.version[1:]]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return found[0] if (found := re.search(r"\d+(\.\d+)+", said)) else "of unknown version"


if __name__ == "__main__":
    main()
