"""What a search looks in: ranges as Hydra writes them, as the distributions that optuna draws from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from arabic_llm.config import naming
from arabic_llm.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Space = dict[str, "BaseDistribution | str"]  # key -> where it is drawn from, or the value that was typed
_DIGITS = 4  # of a number that is drawn: enough to tell trials apart, and short in a folder's name


def of(cfg: DictConfig, loader: ConfigLoader) -> Space:
    """Return what was typed, or stands in a recipe, with its ranges. Raises ConfigError for none."""
    parsed = OverridesParser.create(loader).parse_overrides(naming.given(cfg.hydra))
    space: Space = {}
    for override in parsed:
        key = override.get_key_element()
        swept = override.is_sweep_override()
        is_whole = isinstance(OmegaConf.select(cfg, key.lstrip("+~")), int)
        space[key] = _distribution(override, is_whole) if swept else override.get_value_element_as_str()
    if all(isinstance(one, str) for one in space.values()):
        raise ConfigError(
            "sweep.search.trials: nothing to search; give a range, e.g. adapter.rank=range(4,65,4), or"
            " 'task.learning_rate=tag(log,interval(1e-5,1e-2))'"
        )
    return space


def refuse_endless(hydra: Any, loader: ConfigLoader) -> None:
    """Refuse an interval where every value would be tried. Raises ConfigError."""
    for override in OverridesParser.create(loader).parse_overrides(naming.given(hydra)):
        if override.is_interval_sweep():
            key = override.get_key_element()
            raise ConfigError(
                f"{key}: an interval has no end of values to try; set sweep.search.trials=20, or name"
                f" values: {key}=a,b"
            )


def typed(key: str, value: Any) -> str:
    """Return a value that was drawn, as it is typed."""
    return f"{key}={value:.{_DIGITS}g}" if isinstance(value, float) else f"{key}={value}"


def _distribution(override: Override, is_whole: bool) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution

    value: Any = override.value()
    if override.is_interval_sweep():
        return _between(override.get_key_element(), value, is_whole)
    values = list(override.sweep_string_iterator())
    if override.is_range_sweep():
        return _in_steps(override.get_key_element(), value, values)
    return CategoricalDistribution(values)


def _in_steps(key: str, value: Any, values: list[str]) -> BaseDistribution:
    """Return a range: from its first value to its last one."""
    from optuna.distributions import FloatDistribution, IntDistribution

    numbers = sorted(map(float, values))
    if not numbers:
        raise ConfigError(f"{key}: this range has no value")
    if "log" in value.tags:
        raise ConfigError(f"{key}: a range has steps of one size; tag(log,interval(a,b)) has none")
    if all(number.is_integer() for number in (*numbers, float(value.step))):
        return IntDistribution(int(numbers[0]), int(numbers[-1]), step=abs(int(value.step)))
    return FloatDistribution(numbers[0], numbers[-1], step=abs(value.step))


def _between(key: str, value: Any, is_whole: bool) -> BaseDistribution:
    """Return an interval: between its ends, by size where its tag is log, in whole numbers if need be."""
    from optuna.distributions import FloatDistribution, IntDistribution

    start, end, is_log = value.start, value.end, "log" in value.tags
    if others := value.tags - {"log"}:
        raise ConfigError(f"{key}: no tag '{min(others)}'; there is: log")
    if not start < end:
        raise ConfigError(f"{key}: an interval goes up; {start} is not below {end}")
    if is_log and start <= 0:
        raise ConfigError(f"{key}: tag(log,...) needs an interval above 0, not from {start}")
    if is_whole and not (float(start).is_integer() and float(end).is_integer()):
        raise ConfigError(f"{key} takes whole numbers: so must be the ends {start} and {end}")
    if is_whole or (isinstance(start, int) and isinstance(end, int)):
        return IntDistribution(int(start), int(end), log=is_log)
    return FloatDistribution(float(start), float(end), log=is_log)
