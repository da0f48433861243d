"""What W&B is told of a run besides its figures: a list of settings, and names without the user's home."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Settings that say what was done. No path, no address, no text of the user's own but names of choices:
# what is not named here does not leave the machine.
SETTINGS = {
    "model": ("name", "kind", "revision", "max_length"),
    "data": (
        *("name", "language", "profile", "dedup", "max_rows", "sample_size", "dev_share", "test_share"),
        *("overflow", "max_lost_share", "num_length_buckets", "prefer_chinese_ratio"),
    ),
    "adapter": (
        *("name", "method", "quantization", "rank", "alpha", "dropout", "dtype", "target_modules"),
        *("use_dora", "use_rslora", "extend_vocabulary"),
    ),
    "suite": ("name", "limit"),
    "task": (
        *("name", "learning_rate", "epochs", "max_steps", "effective_batch_size", "max_length"),
        *("optimizer", "warmup_ratio", "weight_decay", "max_grad_norm", "early_stopping_patience"),
        *("beta", "length_penalty", "loss_type", "reference_free", "label_smoothing", "sft_weight"),
        *("nll_on", "desirable_weight", "undesirable_weight", "num_documents", "stages"),
    ),
}
_SWEEP = "sweep.json"  # as grid.py writes it, beside a sweep's jobs
_MANIFEST = "manifest.json"  # of a study, above its stages
_LONGEST_TAG, _LONGEST_NAME = 64, 128  # characters that W&B takes


def settings(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of SETTINGS that a run has, and its seed, as they are nested in it."""
    told: dict[str, Any] = {
        group: {name: _plain(identity[group][name]) for name in names if name in identity[group]}
        for group, names in SETTINGS.items()
        if group in identity
    }
    return told | ({"seed": identity["seed"]} if "seed" in identity else {})


def tags(identity: Mapping[str, Any]) -> list[str]:
    """Return the names of a run's choices, each once."""
    named = [str(identity[group]["name"]) for group in SETTINGS if "name" in identity.get(group, {})]
    return list(dict.fromkeys(homeless(name)[:_LONGEST_TAG] for name in named if name))


def job_type(identity: Mapping[str, Any]) -> str | None:
    """Return what kind of job it is: its task."""
    name: str | None = identity.get("task", {}).get("name")
    return name


def name(directory: Path) -> str:
    """Return what a run is called: as its folder."""
    return homeless(directory.resolve().name)[:_LONGEST_NAME]


def group(directory: Path) -> str | None:
    """Return the sweep that a run is a job of, else the study that it is a stage of."""
    above = directory.resolve().parents
    for file in (_SWEEP, _MANIFEST):
        for folder in above:
            if (folder / file).is_file():
                here = Path.cwd()
                is_below = here in folder.parents
                shown = folder.relative_to(here) if is_below else Path(folder.name)
                return homeless(shown.as_posix())[-_LONGEST_NAME:]
    return None


def homeless(text: str) -> str:
    """Return a text without where the user's home is, also as it stands in names of folders."""
    home = str(Path.home())
    if home == "/":
        return text
    return text.replace(home, "~").replace(re.sub(r"[^\w=,.+-]+", "_", home), "~")


def _plain(value: Any) -> Any:
    return homeless(value) if isinstance(value, str) else value
