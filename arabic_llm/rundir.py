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
from operator import attrgetter
from pathlib import Path
from typing import Any

from arabic_llm import files, result, terminal
from arabic_llm.config import compose
from arabic_llm.config.fingerprint import differences, fingerprint, library_version, plain
from arabic_llm.config.naming import HOW
from arabic_llm.config.run import Language, RunConfig
from arabic_llm.errors import ConfigError, DamagedError, HardwareError
from arabic_llm.result import RESULT

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_LOCK = ".lock"
_LOG = "run.log"
_DEFAULTS = ("outputs", "data_proc")  # where conf/ lets runs lie
_LIBRARIES = (
    *("arabic-llm", "torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate"),
    *("datasets", "lm_eval", "scikit-learn", "hydra-core", "wandb"),
)
# Of HOW: named beside it; of many runs; only said, and a setting of some tasks.
_NOT_NOTED = ("hw", "sweep", "task.loss_also_divided")
_OF_A_START = ("command", "how", "hw", "versions", "machine", "started")
_READ = {"fingerprint": str, "identity": dict, "inputs": dict}  # of a manifest, at the next start
_MAX_DIFFERENCES = 5  # in one line: of a refused configuration, of a run's files


@contextmanager
def claim(config: RunConfig, inputs: dict[str, str | None]) -> Iterator[Path]:
    """Hold the run's directory until the run ends or dies; the kernel drops the lock with the process.

    `inputs` are hashes of what the run reads (None: not known yet). Raises HardwareError when another
    live process holds the directory, ConfigError when it holds a run of another configuration or on
    other input. With `resume=false` an earlier run is moved aside, never deleted.
    """
    path = Path(config.output_dir)
    path.mkdir(parents=True, exist_ok=True)
    for name in (_LOCK, _LOG):
        if files.is_in_the_way(path / name):
            files.set_aside(path / name)
    with (path / _LOCK).open("a+") as lock:
        _lock(lock.fileno(), path)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        # Of a run that was killed before its manifest was there: it would be a stranger's folder.
        files.remove_partial(path / MANIFEST)
        if not config.resume:
            _set_aside(path)
        before = _begun_before(path)
        _refuse_another(path, before, config, inputs)
        files.remove_all_partial(path)
        _reopen_in_another_language(path, before, config)
        if not _is_done(path, before, Path(config.cache_dir)):
            now = manifest(config) | {"inputs": inputs}
            starts = [*_earlier_starts(before, now), _start(now)]
            files.write_state(path / MANIFEST, now | {"starts": starts})
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
        "how": plain({key: attrgetter(key)(config) for key in HOW if key not in _NOT_NOTED}),
        "hw": config.hw.name,
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} x {_cpu_name()}",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _start(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return what may differ between two starts of one run."""
    return {key: manifest.get(key) for key in _OF_A_START}


def _begun_before(path: Path) -> dict[str, Any] | None:
    """Return the manifest of the run that lies there; a run whose manifest is damaged is set aside.

    Raises ConfigError for a manifest in a folder that was never a run's.
    """
    if not os.path.lexists(path / MANIFEST):
        return None
    try:
        before = files.read_state(path / MANIFEST, is_old_too=True)
        if not all(isinstance(before.get(key), kind) for key, kind in _READ.items()):
            raise DamagedError(f"{path / MANIFEST} is damaged: it lacks {', '.join(_READ)}")
    except DamagedError as error:
        if not (path / _LOG).is_file():
            raise ConfigError(f"{path} is no run's folder ({error}); give another hydra.run.dir") from error
        log.info("%s; the run begins anew", error)
        _set_aside(path)
        return None
    return before


def _earlier_starts(before: dict[str, Any] | None, now: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the starts of the run that is carried on; a first try that made nothing is not carried on."""
    if before is None or before["fingerprint"] != now["fingerprint"]:
        return []
    starts: list[dict[str, Any]] = before.get("starts") or [_start(before)]
    return starts


def _versions() -> dict[str, str]:
    return {name: library_version(name) or "not installed" for name in _LIBRARIES}


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


def _is_done(path: Path, before: dict[str, Any] | None, cache_dir: Path) -> bool:
    """Return whether all that a finished run has left is there still; else say what is not.

    What has changed is set aside, and so is a damaged result: the run is done again.
    """
    done = files.kept(path / RESULT, result.read)
    if done is None or before is None or done["fingerprint"] != before["fingerprint"]:
        return False
    unlike = result.unlike(path, done, cache_dir)
    if not unlike:
        return True
    said = [f"{path / name} {what}" for name, what in unlike.items()]
    more = f" and {len(said) - _MAX_DIFFERENCES} more" if len(said) > _MAX_DIFFERENCES else ""
    log.info("%s%s since the run was done: it is done again", ", ".join(said[:_MAX_DIFFERENCES]), more)
    (path / RESULT).unlink()
    for name in unlike:
        if os.path.lexists(path / name):
            files.set_aside(path / name)
    return False


def _reopen_in_another_language(path: Path, before: dict[str, Any] | None, config: RunConfig) -> None:
    """Let a done run write its reports again where they are asked for in another language.

    What it has trained and asked stays: of a run that is not done only what is missing is made.
    """
    written = (before or {}).get("how", {}).get("lang", Language.en.name)
    if written != config.lang.name and os.path.lexists(path / RESULT):
        log.info("the report is in lang=%s: it is written again, in lang=%s", written, config.lang.name)
        (path / RESULT).unlink()


def finished(path: Path) -> float | None:
    """Return the metric of a run that was done before, after saying so; None when it is to be run."""
    if not os.path.lexists(path / RESULT):
        return None
    done = result.read(path / RESULT)
    if done["fingerprint"] != files.read_state(path / MANIFEST, is_old_too=True)["fingerprint"]:
        return None
    log.info("done before, not run again: %s (resume=false begins anew)", path)
    if (summary := path / "summary.txt").exists():
        log.info("%s", files.read_text(summary))
    metric: float = done["metric"]
    return metric


def write_result(path: Path, metric: float) -> None:
    """Write result.json, the last file of a finished run."""
    result.write(path, metric, files.read_state(path / MANIFEST)["fingerprint"])


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
        owner = (path / _LOCK).read_text(errors="replace") or "unknown"
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


def _refuse_another(
    path: Path, before: dict[str, Any] | None, config: RunConfig, inputs: dict[str, str | None]
) -> None:
    """Refuse a directory with the work of another configuration, or of this one on other input."""
    if {entry.name for entry in path.iterdir()} <= {MANIFEST, _LOCK, _LOG}:
        return  # a first try that made nothing
    if before is None:
        raise ConfigError(f"{path} is a folder with other files in it; give another hydra.run.dir")
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
