"""The jobs of a sweep's folder as values: what was swept, what became of each, what it found and cost."""

from __future__ import annotations

import fcntl
import math
import re
import shlex
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
from arabic_llm.config import naming
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.errors import CheckpointError, DamagedError, DataError

STATE = "sweep.json"  # as grid.py writes it
SEED = "seed"
Value = str | int | float | bool | None  # of a swept key
Part = tuple[float, npt.NDArray[np.float64]]  # weight of a task's mean, and the values of its items
_MANIFEST, _RESULT, _LOCK = "manifest.json", "result.json", ".lock"
_LOSSES = ("sft", "dpo", "orpo", "pretrain")  # tasks whose metric is one: less is better
# Settings of a task that say what its loss is, and on which rows.
_OF_A_LOSS = (
    *("max_length", "beta", "loss_type", "length_penalty", "reference_free", "label_smoothing"),
    *("sft_weight", "nll_on"),
)
_COMPARED = ("study", "evaluate", "classify", *_LOSSES)


@dataclass(frozen=True)
class Found:
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


@dataclass(frozen=True)
class Job:
    """One job. `state` is done, failed, interrupted, running, begun, or not begun."""

    name: str
    folder: Path
    state: str
    levels: dict[str, Value]  # of each swept key
    typed: tuple[str, ...]  # overrides
    found: Found | None = None
    is_left: bool = False  # of another grid than the one that ran here last
    cause: str = ""
    last_lines: tuple[str, ...] = ()
    seconds: float | None = None
    data_root: str = ""  # as ARABIC_LLM_DATA was

    @property
    def command(self) -> str:
        """Return the command that runs this job again, alone."""
        mode = ["hydra.mode=RUN"] if any("experiment=" in one for one in self.typed) else []
        line = shlex.join(["python", "-m", "arabic_llm.run", *self.typed, *mode])
        return f"ARABIC_LLM_DATA={shlex.quote(self.data_root)} {line}" if self.data_root else line


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder: its jobs and the keys that tell them apart."""

    folder: Path
    keys: tuple[str, ...]
    jobs: tuple[Job, ...]

    def alike(self) -> list[list[Job]]:
        """Return the finished jobs that may be compared, together; the largest such group first."""
        kinds: dict[str, list[Job]] = {}
        for job in self.jobs:
            if job.found is not None and math.isfinite(job.found.value):
                kinds.setdefault(job.found.kind, []).append(job)
        return sorted(kinds.values(), key=lambda jobs: -len(jobs))


def read(folder: Path) -> Sweep:
    """Return what lies in a sweep's folder. Raises DataError where none lies there."""
    state = _state_of(folder / STATE)
    names = list(state.get("jobs", []))
    ran = sorted(path.parent.name for path in folder.glob(f"*/{_MANIFEST}"))
    left = [name for name in ran if name not in names and ".aside-" not in name]
    left += [name for name in state.get("ended", {}) if name not in (*names, *left)]
    if not names and not left:
        raise DataError(f"{folder} holds no sweep (no {STATE}, no job); a command with -m makes one")
    jobs = [_job(folder / name, state, is_left=bool(names) and name in left) for name in (*names, *left)]
    typed = [naming.values(job.typed) for job, _ in jobs]
    keys = naming.telling_apart(typed, state.get("swept", []))
    keys = [key for key in keys if key != "experiment"]
    found = []
    for (job, identity), own in zip(jobs, typed, strict=True):
        levels = {key: _level(key, identity, own.get(key)) for key in keys}
        found.append(replace(job, levels=levels))
    return Sweep(folder, tuple(keys), tuple(found))


