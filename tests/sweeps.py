"""Folders of sweeps as their jobs leave them: in the files' real forms, without the training."""

from __future__ import annotations

import json
import struct
from itertools import product

import numpy as np

from arabic_llm import files
from arabic_llm.analysis import scores
from arabic_llm.analysis.scores import Evaluation, Item, Score

MODEL = {"name": "m", "revision": "r", "template": "t", "quantization": "none", "dtype": "f"}


def job(folder, levels, task="sft", data="sample", seconds=12.0):
    """Write the manifest of a job: its overrides are its levels."""
    folder.mkdir(parents=True)
    adapter = {"name": "lora", "method": "lora", "rank": 8, "alpha": 16, "dropout": 0.0}
    identity = {
        "model": {"name": "tiny"},
        "data": {"name": data, "max_rows": None},
        "adapter": adapter,
        "suite": {"name": "s", "tasks": {"exams": {"metrics": ["acc"]}}},
        "task": {"name": task, "learning_rate": 1e-3, "max_length": 512},
        "seed": 17,
    }
    for key, value in levels.items():
        group, _, name = key.partition(".")
        if name:
            identity[group][name] = value
        else:
            identity[group] = value
    typed = [f"{key}={value}" for key, value in levels.items()]
    command = " ".join(["python -m arabic_llm.run", *typed, f"hydra.run.dir={folder.name!r}"])
    manifest = {"command": command, "fingerprint": "f", "identity": identity, "inputs": {"data": data}}
    files.write_state(folder / "manifest.json", manifest)
    return identity


def finished(folder, levels, bits, *, forgetting=0.1, memory=None, **more):
    """Write a finished job of task=sft with its loss on dev in bits a byte."""
    identity = job(folder, levels, **more)
    outcome = {"steps": 9, "dev_loss": 2 * bits, "dev_bits_per_byte": bits, "kept_step": 9}
    outcome["predicted_mib"] = memory or 20.0 + identity["adapter"]["rank"]
    outcome["measured_mib"] = outcome["predicted_mib"] + 0.5
    weights(folder / "adapter" / "adapter_model.safetensors", identity["adapter"]["rank"])
    files.write_json(folder / "adapter" / "outcome.json", outcome)
    held_out = {"held_out_bits_per_byte/ar": 3.0, "held_out_bits_per_byte/en": 2.0}
    (folder / "training").mkdir()
    lines = [
        {"step": 0, **held_out},
        {"step": 0, "dev_loss": 4.0, "dev_bits_per_byte": 2.0},
        {"step": 9, "loss": 1.0, "supervised_tokens_per_second": 50.0},
        {"step": 9, **held_out, "held_out_bits_per_byte/en": 2.0 + forgetting},
    ]
    files.write_json_lines(folder / "training" / "metrics.jsonl", lines)
    files.write_state(folder / "result.json", {"metric": 2 * bits, "fingerprint": "f"})


def judged(folder, levels, right, base=None, suite="s", **more):
    """Write a finished job of task=study: `right` says of each item whether it was answered rightly."""
    finished(folder, levels, 1.0, **{"task": "study", **more})
    for side, own in (("base", base if base is not None else np.zeros(len(right))), ("tuned", right)):
        scores.write(evaluation(own, suite), folder / "evaluation" / side)
    files.write_state(folder / "result.json", {"metric": float(np.mean(right)), "fingerprint": "f"})


def evaluation(right, suite="s"):
    items = [Item("exams", str(i), "", "", "", {"acc": float(v)}) for i, v in enumerate(right)]
    score = Score("exams", "acc", len(items), float(np.mean(right)), 0.01, 0.25, 0.3, ("exams",), "1")
    return Evaluation(MODEL | {"trained": "x"}, {"tasks": {"exams": {}}, "suite": suite}, [score], items)


def weights(path, rank):
    """Write a file of two matrices of a rank."""
    path.parent.mkdir(parents=True)
    shapes = {"a": [rank, 100], "b": [100, rank]}
    header = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)


def state(folder, grid, ended=()):
    """Write sweep.json of a grid: key -> values; `ended` is name -> how it failed, with its lines."""
    names = {name(levels): [f"{k}={v}" for k, v in levels.items()] for levels in combined(grid)}
    files.write_state(
        folder / "sweep.json",
        {
            "jobs": list(names),
            "swept": list(grid),
            "typed": names,
            "ended": {one: {"how": how, "typed": names[one], "lines": lines} for one, how, lines in ended},
            "seconds": dict.fromkeys(names, 12.0),
        },
    )


def combined(grid):
    """Yield the levels of each job of a grid."""
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def name(levels):
    """Return the name of a job's folder."""
    return ",".join(f"{key.rpartition('.')[2]}={value}" for key, value in levels.items())
