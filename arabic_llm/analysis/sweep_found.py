"""What a finished job of a sweep found, and at what cost, read from what its run has left."""

from __future__ import annotations

import math
import re
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arabic_llm import files
from arabic_llm.analysis import scores
from arabic_llm.analysis.scores import Evaluation, Score
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.errors import CheckpointError, DamagedError

RESULT = "result.json"
Part = tuple[float, npt.NDArray[np.float64]]  # weight of a task's mean, and the values of its items
_OF_TOKENS = ("sft", "pretrain")  # tasks whose loss is in nats a token
LOSSES = (*_OF_TOKENS, "dpo", "orpo", "kto")  # whose metric is a loss: less is better
# Settings of a task that say what its loss is, and on which rows.
_OF_A_LOSS = (
    *("max_length", "beta", "loss_type", "length_penalty", "reference_free", "label_smoothing"),
    *("sft_weight", "nll_on", "desirable_weight", "undesirable_weight"),
)
COMPARED = ("study", "evaluate", "classify", *LOSSES)


@dataclass(frozen=True)
class JobOutcome:
    """What a finished job found, and at what cost; None: it does not measure that.

    `value` is what jobs are compared by: a mean score, or the loss on dev. `kind` tells apart jobs that
    must not be compared: other rows, another suite, asked or measured otherwise.
    """

    value: float
    is_loss: bool
    name: str  # of the value
    kind: str
    parts: tuple[Part, ...] = ()  # of a mean score; the items of all jobs of a kind are the same
    scores: tuple[Score, ...] = ()  # of each task of the suite
    gain: float | None = None  # since before the training: above 0 is better
    dev_loss: float | None = None
    dev_bits: float | None = None
    forgetting: float | None = None  # bits a byte that the held-out text lost which lost most
    forgot: str = ""  # its language
    num_trained: int | None = None
    predicted_mib: float | None = None
    measured_mib: float | None = None
    tokens_per_second: float | None = None  # supervised ones
    steps: int | None = None
    scale: float | None = None  # alpha / rank, of an adapter


def read(folder: Path, manifest: dict[str, Any]) -> JobOutcome | None:
    """Return what a run found; None where its result is damaged."""
    result, identity = state_of(folder / RESULT), manifest.get("identity", {})
    if not isinstance(result.get("metric"), int | float) or not identity:
        return None
    task = identity["task"]["name"]
    outcome = _outcome(folder)
    sides = _sides(folder)
    common = {"task": task, "data": identity["data"], "inputs": manifest.get("inputs", {}).get("data")}
    found = JobOutcome(float(result["metric"]), task in LOSSES, "metric", fingerprint(common))
    if sides:
        found = _judged(found, sides, identity, common)
    elif task in LOSSES:
        bits = outcome.get("dev_bits_per_byte")
        unit = ", nats a token" if task in _OF_TOKENS else ""
        name = f"loss on dev{unit}" if bits is None else "loss on dev, bits a byte"
        common["loss"] = {key: identity["task"].get(key) for key in _OF_A_LOSS}
        if bits is None:  # a token is another thing to each model
            common["model"] = identity["model"]["name"]
        value = found.value if bits is None else float(bits)
        found = replace(found, value=value, name=name, kind=fingerprint(common))
    elif task not in COMPARED:  # who knows which of two is better
        found = replace(found, kind=f"{found.kind} {folder.name}")
    elif task == "study":  # in stages: a mean score, of evaluations that lie in their folders
        found = replace(found, name="mean score", kind=fingerprint([common, identity["suite"]]))
    return _with_costs(found, folder, outcome, identity)


def _judged(
    found: JobOutcome, sides: list[Evaluation], identity: dict[str, Any], common: dict[str, Any]
) -> JobOutcome:
    """Return what was found with the mean score, of its items, and what training gained."""
    firsts = {name: task["metrics"][0] for name, task in identity["suite"]["tasks"].items()}
    before, after = [[s for s in e.scores if firsts.get(s.name) == s.metric] for e in (sides[0], sides[-1])]
    if not after:
        return found
    data = common if len(sides) > 1 else {"task": common["task"]}  # nothing was trained
    value = float(np.mean([score.value for score in after]))
    return replace(
        found,
        value=value,
        name="mean score",
        kind=fingerprint([data, identity["suite"]["name"], sides[-1].judged]),
        parts=tuple(_parts(sides[-1], after)),
        scores=tuple(after),
        gain=value - float(np.mean([score.value for score in before])) if len(sides) > 1 else None,
    )


