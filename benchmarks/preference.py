"""Pairs against TRL: a rank sweep of DPO, whose reference is asked once; and ORPO's memory against SFT's.

    OMP_NUM_THREADS=1 python benchmarks/preference.py [pairs [steps]]

Three jobs of ranks 4, 8 and 16 learn from the same built-in pairs on the built-in model, by TRL's
DPOTrainer with precompute_ref_log_probs and by ours, each side in a process of its own; imports are not
counted. Then ORPO and SFT train on the same answers, as many sequences in a pass, and the tracked peaks of
a step are compared.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SEED, BATCH, AT_ONCE, RANKS = 17, 8, 4, (4, 8, 16)
MOST_MEMORY = 1.3  # of SFT's
COMMON = (
    "hw=cpu", f"task.effective_batch_size={BATCH}", "task.warmup_ratio=0", "task.save_steps=100000",
    "task.learning_rate=1e-3", "task.max_length=512", "task.eval_steps=100000",
    "task.held_out.num_bytes=0",
)  # fmt: skip


def main() -> None:
    pairs, steps = (int(value) for value in (*sys.argv[1:], *("240", "30")[len(sys.argv) - 1 :]))
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    found: dict[str, dict[str, Any]] = {}
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        for side in ("trl", "ours", "memory"):
            subprocess.run(
                [sys.executable, __file__, side, folder, str(pairs), str(steps)], check=True, env=quiet
            )
            found[side] = json.loads(Path(folder, f"{side}.json").read_text())
    trl, ours, memory = found["trl"], found["ours"], found["memory"]
    print("| | reference passes | wall s of 3 jobs | CPU s |")
    print("|---|---|---|---|")
    for name, side in (("TRL", trl), ("ours", ours)):
        print(f"| {name} | {side['passes']} | {side['wall']:.1f} | {side['cpu']:.1f} |")
    print(f"wall-time ratio {trl['wall'] / ours['wall']:.2f}, CPU {trl['cpu'] / ours['cpu']:.2f}")
    share = memory["orpo"] / memory["sft"]
    print(
        f"tracked peak of a step: ORPO {memory['orpo']:.1f} MiB, SFT {memory['sft']:.1f}: {share:.2f} times"
    )
    if (ours["passes"], trl["passes"]) != (1, 3) or ours["wall"] >= trl["wall"]:
        sys.exit("the reference is not asked once, or the sweep is no faster for it")
    if share > MOST_MEMORY:
        sys.exit(f"ORPO takes over {MOST_MEMORY} times the memory of SFT")


def material(*overrides: str) -> Any:
    """Return (configuration, its base, codec, rows, token rows)."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from arabic_llm.config import compose, paths
    from arabic_llm.config.task import Form
    from arabic_llm.data.preparing import sources
    from arabic_llm.data.tokens import chat_template, token_rows
    from arabic_llm.models import bases, tokenization

    compose.register()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        composed = hydra_compose(
            "config", ["output_dir=out", "data=sample_pairs", *COMMON, f"seed={SEED}", *overrides]
        )
    config = compose.to_config(composed)
    base = bases.locate(config.model, None)
    codec = chat_template.prepare(tokenization.load(base), config.model)
    rows = sources.load(config.data, Path(), SEED).train[: int(sys.argv[3])]
    encoded = token_rows.encode(codec, rows, config.data, 512, None, form=Form.pairs)
    return config, base, codec, rows, encoded


def ours(folder: Path, steps: int) -> dict[str, Any]:
    from arabic_llm.training import reference_log_probs

    passes = 0
    ready = [material("task=dpo", f"adapter.rank={rank}", f"task.max_steps={steps}") for rank in RANKS]
    began = time.perf_counter(), time.process_time()
    for number, (config, base, codec, _, encoded) in enumerate(ready):
        kept = reference_log_probs.path(folder, {"base": "tiny"}, encoded.rows)
        passes += not kept.exists()
        trained(config, base, codec, encoded.rows, (folder / str(number), kept))
    return {"passes": passes, **since(began)}


