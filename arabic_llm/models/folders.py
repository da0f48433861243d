"""Where a base model lies, and whether its config.json has the shape that is planned for; without torch."""

from __future__ import annotations

import json
from pathlib import Path

from arabic_llm.config.model import ModelConfig
from arabic_llm.config.paths import PACKAGE
from arabic_llm.errors import ConfigError
from arabic_llm.models.families import OTHER, architecture

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


def check_shape(model: ModelConfig, folder: Path) -> None:
    """Refuse a folder whose config.json is not the architecture that the model's YAML describes.

    Raises ConfigError naming the first field that is missing or differs.
    """
    path = folder / CONFIG
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        found = {**said, **vars(architecture({**said, "name": folder}))}
    except ValueError as error:
        raise ConfigError(f"{path}: no JSON ({error}); take the file of the model again") from error
    except ConfigError as error:
        raise ConfigError(f"{error}; take the file of the model again, or set model.path") from error
    for key, expected in model.architecture.fields().items():
        value = found.get(key)
        # What is not there at all is seen when it is loaded.
        if value != expected and (value is not None or key in said):
            setting = f"{OTHER}.{key}" if key in model.architecture.other else key
            raise ConfigError(
                f"{path}: {key} is {value}, but model={model.name} says {expected};"
                f" set model.architecture.{setting}={value}, or give the right model.path"
            )
