"""A training step against TRL's SFTTrainer: same rows, order, masks and losses; CPU time, tokens, memory.

    ARABIC_LLM_DATA=../shared/data OMP_NUM_THREADS=1 python benchmarks/training.py [layers [steps [rounds]]]

A random model of SmolLM2-135M's shape (30 layers unless told otherwise) with LoRA of rank 16 learns real
rows in Qwen2's tokens, taken modulo its vocabulary: 8 rows a step, which TRL takes at once and ours by
length, 512 tokens at once (hw.tokens_per_micro_batch). Each side runs in processes of its own, in turn. The
losses of every step must agree to 1e-5, or the benchmark fails.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DATA = Path(os.environ.get("ARABIC_LLM_DATA", Path(__file__).parents[2] / "shared" / "data"))
SEED, BATCH, VOCABULARY = 17, 8, 49152
TOKENS_AT_ONCE = 512  # of ours
LONGEST, EQUAL = 256, 128  # tokens of a row
SHAPE = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3}
CLAIMED = {"skewed": 1.8, "equal": 1.3}
TOLERANCE = 1e-5
WATCHED = 2  # first steps of ours, whose memory is measured
Tokens = tuple[list[int], list[int]]  # of a prompt, of its answer


def main() -> None:
    if not DATA.is_dir():
        sys.exit(f"no real data at {DATA}; set ARABIC_LLM_DATA")
    layers, steps, rounds = (
        int(value) for value in (*sys.argv[1:], *("30", "8", "3")[len(sys.argv) - 1 :])
    )
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()},"
        f" {threads} threads"
    )
    print(f"{layers} layers, {steps} steps of {BATCH} rows; {rounds} rounds")
    print("| rows | tokens a row | supervised | TRL CPU s a step | ours | ratio | claimed | tokens a CPU s"
          " | peak MiB |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    slow = [name for name, rows in sets() if not report(name, rows[: BATCH * steps], layers, rounds)]
    if slow:
        sys.exit(f"slower than claimed: {', '.join(slow)}")


def report(name: str, rows: list[Tokens], layers: int, rounds: int) -> bool:
    """Print a row of the table; return whether the claim holds."""
    found: dict[str, list[dict[str, Any]]] = {"trl": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "rows.json").write_text(json.dumps({"layers": layers, "rows": rows}))
        for _ in range(rounds):
            for side, runs in found.items():
                subprocess.run([sys.executable, __file__, side, folder], check=True)
                runs.append(json.loads(Path(folder, f"{side}.json").read_text()))
    losses = {side: runs[0]["losses"] for side, runs in found.items()}
    worst = max(abs(a - b) for a, b in zip(losses["trl"], losses["ours"], strict=True))
    if worst > TOLERANCE:
        sys.exit(f"{name}: not the same losses: they differ by up to {worst:.1e}")
    seconds = {side: min(_step(run) for run in runs) for side, runs in found.items()}
    lengths = [len(prompt) + len(answer) for prompt, answer in rows]
    answers = sum(len(answer) for _, answer in rows)
    mean, share = statistics.mean(lengths), answers / sum(lengths)
    ratio, tokens = seconds["trl"] / seconds["ours"], mean * BATCH
    rates = " and ".join(f"{tokens / seconds[side]:,.0f}" for side in found)
    peaks = " and ".join(f"{min(run['peak_mib'] for run in runs):,.0f}" for runs in found.values())
    print(
        f"| {name} | {mean:.0f} (up to {max(lengths)}) | {share:.1%} | {seconds['trl']:.2f}"
        f" | {seconds['ours']:.2f} | {ratio:.2f} | {CLAIMED[name]} | {rates} | {peaks} |"
    )
    once = [sum(run["seconds"][:WATCHED]) - WATCHED * _step(run) for run in found["ours"]]
    print(
        f"losses differ by up to {worst:.1e}; the memory of two steps, measured and predicted, took"
        f" {min(once):.1f} CPU s more, once a run",
        flush=True,
    )
    return ratio >= CLAIMED[name]


def _step(run: dict[str, Any]) -> float:
    return statistics.median(run["seconds"][WATCHED:])


def sets() -> Iterator[tuple[str, list[Tokens]]]:
    """Yield (name, rows): of every length; and the same cut to one length."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(DATA / "tokenizers" / "qwen2")
    pairs = list(questions())
    random.Random(SEED).shuffle(pairs)  # noqa: S311
    rows = [tuple(_ids(tokenizer, text) for text in pair) for pair in pairs[:2000]]
    yield "skewed", [row for row in rows if len(row[0]) + len(row[1]) <= LONGEST]
    cut = [(prompt[-EQUAL * 4 // 5 :], answer[: EQUAL // 5]) for prompt, answer in rows]
    yield "equal", [row for row in cut if len(row[0]) + len(row[1]) == EQUAL]


def _ids(tokenizer: Any, text: str) -> list[int]:
    return [token % VOCABULARY for token in tokenizer.encode(text)]


def questions() -> Iterator[tuple[str, str]]:
    """Yield (prompt, answer): ARCD's paragraphs with questions, BELLE's tasks and GSM8K."""
    for article in json.loads((DATA / "arcd" / "arcd-train.json").read_text(encoding="utf-8"))["data"]:
        for part in article["paragraphs"]:
            for asked in part["qas"]:
                yield f"{part['context']}\n{asked['question']}\n", asked["answers"][0]["text"]
    for line in (DATA / "belle" / "dev1K.json").read_text(encoding="utf-8").splitlines():
        task = json.loads(line)
        yield f"{task['instruction']}\n{task['input']}\n", task["output"]
    for line in (DATA / "gsm8k" / "train.jsonl").read_text(encoding="utf-8").splitlines()[:1000]:
        task = json.loads(line)
        yield task["question"] + "\n", task["answer"]


class Clock:
    """CPU seconds of each step, by whom a trainer tells of it."""

    def __init__(self) -> None:
        from transformers import TrainerCallback

        self.seconds: list[float] = []
        clock = self

        class Callback(TrainerCallback):
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                clock.began = time.process_time()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                clock.seconds.append(time.process_time() - clock.began)

        self.callback = Callback()


def child(side: str, folder: Path) -> None:
    """Train on one side and write down losses, seconds and the peak of its memory."""
    logging.disable(logging.WARNING)
    given = json.loads((folder / "rows.json").read_text())
    clock = Clock()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    losses = {"trl": trl, "ours": ours}[side](given["rows"], model(given["layers"]), clock, folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {
        "losses": losses,
        "seconds": clock.seconds,
        "peak_mib": peak / 1024,
        "before_mib": before / 1024,
    }
    (folder / f"{side}.json").write_text(json.dumps(found))


def model(layers: int) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(SEED)
    config = LlamaConfig(
        **SHAPE, num_hidden_layers=layers, vocab_size=VOCABULARY, tie_word_embeddings=True, pad_token_id=0
    )
    made = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return get_peft_model(made, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))


def trl(rows: list[Tokens], trained: Any, clock: Clock, folder: Path) -> list[float]:
    """Train with SFTTrainer, the rows in the order of our schedule, as the sources of it draw them."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from transformers.trainer_callback import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    from arabic_llm.config import paths

    drawn = [rows[number] for number in order(len(rows))]
    trainer = SFTTrainer(
        trained,
        args=SFTConfig(
            output_dir=str(folder / "trl"),
            max_steps=len(rows) // BATCH,
            per_device_train_batch_size=BATCH,
            learning_rate=2e-4,
            lr_scheduler_type="cosine",
            weight_decay=0.0,
            max_grad_norm=1.0,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            train_sampling_strategy="sequential",
            dataset_kwargs={"skip_prepare_dataset": True},
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=SEED,
        ),
        train_dataset=Dataset.from_list(
            [{"input_ids": p + a, "labels": [-100] * len(p) + a} for p, a in drawn]
        ),
        processing_class=AutoTokenizer.from_pretrained(paths.PACKAGE / "models" / "tiny"),
        callbacks=[clock.callback],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def order(count: int) -> list[int]:
    """Return the order in which a run draws so many rows, before a step has the longest first."""
    import numpy as np

    from arabic_llm.data.preparing.mixing import Mix, MixedBucketSampler

    lengths = np.ones(count, dtype=np.int64)
    drawn = MixedBucketSampler([""] * count, lengths, Mix(), BATCH, count // BATCH, SEED).order()
    return [int(number) for number in drawn]


def ours(rows: list[Tokens], trained: Any, clock: Clock, folder: Path) -> list[float]:
    """Train as task=sft does, with the memory of its first steps measured."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from transformers import AutoTokenizer

    from arabic_llm import files
    from arabic_llm.config import compose, paths
    from arabic_llm.data.preparing.mixing import Mix
    from arabic_llm.data.tokens.chat import TokenRow
    from arabic_llm.models import placement
    from arabic_llm.profiling.training_memory import watch
    from arabic_llm.tracking import NoTracker
    from arabic_llm.training import sft

    settings = [
        "hw=cpu", f"hw.tokens_per_micro_batch={TOKENS_AT_ONCE}", f"task.effective_batch_size={BATCH}",
        f"seed={SEED}",
        f"task.max_steps={len(rows) // BATCH}", "task.learning_rate=2e-4", "task.warmup_ratio=0",
        "task.weight_decay=0", "task.max_grad_norm=1.0", "task.save_steps=100000", "task.optimizer=adamw",
    ]  # fmt: skip
    compose.register()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        config = compose.to_config(hydra_compose("config", ["output_dir=out", *settings]))
    observer = watch(folder / "ours")
    inner = observer.callbacks
    observer.callbacks = lambda: (*inner(), clock.callback)
    material = [
        TokenRow(str(number), p + a, [-100] * len(p) + a, "chat") for number, (p, a) in enumerate(rows)
    ]
    sft.train(
        trained,
        AutoTokenizer.from_pretrained(paths.PACKAGE / "models" / "tiny"),
        sft.TrainingData(material, [], "rows", Mix()),
        config.task,
        placement.resolve(config.hw),
        sft.Run(folder / "ours", SEED, NoTracker(), observer),
    )
    lines = files.read_json_lines(folder / "ours" / "metrics.jsonl")
    return [line["loss"] for line in lines if "loss" in line]


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in ("trl", "ours"):  # noqa: PLR2004
        child(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
