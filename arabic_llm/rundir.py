"""One run, one directory: one process writes in it, it knows its configuration, and when it is whole."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from operator import attrgetter
from pathlib import Path
from typing import Any

from arabic_llm import files, terminal
from arabic_llm.config import compose
from arabic_llm.config.fingerprint import differences, fingerprint, plain
from arabic_llm.config.naming import HOW
from arabic_llm.config.run import RunConfig
from arabic_llm.errors import ConfigError, HardwareError

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
RESULT = "result.json"
_LOCK = ".lock"
_LOG = "run.log"
_DEFAULTS = ("outputs", "data_proc")  # where conf/ lets runs lie
_LIBRARIES = (
    *("arabic-llm", "torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate"),
    *("datasets", "lm_eval", "scikit-learn", "hydra-core", "wandb"),
)
_OF_A_START = ("command", "how", "hw", "versions", "machine", "started")
_MAX_DIFFERENCES = 5  # of a refused configuration, in its one line


@contextmanager
def claim(config: RunConfig, inputs: dict[str, str | None]) -> Iterator[Path]:
    """Hold the run's directory until the run ends or dies; the kernel drops the lock with the process.

    `inputs` are hashes of what the run reads (None: not known yet). Raises HardwareError when another
    live process holds the directory, ConfigError when it holds a run of another configuration or on
    other input. With `resume=false` an earlier run is moved aside, never deleted.
    """
    path = Path(config.output_dir)
    path.mkdir(parents=True, exist_ok=True)
    with (path / _LOCK).open("a+") as lock:
        _lock(lock.fileno(), path)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        if not config.resume:
            _set_aside(path)
        _refuse_another(path, config, inputs)
        if not (path / RESULT).exists():
            now = manifest(config) | {"inputs": inputs}
            files.write_json(path / MANIFEST, now | {"starts": [*_earlier_starts(path, now), _start(now)]})
        with terminal.copied_to(path / _LOG):
            yield path


def manifest(config: RunConfig) -> dict[str, Any]:
    """Return what is needed to do the run again: command, configuration, versions, machine.

    On the disk it has, as `starts`, what of this each start of the run was, the last one included.
    """
    return {
        "command": command(),
        "fingerprint": fingerprint(compose.identity(config)),
        "identity": compose.identity(config),
        "how": plain({key: attrgetter(key)(config) for key in HOW if key != "hw"}),
        "hw": config.hw.name,
        "versions": {"python": platform.python_version(), **{n: _version(n) for n in _LIBRARIES}},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} x {_cpu_name()}",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _start(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return what may differ between two starts of one run."""
    return {key: manifest[key] for key in _OF_A_START}


def _earlier_starts(path: Path, now: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the starts of the run that is carried on; a first try that made nothing is not carried on."""
    if not (path / MANIFEST).exists():
        return []
    before = files.read_json(path / MANIFEST)
    same = before["fingerprint"] == now["fingerprint"]
    return before.get("starts", [_start(before)]) if same else []


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:  # a checkout that was never installed, or a library that may be absent
        return "not installed"


def _cpu_name() -> str:
    """Return the processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "CPU"


def command() -> str:
    """Return the command line that a shell would take to start this run again."""
    typed = shlex.join(["python", "-m", "arabic_llm.run", *sys.argv[1:]])
    data = os.environ.get("ARABIC_LLM_DATA")
    return f"ARABIC_LLM_DATA={shlex.quote(data)} {typed}" if data else typed


def finished(path: Path) -> float | None:
    """Return the metric of a run that was done before, after saying so; None when it is to be run."""
    if not (path / RESULT).exists():
        return None
    result = files.read_json(path / RESULT)
    if result["fingerprint"] != files.read_json(path / MANIFEST)["fingerprint"]:
        return None
    log.info("done before, not run again: %s (resume=false begins anew)", path)
    if (summary := path / "summary.txt").exists():
        log.info("%s", summary.read_text(encoding="utf-8"))
    metric: float = result["metric"]
    return metric


def write_result(path: Path, metric: float) -> None:
    """Write result.json, the last file of a finished run, with the fingerprint of its configuration."""
    identity = files.read_json(path / MANIFEST)["fingerprint"]
    files.write_json(path / RESULT, {"metric": metric, "fingerprint": identity})


def remove_if_empty(path: Path) -> None:
    """Remove the directory that Hydra made for a run that wrote nothing, and empty ones above it.

    Above it only inside the folders that runs have by default: others are the user's.
    """
    here = Path.cwd()
    defaults = {here / name for name in _DEFAULTS}
    for folder in (path, *path.parents):
        is_ours = folder == path or not defaults.isdisjoint((folder, *folder.parents))
        if not is_ours or folder in (here, *here.parents) or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()


def _lock(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = (path / _LOCK).read_text() or "unknown"
        raise HardwareError(
            f"another run (process {owner}) is writing in {path}; wait for it, or give another"
            " directory with hydra.run.dir="
        ) from None


def _set_aside(path: Path) -> None:
    """Move the files of an earlier run into a folder beside it."""
    earlier = [entry for entry in path.iterdir() if entry.name != _LOCK]
    if not earlier:
        return
    number = 1
    while (aside := path.with_name(f"{path.name}.aside-{number}")).exists():
        number += 1
    aside.mkdir()
    for entry in earlier:
        entry.rename(aside / entry.name)
    log.info("an earlier run was moved to %s", aside)


def _refuse_another(path: Path, config: RunConfig, inputs: dict[str, str | None]) -> None:
    """Refuse a directory with the work of another configuration, or of this one on other input."""
    if {entry.name for entry in path.iterdir()} <= {MANIFEST, _LOCK, _LOG}:
        return  # a first try that made nothing
    if not (path / MANIFEST).exists():
        raise ConfigError(f"{path} is a folder with other files in it; give another hydra.run.dir")
    before = files.read_json(path / MANIFEST)
    changes = [
        f"{key} was {json.dumps(old, ensure_ascii=False)}, is {json.dumps(new, ensure_ascii=False)}"
        for key, old, new in differences(before["identity"], compose.identity(config))
    ]
    if changes:
        more = len(changes) - _MAX_DIFFERENCES
        said = "; ".join(changes[:_MAX_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
        raise ConfigError(
            f"{path} holds a run of another configuration: {said}. Give another hydra.run.dir,"
            " or resume=false to move it aside"
        )
    for name, old in before["inputs"].items():
        if old is not None and inputs.get(name) not in (None, old):
            raise ConfigError(
                f"{path} holds a run of this configuration on other input: {name} has changed since"
                f" (hash {old}, now {inputs[name]}). resume=false moves it aside and begins anew"
            )
