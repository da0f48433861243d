"""Where YAML meets types: register the schemas, then turn a composed config into dataclasses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass
from typing import Any, cast

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from arabic_llm.config import paths
from arabic_llm.config import task as tasks
from arabic_llm.config.complaints import did_you_mean
from arabic_llm.config.fingerprint import fingerprint, plain
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import TaskConfig
from arabic_llm.errors import ConfigError

# Keys that say how or where a run is done, not what it does: they may differ when it is resumed.
HOW = ("hw", "resume", "dry_run", "tracking", "data_root", "cache_dir", "output_dir", "data.engine")
_NAME_LENGTH = 80  # file systems allow 255 bytes; a sweep's name is one part of a path


class ExperimentRecipes(SearchPathPlugin):
    """Make experiments/experiment/*.yaml selectable as `+experiment=<name>`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put experiments/ after conf/ (Hydra calls this)."""
        search_path.append("arabic-llm", paths.EXPERIMENTS.as_uri())


def register() -> None:
    """Tell Hydra the schema of conf/, of each task, where the recipes are, and how runs are named."""
    store = ConfigStore.instance()
    store.store(name="schema", node=RunConfig)
    for name, node in vars(tasks).items():
        if isinstance(node, type) and issubclass(node, TaskConfig):
            schema = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.removesuffix("Config")).lower()
            store.store(group="task", name=f"{schema}_schema", node=node)
    Plugins.instance().register(ExperimentRecipes)
    OmegaConf.register_new_resolver("run_name", _run_name, replace=True)
    OmegaConf.register_new_resolver("path_name", _path_name, replace=True)
    OmegaConf.register_new_resolver("options", _options, replace=True)


def to_config(cfg: DictConfig) -> RunConfig:
    """Return the composed config as dataclasses.

    Raises ConfigError for a key no schema has (`+adapter.rnak=8` passes Hydra's own check),
    for a mandatory value left out, and for a value its dataclass refuses.
    """
    for key, known in _unknown_keys(cfg):
        raise ConfigError(f"no setting '{key}'{did_you_mean(key, known)}")
    if missing := OmegaConf.missing_keys(cfg):
        raise ConfigError(f"no value for {', '.join(sorted(missing))}")
    try:
        return cast(RunConfig, OmegaConf.to_object(cfg))
    except (ValueError, OmegaConfBaseException) as error:
        raise ConfigError(str(error).splitlines()[0]) from error


def typed() -> list[str]:
    """Return the overrides of the command line that this run was started with, as they were typed."""
    return list(HydraConfig.get().overrides.task)


def identity(config: RunConfig) -> dict[str, Any]:
    """Return what decides the outcome of a run, as plain values: the config without the keys of HOW."""
    return _without_how(cast(dict[str, Any], plain(asdict(config))))


def _without_how(config: dict[str, Any]) -> dict[str, Any]:
    inner = [key.split(".") for key in HOW if "." in key]
    kept = {key: value for key, value in config.items() if key not in HOW}
    for group, name in inner:
        kept[group] = {key: value for key, value in kept[group].items() if key != name}
    return kept


def _run_name(*, _root_: DictConfig) -> str:
    """Return the directory name of a run: the same command gives the same name, so it can carry on."""
    own = cast(dict[str, Any], OmegaConf.to_container(_root_, resolve=False, enum_to_str=True))
    chosen = {key: value for key, value in _without_how(own).items() if key != "hydra"} | {"hw": own["hw"]}
    names = [_root_[group].get("name", "none") for group in ("model", "data", "adapter")]
    return f"{_path_name('-'.join(names))}-{fingerprint(chosen)[:8]}"


def _options() -> str:
    """Return the groups of conf/ and their options, for --help: Hydra's own list shows the schemas too."""
    groups = sorted(path for path in paths.CONF.iterdir() if path.is_dir())
    return "\n".join(f"{g.name}: {', '.join(sorted(p.stem for p in g.glob('*.yaml')))}" for g in groups)


def _path_name(text: str) -> str:
    """Return the text as one part of a path; what had to be changed is told apart by a hash."""
    safe = re.sub(r"[^\w=,.+-]+", "_", text)[:_NAME_LENGTH]
    return safe if safe == text else f"{safe}-{fingerprint(text)[:8]}"


def _unknown_keys(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield (full key, known names beside it) for each key its dataclass does not declare."""
    schema = OmegaConf.get_type(cfg)
    known = [f.name for f in fields(schema)] if is_dataclass(schema) else [str(key) for key in cfg]
    for key in map(str, cfg):
        if key not in known:
            yield prefix + key, known
        elif not OmegaConf.is_missing(cfg, key) and isinstance(cfg[key], DictConfig):
            yield from _unknown_keys(cfg[key], f"{prefix}{key}.")