def trained(config: Any, base: Any, codec: Any, rows: Any, places: tuple[Path, Path | None]) -> Any:
    """Train, and return the outcome."""
    from arabic_llm.data.preparing.mixing import Mix
    from arabic_llm.models import adapter, load, placement
    from arabic_llm.profiling import training_memory
    from arabic_llm.tracking import NoTracker
    from arabic_llm.training import sft
    from arabic_llm.training.observer import Nobody

    directory, kept = places
    place = placement.resolve(config.hw)
    model = load.base_model(config.model, base, config.adapter, place)
    model = adapter.attach(model, config.adapter, base, SEED)
    observer = Nobody() if kept else training_memory.watch(directory)
    given = sft.Material(rows, [], "rows", Mix(), reference=kept)
    run = sft.Run(directory, SEED, NoTracker(), observer)
    return sft.train(model, codec.tokenizer, given, config.task, place, run)[1]


def memory(folder: Path, _steps: int) -> dict[str, Any]:
    from arabic_llm.data.tokens.chat import TokenRow

    asked = ("task=orpo", f"hw.micro_batch_size={AT_ONCE // 2}", "task.max_steps=2")
    orpo_config, base, codec, _, encoded = material(*asked)
    both = [
        TokenRow(f"{row.id}/{n}", ids, labels, "chat")
        for row in encoded.rows
        for n, (ids, labels) in enumerate(row.sides())
    ]
    sft_config = material("task=sft", f"hw.micro_batch_size={AT_ONCE}", "task.max_steps=2")[0]
    found = {
        "orpo": trained(orpo_config, base, codec, encoded.rows, (folder / "orpo", None)),
        "sft": trained(sft_config, base, codec, both, (folder / "sft", None)),
    }
    return {name: outcome.measured_mib for name, outcome in found.items()}


def trl(folder: Path, steps: int) -> dict[str, Any]:
    """Do the sweep with DPOTrainer; it asks the model where it finds no file of that model's hash."""
    from datasets import Dataset
    from transformers.trainer_callback import PrinterCallback
    from trl import DPOConfig, DPOTrainer

    from arabic_llm.models import adapter, load, placement

    ready = [material("task=dpo", f"adapter.rank={rank}") for rank in RANKS]
    talks = [
        {
            "prompt": [{"role": m.role, "content": m.content} for m in row.messages[:-1]],
            "chosen": [{"role": "assistant", "content": row.messages[-1].content}],
            "rejected": [{"role": "assistant", "content": row.rejected}],
        }
        for row in ready[0][3]
    ]
    Dataset.from_list(talks).save_to_disk(str(folder / "rows"))
    asked: list[int] = []

    class Counted(DPOTrainer):
        def compute_ref_log_probs(self, model: Any, inputs: Any) -> Any:
            asked.append(len(inputs["input_ids"]) // 2)
            return super().compute_ref_log_probs(model, inputs)

    began = time.perf_counter(), time.process_time()
    for config, base, codec, _, _ in ready:
        place = placement.resolve(config.hw)
        model = load.base_model(config.model, base, config.adapter, place)
        trainer = Counted(
            adapter.attach(model, config.adapter, base, SEED),
            args=DPOConfig(
                output_dir=str(folder / "trl"),
                max_steps=steps,
                per_device_train_batch_size=place.micro_batch_size,
                gradient_accumulation_steps=BATCH // min(BATCH, place.micro_batch_size),
                learning_rate=1e-3,
                beta=config.task.beta,
                max_length=512,
                bf16=False,
                gradient_checkpointing=False,
                use_cpu=True,
                precompute_ref_log_probs=True,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                seed=SEED,
            ),
            train_dataset=Dataset.load_from_disk(str(folder / "rows")),
            processing_class=codec.tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return {"passes": round(sum(asked) / len(talks)), **since(began)}


def since(began: tuple[float, float]) -> dict[str, float]:
    return {"wall": time.perf_counter() - began[0], "cpu": time.process_time() - began[1]}


if __name__ == "__main__":
    if len(sys.argv) > 3:  # noqa: PLR2004 (a child)
        logging.disable(logging.WARNING)
        side, given, _, number = sys.argv[1:]
        folder = Path(given)
        found = {"trl": trl, "ours": ours, "memory": memory}[side](folder, int(number))
        Path(folder, f"{side}.json").write_text(json.dumps(found))
    else:
        main()
