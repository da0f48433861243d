"""Where a base model lies, and whether its config.json has the shape that is planned for; without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arabic_llm.config.model import ArchitectureConfig, ModelConfig
from arabic_llm.config.paths import PACKAGE
from arabic_llm.errors import ConfigError
from arabic_llm.models import families, opening, text_part
from arabic_llm.models.families import OTHER, architecture

_SIZES = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"),
    *("num_key_value_heads", "head_dim", "max_position_embeddings", "type_vocab_size"),
)
MODELS = Path("models")  # beside the user's project: models/<name>/
CONFIG = "config.json"


def place(model: ModelConfig) -> Path:
    """Return the folder where a model is looked for first, and downloaded to."""
    return Path(model.path).expanduser() if model.path is not None else MODELS / model.name


def folder(model: ModelConfig) -> Path | None:
    """Return the folder, in the package or of yours, with the config.json of a model, or None.

    Raises ConfigError for a model.path without one.
    """
    given = PACKAGE / "models" / model.name if model.builtin else place(model)
    if (given / CONFIG).is_file():
        return given
    if model.path is not None:
        raise ConfigError(f"model.path={model.path}: no {CONFIG} there; give the folder of the model")
    return None


def shape(folder: Path) -> ArchitectureConfig:
    """Return the shape of the model in a folder, from its config.json alone.

    A family of the table is read without torch. Raises ConfigError naming the first field that is missing,
    CheckpointError for no JSON.
    """
    said = opening.read_object(folder / CONFIG)
    _check_sizes(folder / CONFIG, said)
    if not text_part.has(said) and families.known(str(said.get("model_type"))) is not None:
        try:
            return architecture({**said, "name": folder})
        except ConfigError as error:
            raise ConfigError(f"{error}; take the file of the model again, or set model.path") from error
    from arabic_llm.models import shape  # imports torch

    with opening.opened(folder):
        try:
            return shape.of_settings(said)
        except ConfigError as error:
            raise ConfigError(f"{folder / CONFIG}: {error}") from error


def check_shape(model: ModelConfig, folder: Path) -> None:
    """Refuse a folder whose config.json is not the architecture that the model's YAML describes.

    Raises ConfigError naming the fields that are missing or differ, CheckpointError for no JSON.
    """
    path, read = folder / CONFIG, shape(folder)
    said = text_part.fields(opening.read_object(path))
    found, differing = {**said, **vars(read), **read.other}, []
    for key, expected in model.architecture.fields().items():
        value = found.get(key)
        # What is not there at all is seen when it is loaded.
        if value != expected and (value is not None or key in said):
            setting = f"{OTHER}.{key}" if key in model.architecture.other else key
            differing.append((key, value, expected, setting))
    if differing:
        key, value, expected, setting = differing[0]
        others = ", ".join(name for name, *_ in differing[1:])
        more = f" (and so on: {others})" if others else ""
        raise ConfigError(
            f"{path}: {key} is {value}, but model={model.name} says {expected}{more};"
            f" set model.architecture.{setting}={value}, or give the right model.path; model=auto takes the"
            " model as it is"
        )


def _check_sizes(path: Path, said: dict[str, Any]) -> None:
    for name in _SIZES:
        value = said.get(name)
        if name in said and not (isinstance(value, int) and value > 0) and value is not None:
            raise ConfigError(
                f"{path}: {name} is {value!r:.40}, and no size; take the file of the model again"
            )
