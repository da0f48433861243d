"""What directories of runs and of a sweep's jobs are called: by what is done, never by how."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import MISSING, DictConfig, OmegaConf

from arabic_llm.config.fingerprint import fingerprint, plain
from arabic_llm.config.study_task import Stage

# Keys that say how or where a run is done, not what it does: they may differ when it is resumed.
HOW = (
    *("hw", "resume", "dry_run", "tracking", "lang", "data_root", "cache_dir", "output_dir"),
    *("data.engine", "stop_after", "sweep", "task.loss_also_divided"),
)
_OWN = "local"  # data=local: a file of the user's
_MARKS = ("Mn", "Cf")  # vowel signs; tatweel is a letter to Unicode, and is none
_MOST_OF_A_FILE = 40  # characters
# Of a task's server too: its answers are the same wherever, and however many at once, it is asked.
_HOW_A_SERVER_IS_ASKED = ("endpoint", "in_flight", "timeout_seconds", "wait_seconds")
_ALL = ["outputs"]  # what task=report looks through where nothing is typed
_NAME_BYTES = 160  # file systems allow 255 bytes; what is set aside or half written adds to it


def without_how(config: dict[str, Any]) -> dict[str, Any]:
    """Return plain values without the keys of HOW.

    A precision that was set stays: in other numbers other weights are learned, and other answers given.
    """
    inner = [key.split(".") for key in HOW if "." in key]
    kept = {key: value for key, value in config.items() if key not in HOW}
    if (precision := (config.get("hw") or {}).get("precision", "auto")) != "auto":
        kept["precision"] = precision
    for group, name in inner:
        if group in kept:
            kept[group] = {key: value for key, value in kept[group].items() if key != name}
    if "server" in (kept.get("task") or {}):
        server = kept["task"]["server"]
        asked = {key: value for key, value in server.items() if key not in _HOW_A_SERVER_IS_ASKED}
        kept["task"] = {**kept["task"], "server": asked}
    if "stages" in (kept.get("task") or {}):
        unread = of_no_stage(kept["task"]["stages"])
        task = {key: value for key, value in kept["task"].items() if key not in unread}
        if "starts_from" in task:
            task["starts_from"] = {stage: start for stage, start in task["starts_from"].items() if start}
        kept["task"] = task
    return kept


def of_no_stage(stages: Iterable[Any]) -> set[str]:
    """Return the settings of a study that decide nothing, of which stages it has; without any, all theirs.

    So it is the study that it was, whatever stages there come to be.
    """
    trained = set(plain(list(stages or ())))
    unread = {stage.name for stage in Stage} - trained
    if not trained - {Stage.sft.name}:
        unread.add("pairs")
    return unread if trained else unread | {"stages", "starts_from", "prompts"}


def values(overrides: Iterable[str]) -> dict[str, str]:
    """Return full key -> value as it was typed, of overrides of one job; Hydra's own settings left out."""
    pairs = (override.lstrip("+~").partition("=") for override in overrides)
    return {
        key: value for key, _, value in pairs if key != "hydra" and not key.startswith(("hydra.", "hydra/"))
    }


def swept(params: Iterable[str] = ()) -> list[str]:
    """Return the keys that a sweep tries several values of, in their order.

    `params` are a recipe's (`key=value,value`); the others are on the command line.
    """
    parsed = OverridesParser.create().parse_overrides([*params, *_given()])
    return list(dict.fromkeys(o.get_key_element().lstrip("+~") for o in parsed if o.is_sweep_override()))


def _given() -> list[str]:
    """Return the overrides of the command line."""
    return [argument for argument in sys.argv[1:] if "=" in argument and not argument.startswith("-")]


def of_sweep(hydra: Any) -> list[str]:
    """Return the swept keys of Hydra's configuration of a job, the recipe's among them."""
    return swept(_params(hydra))


def _params(hydra: Any) -> list[str]:
    """Return the grid of a recipe."""
    params = OmegaConf.select(hydra, "sweeper.params") or {}
    return [f"{key}={value}" for key, value in params.items()]


def given(hydra: Any) -> list[str]:
    """Return what a sweep was given: by its recipe, then on the command line."""
    return [*_params(hydra), *_given()]


def of_jobs(hydra: Any, loader: ConfigLoader) -> list[tuple[str, list[str]]]:
    """Return (directory name, overrides) of every job of a sweep, in their order, as Hydra makes them."""
    parsed = OverridesParser.create(loader).parse_overrides(given(hydra))
    each = [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()]
        if o.is_sweep_override()
        else [f"{o.get_key_element()}={o.get_value_element_as_str()}"]
        for o in parsed
    ]
    keys = of_sweep(hydra)
    return [(name_of_job(typed, keys), list(typed)) for typed in product(*each)]


def short(keys: Iterable[str]) -> dict[str, str]:
    """Return key -> as many of its last parts as tell it from the others."""
    known = list(keys)
    return {key: _short(key, known) for key in known}


def telling_apart(jobs: list[dict[str, str]], swept_keys: list[str]) -> list[str]:
    """Return the keys that jobs of one folder differ by: what is swept now, then what was before."""
    before = {key for job in jobs for key in job if not _is_how(key) and key not in swept_keys}
    return [*swept_keys, *sorted(key for key in before if len({job.get(key) for job in jobs}) > 1)]