def _job(folder: Path, state: dict[str, Any], *, is_left: bool) -> tuple[Job, dict[str, Any]]:
    """Return a job without its levels, and its run's identity; empty: it has not begun."""
    name = folder.name
    manifest = _state_of(folder / _MANIFEST)
    identity = manifest.get("identity", {})
    words = shlex.split(manifest.get("command", ""))
    typed = state.get("typed", {}).get(name) or state.get("ended", {}).get(name, {}).get("typed")
    if typed is None:
        typed = words[words.index("arabic_llm.run") + 1 :] if "arabic_llm.run" in words else []
    ended = state.get("ended", {}).get(name, {})
    found = _found(folder, manifest) if (folder / _RESULT).is_file() else None
    seconds = state.get("seconds", {}).get(name)
    job = Job(
        name,
        folder,
        "done" if found else _unfinished(folder, str(ended.get("how", ""))),
        {},
        tuple(word for word in typed if not word.startswith("hydra.")),
        found,
        is_left,
        cause="" if found else str(ended.get("how", "")),
        last_lines=() if found else tuple(ended.get("lines", ())),
        seconds=seconds if seconds else None,
        data_root=next((w.partition("=")[2] for w in words if w.startswith("ARABIC_LLM_DATA=")), ""),
    )
    return job, identity


def _unfinished(folder: Path, how: str) -> str:
    if _is_locked(folder / _LOCK):
        return "running"
    if how:
        return "interrupted" if "interrupted" in how else "failed"
    return "begun" if (folder / _MANIFEST).is_file() else "not begun"


def _is_locked(path: Path) -> bool:
    """Return whether a run writes in the folder of this lock."""
    if not path.is_file():
        return False
    with path.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _level(key: str, identity: dict[str, Any], typed: str | None) -> Value:
    """Return the value of a key in a run: what it came to, or what was typed where nothing is known."""
    at: Any = identity
    for part in key.replace("/", ".").split("."):
        at = at.get(part, {}) if isinstance(at, dict) else {}
    if isinstance(at, dict):
        at = at.get("name", {})
    if isinstance(at, str | int | float | bool) or (at is None and typed is not None):
        return at
    if isinstance(at, list):
        return ",".join(map(str, at))
    return _parsed(typed)


def _parsed(typed: str | None) -> Value:
    """Return a number where one was typed."""
    for kind in (int, float):
        try:
            return kind(typed or "")
        except ValueError:
            continue
    return typed


def _found(folder: Path, manifest: dict[str, Any]) -> Found | None:
    """Return what a run found; None where its result is damaged."""
    result, identity = _state_of(folder / _RESULT), manifest.get("identity", {})
    if not isinstance(result.get("metric"), int | float) or not identity:
        return None
    task = identity["task"]["name"]
    outcome = _outcome(folder)
    sides = _sides(folder)
    common = {"task": task, "data": identity["data"], "inputs": manifest.get("inputs", {}).get("data")}
    found = Found(float(result["metric"]), task in _LOSSES, "metric", fingerprint(common))
    if sides:
        found = _judged(found, sides, identity, common)
    elif task in _LOSSES:
        bits = outcome.get("dev_bits_per_byte")
        name = "loss on dev, nats a token" if bits is None else "loss on dev, bits a byte"
        common["loss"] = {key: identity["task"].get(key) for key in _OF_A_LOSS}
        if bits is None:  # a token is another thing to each model
            common["model"] = identity["model"]["name"]
        value = found.value if bits is None else float(bits)
        found = replace(found, value=value, name=name, kind=fingerprint(common))
    elif task not in _COMPARED:  # who knows which of two is better
        found = replace(found, kind=f"{found.kind} {folder.name}")
    return _with_costs(found, folder, outcome, identity)


def _judged(
    found: Found, sides: list[Evaluation], identity: dict[str, Any], common: dict[str, Any]
) -> Found:
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


def _with_costs(found: Found, folder: Path, outcome: dict[str, Any], identity: dict[str, Any]) -> Found:
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


def _state_of(path: Path) -> dict[str, Any]:
    """Return what was written; nothing where it is not there, or damaged."""
    try:
        return files.read_state(path, is_old_too=True)
    except (DamagedError, FileNotFoundError):
        return {}
