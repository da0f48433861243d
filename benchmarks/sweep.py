"""A sweep against the same trainings as `hydra -m` of a plain TRL script: wall time of the whole command.

    OMP_NUM_THREADS=1 python benchmarks/sweep.py [steps [ranks [jobs at a time]]]

Both train LoRA on the built-in model over the grid of experiment=lora_grid: the same tokens of the same
rows, steps of 8, loss on dev at the start and at the end, weights saved. TRL's side runs its jobs as
Hydra's own launcher does, one after another in one process that has imported once; ours in forks, so many
at a time, and a third time with successive halving.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RANKS, ALPHAS, DROPOUTS, STEPS, JOBS = "4,8,16,32,64,128", "16,32,64", "0.05,0.1", "100", "2"
MODULES = "[q_proj,o_proj,gate_proj,up_proj,down_proj]"
CLAIMED = {"ours": 1.3, "halving": 4.0}
RATE = 1e-3


def main() -> None:
    steps, ranks, jobs = (*sys.argv[1:], *(STEPS, RANKS, JOBS)[len(sys.argv) - 1 :])
    ours = ["-m", "arabic_llm.run", "-m", "task=sft", "hw=cpu", "tracking=none", f"adapter.rank={ranks}"]
    ours += [f"adapter.alpha={ALPHAS}", f"adapter.dropout={DROPOUTS}", f"adapter.target_modules={MODULES}"]
    ours += [f"task.max_steps={steps}", "task.effective_batch_size=8", f"task.eval_steps={steps}"]
    ours += [f"task.save_steps={steps}", "task.held_out.num_bytes=0", f"task.learning_rate={RATE}"]
    ours += [f"sweep.jobs={jobs}"]
    plain = [__file__, "-m", f"rank={ranks}", f"alpha={ALPHAS}", f"dropout={DROPOUTS}", f"steps={steps}"]
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS')}"
    )
    print("| side | wall s | CPU s | ratio | claimed |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, __file__, "tokens"], check=True, cwd=folder)
        base = timed("plain", plain, Path(folder), None)
        found = [timed("ours", [*ours, "hydra.sweep.dir=ours"], Path(folder), base)]
        found += [timed("halving", [*ours, "hydra.sweep.dir=h", "sweep.halving.eta=3"], Path(folder), base)]
    if slow := [name for name, ratio in zip(CLAIMED, found, strict=True) if ratio < CLAIMED[name]]:
        sys.exit(f"slower than claimed: {', '.join(slow)}")


def timed(side: str, arguments: list[str], folder: Path, base: float | None) -> float:
    """Run a side, print its row, and return its seconds, or how often they are in those of the first."""
    before, began = os.times(), time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        sys.exit(f"{side}: {ended.stdout[-2000:]}{ended.stderr[-2000:]}")
    seconds, after = time.monotonic() - began, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    ratio = "" if base is None else f"{base / seconds:.2f}"
    print(f"| {side} | {seconds:.0f} | {used:.0f} | {ratio} | {CLAIMED.get(side, '')} |", flush=True)
    return seconds if base is None else base / seconds


def write_tokens() -> None:
    """Write the tokens of the sample's rows, as our side trains on them."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from arabic_llm.config import compose, paths
    from arabic_llm.data.tokens import chat_template, token_rows
    from arabic_llm.models import bases, tokenization
    from arabic_llm.workflows import training_rows

    compose.register()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        config = compose.to_config(hydra_compose("config", ["output_dir=out", "task=sft"]))
    codec = chat_template.prepare(tokenization.load(bases.locate(config.model, None)), config.model)
    rows = training_rows.load(config)
    for name, own in (("train", rows.train), ("dev", rows.dev)):
        encoded = token_rows.encode(codec, own, config.data, 1024, None).rows
        lines = [json.dumps({"input_ids": row.input_ids, "labels": row.labels}) for row in encoded]
        Path(f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")


def train(cfg: Any) -> float:
    """Train once with TRL, as a script of a page would."""
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tiny = ROOT / "arabic_llm" / "models" / "tiny"
    rows = load_dataset("json", data_files={name: f"{name}.jsonl" for name in ("train", "dev")})
    trainer = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32),
        args=SFTConfig(
            output_dir=f"plain/{cfg.rank},{cfg.alpha},{cfg.dropout}",
            max_steps=cfg.steps,
            per_device_train_batch_size=8,
            learning_rate=RATE,
            lr_scheduler_type="cosine",
            warmup_steps=round(0.03 * cfg.steps),
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            dataset_kwargs={"skip_prepare_dataset": True},
            eval_strategy="steps",
            eval_on_start=True,
            eval_steps=cfg.steps,
            save_steps=cfg.steps,
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            seed=17,
        ),
        train_dataset=rows["train"],
        eval_dataset=rows["dev"],
        processing_class=AutoTokenizer.from_pretrained(tiny),
        peft_config=LoraConfig(
            r=cfg.rank,
            lora_alpha=cfg.alpha,
            lora_dropout=cfg.dropout,
            target_modules=MODULES.strip("[]").split(","),
        ),
    )
    trainer.train()
    trainer.save_model()
    return float(trainer.state.log_history[-1].get("eval_loss", 0.0))


if __name__ == "__main__":
    if sys.argv[1:] == ["tokens"]:
        write_tokens()
    elif "-m" in sys.argv:
        import hydra
        from hydra.core.config_store import ConfigStore

        ConfigStore.instance().store("plain", {"rank": 8, "alpha": 16, "dropout": 0.05, "steps": 100})
        hydra.main(version_base="1.3", config_path=None, config_name="plain")(train)()
    else:
        main()