def _parts(evaluation: Evaluation, own: Sequence[Score]) -> list[Part]:
    """Return the items of each task that an unweighted mean of scores is of, in the order of their ids."""
    sizes, parts = Counter(item.task for item in evaluation.items), []
    for score in own:
        values = evaluation.values(score)
        weights = score.weights or tuple(sizes[task] / score.n for task in score.tasks)
        for task, weight in zip(score.tasks, weights, strict=True):
            items = np.array([values[key] for key in sorted(values) if key[0] == task], dtype=np.float64)
            parts.append((weight / len(own), items))
    return parts


def _sides(folder: Path) -> list[Evaluation]:
    """Return the evaluations of a run, before its training and after; none that is damaged."""
    inside = folder / "evaluation"
    both = [inside / "base", inside / "tuned"]
    try:
        where = both if all(map(scores.holds, both)) else [scores.folder_of(folder)]
        return [scores.read(one) for one in where]
    except (CheckpointError, DamagedError):
        return []


def _outcome(folder: Path) -> dict[str, Any]:
    for trained in ("adapter", "model"):
        if (path := folder / trained / "outcome.json").is_file():
            try:
                outcome = files.read_json(path)
            except DamagedError:
                return {}
            return outcome if isinstance(outcome, dict) else {}
    return {}


def _with_costs(
    found: JobOutcome, folder: Path, outcome: dict[str, Any], identity: dict[str, Any]
) -> JobOutcome:
    """Return what was found, with the losses and what the training took."""
    try:
        metrics = files.read_json_lines(folder / "training" / "metrics.jsonl")
    except (DamagedError, FileNotFoundError):
        metrics = []
    gain = found.gain
    first = next((line for line in metrics if "dev_bits_per_byte" in line and line["step"] == 0), None)
    if gain is None and first and outcome.get("dev_bits_per_byte") is not None:
        gain = first["dev_bits_per_byte"] - outcome["dev_bits_per_byte"]
    speeds = [m["supervised_tokens_per_second"] for m in metrics if m.get("supervised_tokens_per_second")]
    forgetting, forgot = _forgetting(metrics, outcome.get("kept_step", math.inf))
    return replace(
        found,
        gain=gain,
        forgetting=forgetting,
        forgot=forgot,
        dev_loss=outcome.get("dev_loss"),
        dev_bits=outcome.get("dev_bits_per_byte"),
        num_trained=_num_trained(folder),
        predicted_mib=outcome.get("predicted_mib"),
        measured_mib=outcome.get("measured_mib"),
        tokens_per_second=float(np.median(speeds)) if speeds else None,
        steps=outcome.get("steps"),
        scale=_scale(identity.get("adapter") or {}),
    )


def _scale(adapter: dict[str, Any]) -> float | None:
    """Return what the product of an adapter is multiplied by, but for rslora's root; None: it has none."""
    alpha, rank = adapter.get("alpha"), adapter.get("rank")
    return alpha / rank if adapter.get("method") == "lora" and alpha and rank else None


def _forgetting(metrics: list[dict[str, Any]], kept_step: float) -> tuple[float | None, str]:
    """Return what the held-out text lost that lost most, in bits a byte, and its language."""
    key = "held_out_bits_per_byte/"
    lines = [m for m in metrics if any(name.startswith(key) for name in m) and m["step"] <= kept_step]
    if len(lines) < 2:  # noqa: PLR2004 (before and after)
        return None, ""
    rises = {
        name.removeprefix(key): lines[-1][name] - lines[0][name]
        for name in lines[0]
        if name.startswith(key) and name in lines[-1]
    }
    worst = max(rises, key=lambda language: rises[language])
    return rises[worst], worst


def _num_trained(folder: Path) -> int | None:
    """Return how many numbers were trained, by the shapes in the headers of what was saved."""
    paths = [*folder.glob("adapter/*.safetensors"), *folder.glob("model/*.safetensors")]
    total = 0
    for path in paths:
        with path.open("rb") as file:
            size = file.read(8)
            header = file.read(struct.unpack("<Q", size)[0]) if len(size) == 8 else b"{}"  # noqa: PLR2004
        shapes = re.findall(rb'"shape":\s*\[([\d,\s]*)\]', header)
        total += sum(math.prod(map(int, filter(None, shape.split(b",")))) for shape in shapes)
    return total if paths else None


def state_of(path: Path) -> dict[str, Any]:
    """Return what was written; nothing where it is not there, or damaged."""
    try:
        return files.read_state(path, is_old_too=True)
    except (DamagedError, FileNotFoundError):
        return {}
