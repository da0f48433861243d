"""Where YAML meets types: register the schemas, then turn a composed config into dataclasses."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from typing import Any, cast

from hydra._internal.hydra import Hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from arabic_llm.config import adapter, naming, paths, quoting, schemas, suite, typed_places
from arabic_llm.config.complaints import did_you_mean
from arabic_llm.config.fingerprint import plain
from arabic_llm.config.model import ModelConfig
from arabic_llm.config.naming import without_how
from arabic_llm.config.reads import refuse_unread
from arabic_llm.config.run import RunConfig
from arabic_llm.errors import ConfigError

log = logging.getLogger(__name__)
_MOST = 1e37  # AdamW's first step multiplies the learning rate by 10, and float32 ends at 3.4e38
_NARROW, _RATE_OF_NARROW = 512, 1e-3  # as the built-in model, of a width of 192, was found to need
_SWEEP = ("-m", "--multirun")
_MEANT = (  # what is chosen; where these are typed; and none of these, which are of the default option
    ("model=auto", {"model.path", "model.hub_id"}, {"model.builtin", "model.name"}),
    ("data=local", {"data.path"}, {"data.builtin", "data.name", "data.sources"}),
    ("data@task.pairs=local", {"task.pairs.path"}, {"task.pairs.builtin", "task.pairs.name"}),
)
_PAIRS = re.compile(r"^task\.pairs=(?=[\w,]+$)", re.ASCII)
_SERVERS = (  # settings that take an address, and the key of who listens there
    (re.compile(r"\+*judge(\.endpoint)?\s*="), "judge.endpoint", "ARABIC_LLM_JUDGE_KEY"),
    (
        re.compile(r"\+*task\.server(\.endpoint)?\s*="),
        "task.server.endpoint",
        "ARABIC_LLM_SYNTHESIS_KEY",
    ),
)


class ExperimentRecipes(SearchPathPlugin):
    """Make experiments/experiment/*.yaml selectable as `+experiment=<name>`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put experiments/ after conf/ (Hydra calls this)."""
        search_path.append("arabic-llm", paths.EXPERIMENTS.as_uri())


@cache  # Hydra keeps it for the whole process, and a schema takes some milliseconds
def register() -> None:
    """Tell Hydra the schema of conf/, of each task, where the recipes are, and how runs are named."""
    store = ConfigStore.instance()
    # Hydra copies what holds its store each time that it composes, a fifth of the time, and only reads it.
    ConfigStore.__deepcopy__ = lambda self, _: self  # type: ignore[attr-defined]
    store.store(name="schema", node=RunConfig)
    for node in schemas.TASKS:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node.__name__.removesuffix("Config")).lower()
        store.store(group="task", name=f"{name}_schema", node=node)
    Plugins.instance().register(ExperimentRecipes)
    OmegaConf.register_new_resolver("run_name", naming.run_name, replace=True)
    OmegaConf.register_new_resolver("data_name", naming.data_name, replace=True)
    OmegaConf.register_new_resolver("job_name", naming.job_name, replace=True)
    OmegaConf.register_new_resolver("report_name", naming.report_name, replace=True)
    OmegaConf.register_new_resolver("sweep_name", naming.sweep_name, replace=True)
    OmegaConf.register_new_resolver("model_name", naming.model_name, replace=True)
    OmegaConf.register_new_resolver("learning_rate_of_width", _learning_rate, replace=True)


def _learning_rate(*, _parent_: DictConfig) -> float:
    """Return the learning rate of adapters on a model of which only its width is known."""
    shape = _parent_.architecture
    is_narrow = not OmegaConf.is_missing(shape, "hidden_size") and shape.hidden_size <= _NARROW
    return _RATE_OF_NARROW if is_narrow else ModelConfig.learning_rate


@contextmanager
def once() -> Iterator[None]:
    """Let Hydra compose a run once: it does so before, only to learn a hydra.mode that conf/ never sets."""
    words = ("experiment", "hydra.mode", "hydra/", "searchpath")
    if any(
        argument.startswith("--") or any(word in argument for word in words) for argument in sys.argv[1:]
    ):
        yield
        return
    asking = Hydra.get_mode
    Hydra.get_mode = lambda *_args, **_settings: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = asking  # type: ignore[method-assign]


def refuse_typed_secrets(arguments: Iterable[str]) -> None:
    """Refuse a server's address with a key in it before Hydra writes what was typed to a file.

    Raises ConfigError, which does not say it.
    """
    for typed in arguments:
        for pattern, setting, key in _SERVERS:
            if pattern.match(typed):
                try:
                    suite.refuse_secret(typed.partition("=")[2], setting, key)
                except ValueError as error:
                    raise ConfigError(str(error)) from None


def sweep_first(arguments: list[str]) -> list[str]:
    """Return what was typed, -m first: behind settings, argparse gives Hydra none of those that follow."""
    return sorted(arguments, key=lambda argument: argument not in _SWEEP)


def meant(arguments: list[str]) -> list[str]:
    """Return what was typed, with the option of a group that a place of yours can only mean.

    A model's folder or repository given alone is of model=auto, rows given alone are data=local.
    A study's pairs are a choice of data, whose group Hydra wants to be told. Texts are quoted for it.
    """
    is_sweep = any(argument in _SWEEP for argument in arguments)
    arguments = [quoting.quoted(argument, is_sweep=is_sweep) for argument in arguments]
    arguments = [_PAIRS.sub("data@task.pairs=", argument) for argument in arguments]
    keys = {argument.lstrip("+~").partition("=")[0] for argument in arguments}
    if any(key.startswith("-") and key not in _SWEEP for key in keys) or "experiment" in keys:
        return arguments  # a recipe chooses its own
    own = []
    for choice, places, others in _MEANT:
        group = choice.partition("=")[0]
        typed = [a for a in arguments if a.partition("=")[0] in places and a.partition("=")[2] != "null"]
        if typed and group not in keys and not keys & others:
            own.append(choice)
    return [*arguments, *own]


def without_meant(overrides: list[str]) -> list[str]:
    """Return overrides as a person types them: without the choices and quotes that `meant` puts back."""
    bare = [quoting.plain(override) for override in overrides]
    for choice, _, _ in _MEANT:
        others = [override for override in bare if override != choice]
        if choice in bare and choice in meant(others):
            bare = others
    return bare


def to_config(
    cfg: DictConfig,
    overrides: Iterable[str] = (),
    complete: Callable[[DictConfig], None] = lambda _cfg: None,
) -> RunConfig:
    """Return the composed config as dataclasses; `overrides` are those that were typed for it.

    `complete` sets in it what no YAML says, where that is read from elsewhere.

    Raises ConfigError for a key no schema has (`+adapter.rnak=8` passes Hydra's own check), for a mandatory
    value left out, for a number that is not finite (no bound refuses nan: it is neither below nor above
    one), for a value its dataclass refuses, and for one that was typed and nothing reads.
    """
    for key, known in _unknown_keys(cfg):
        raise ConfigError(f"no setting '{key}'{did_you_mean(key, known)}")
    complete(cfg)
    if missing := OmegaConf.missing_keys(cfg):
        keys = sorted(missing)
        raise ConfigError(f"no value for {', '.join(keys)}; write {' '.join(f'{key}=...' for key in keys)}")
    for key, value in _not_finite(OmegaConf.to_container(cfg)):
        raise ConfigError(f"{key}={value} is not finite where 32 bits hold it; give another number")
    try:
        if cfg.adapter.path is not None:
            cfg.adapter.path = adapter.of_run(cfg.adapter.path)
        config = cast(RunConfig, OmegaConf.to_object(cfg))
    except (ValueError, OmegaConfBaseException) as error:
        said = typed_places.of_refused(cfg) or str(error)
        raise ConfigError(said.splitlines()[0]) from error
    refuse_unread(config, overrides)
    if (ratio := cfg.data.prefer_chinese_ratio) is not None:
        log.info(
            "data.prefer_chinese_ratio=%s: read as data.language_quotas.zh, a share of what is drawn", ratio
        )
    return config


def typed() -> list[str]:
    """Return the overrides of the command line that this run was started with, as they were typed."""
    return list(HydraConfig.get().overrides.task)


def identity(config: RunConfig) -> dict[str, Any]:
    """Return what decides the outcome of a run, as plain values: the config without the keys of HOW."""
    return without_how(cast(dict[str, Any], plain(asdict(config))))


def _unknown_keys(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield (full key, known names beside it) for each key its dataclass does not declare."""
    schema = OmegaConf.get_type(cfg)
    known = [f.name for f in fields(schema)] if is_dataclass(schema) else [str(key) for key in cfg]
    for key in map(str, cfg):
        if key not in known:
            yield prefix + key, known
        elif not OmegaConf.is_missing(cfg, key) and isinstance(cfg[key], DictConfig):
            yield from _unknown_keys(cfg[key], f"{prefix}{key}.")


def _not_finite(values: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Yield (full key, value) of each number that is infinite or none, or so in 32 bits after a step."""
    if isinstance(values, float) and not abs(values) < _MOST:
        yield key, values
    elif isinstance(values, dict | list):
        for name, value in values.items() if isinstance(values, dict) else enumerate(values):
            yield from _not_finite(value, f"{key}.{name}".lstrip("."))