def model_name(path: str | None, hub_id: str | None) -> str:
    """Return what a model that no YAML names is called: as its folder, or its repository on the hub."""
    folder = Path(path or "").expanduser()
    if path and folder.parent.name == "snapshots":  # of the hub's cache: models--owner--name
        folder = Path(folder.parent.parent.name.replace("--", "/"))
    elif path and folder.name in ("", ".."):
        folder = folder.resolve()
    elif not path:
        folder = Path(hub_id or "")
    return folder.name if folder.name.strip(".") else "auto"


def of_data(name: str, path: str | None) -> str:
    """Return what data are called: their own name, those of a file of the user's as the file.

    Of the file's name letters and digits of any script are kept, no vowel signs, and no sign that a shell
    or a file system minds.
    """
    if name != _OWN or not path:
        return name
    stem = unicodedata.normalize("NFC", Path(path).expanduser().stem).replace("\u0640", "")
    letters = "".join(sign for sign in stem if unicodedata.category(sign) not in _MARKS)
    return re.sub(r"[^\w.+-]+", "_", letters)[:_MOST_OF_A_FILE].strip("_.-") or name


def data_name(*, _root_: DictConfig) -> str:
    """Return what the data of a run are called, as a part of a path."""
    own = _root_.data
    path = None if OmegaConf.is_missing(own, "path") else own.get("path")
    return of_data(own.get("name", "none"), None if path is None else str(path))


def run_name(*, _root_: DictConfig) -> str:
    """Return the directory name of a run: the same command gives the same name, so it can carry on."""
    own = cast(dict[str, Any], OmegaConf.to_container(_root_, resolve=False, enum_to_str=True))
    chosen = {key: value for key, value in without_how(own).items() if key != "hydra"}
    model, adapter = (_root_[group].get("name", "none") for group in ("model", "adapter"))
    names: tuple[str, ...] = (model, data_name(_root_=_root_), adapter)
    if run := own["task"].get("run"):
        names = _of_a_run(str(run), names)
    return f"{_path_name('-'.join(names))}-{fingerprint(chosen)[:8]}"


def report_name(*, _root_: DictConfig) -> str:
    """Return where a report lies below outputs/: of all of outputs, or of some folders."""
    folders = list(map(str, _root_.task.folders))
    return "report" if folders == _ALL else f"report/{_path_name('+'.join(folders))}"


def _of_a_run(run: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is called after another run: its folder, of a stage the study's and its own."""
    folder = Path(run).expanduser()
    if run == MISSING or not folder.name.strip("."):
        return otherwise
    is_stage = folder.name in Stage.__members__ and folder.parent.name
    return (folder.parent.name, folder.name) if is_stage else (folder.name,)


def sweep_name(*, _root_: DictConfig) -> str:
    """Return where a sweep lies below multirun/: its task, then what is swept and what else was typed.

    Not the values: a grid that grows stays where it began. A recipe's own name stands for its keys.
    """
    hydra = _root_.hydra
    fixed = {key: value for key, value in values(_given()).items() if not _is_how(key)}
    recipe, grid = fixed.pop("experiment", None), of_sweep(hydra)
    keys = sorted({*fixed, *grid})
    parts = [recipe] if recipe else []
    parts += [_short(key, keys) for key in (swept() if recipe else grid) if key != "experiment"]
    parts += [f"{_short(key, keys)}={fixed[key]}" for key in sorted({*fixed} - {*grid, "task"})]
    task = "tasks" if "task" in grid else str(_root_.task.name)
    return f"{task}/{_path_name(','.join(parts) or 'job')}"


def job_name(*, _root_: DictConfig) -> str:
    """Return the directory name of a sweep's job: what is swept, then what else was typed.

    How a job is run names it only where that is swept, so that its jobs are told apart.
    """
    return name_of_job(_root_.hydra.overrides.task, of_sweep(_root_.hydra))


def name_of_job(overrides: Iterable[str], swept_keys: list[str]) -> str:
    """Return the directory name of a job that is typed so."""
    typed = values(overrides)
    naming = {key: value for key, value in typed.items() if key in swept_keys or not _is_how(key)}
    ordered = sorted(naming, key=lambda key: (key not in swept_keys, key))
    return _path_name(",".join(f"{_short(key, ordered)}={naming[key]}" for key in ordered) or "job")


def _is_how(key: str) -> bool:
    return any(key == how or key.startswith(f"{how}.") for how in HOW)


def _short(key: str, keys: list[str]) -> str:
    """Return as many last parts of a key as tell it from the others."""
    parts = key.split(".")
    for start in range(len(parts) - 1, 0, -1):
        short = ".".join(parts[start:])
        if sum(other == short or other.endswith(f".{short}") for other in keys) == 1:
            return short
    return key


def _path_name(text: str) -> str:
    """Return the text as one part of a path; what had to be changed is told apart by a hash."""
    safe = re.sub(r"[^\w=,.+-]+", "_", text).encode()[:_NAME_BYTES].decode(errors="ignore")
    return safe if safe == text else f"{safe}-{fingerprint(text)[:8]}"
