"""What the files of a saved adapter say, before it is put on a model: its kind, its shape, its base."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arabic_llm import files
from arabic_llm.config.adapter import AdapterConfig, EarlierAdapter, Method
from arabic_llm.config.hw import Precision
from arabic_llm.config.run import RunConfig
from arabic_llm.errors import CheckpointError, ConfigError
from arabic_llm.models import opening, vocabulary
from arabic_llm.models.vocabulary import NewTokens

if TYPE_CHECKING:
    from arabic_llm.models.bases import Base

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ABOUT = "arabic_llm.json"  # which base, template and rows an adapter was trained with
_MATRIX = ".lora_A."  # rows: the rank
_TRAINED_ROWS = "trainable_token_indices"
# Of PEFT's LoraConfig, what its own code does for us; a setting beside these may change what a pass says.
_ABOUT_IT = ("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path")
_FIRST_WEIGHTS = ("init_lora_weights", "loftq_config", "eva_config", "corda_config", "lora_ga_config")
_WHERE = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save")
_FOLLOWED = {
    *(
        *_ABOUT_IT,
        *_FIRST_WEIGHTS,
        *_WHERE,
        "inference_mode",
        "r",
        "lora_alpha",
        "lora_dropout",
        "bias",
        "revision",
    ),
    *("rank_pattern", "alpha_pattern", "use_dora", "use_rslora", "lora_bias", "fan_in_fan_out"),
    *("trainable_token_indices", "target_parameters", "ensure_weight_tying"),
    *("megatron_core", "qalora_group_size"),  # of what is refused, and set without it
}


@dataclass(frozen=True)
class Saved:
    """An adapter on the disk."""

    folder: Path
    config: Mapping[str, Any]  # adapter_config.json
    shapes: Mapping[str, tuple[int, ...]]  # of its tensors
    about: Mapping[str, Any]  # what a run of ours noted of it; nothing of one from elsewhere


def read(folder: Path) -> Saved:
    """Return what a folder says of its adapter.

    Raises CheckpointError where there is none, or one that is not low-rank.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            why = f"holds no adapter (no {name})" if folder.is_dir() else "is no folder; a run says its own"
            raise CheckpointError(f"adapter.path: {folder} {why}")
    config = opening.read_object(folder / CONFIG, ("peft_type",))
    ours = ("base_name", "base_revision")
    about = opening.read_object(folder / ABOUT, ours) if (folder / ABOUT).exists() else {}
    _refuse_other_kinds(folder, config)
    return Saved(folder, config, _shapes(folder / WEIGHTS), about)


def refuse_torn(folder: Path) -> None:
    """Refuse an adapter of ours of which a file is not what it was. Raises CheckpointError."""
    if (folder / files.SEAL).exists() and not files.is_whole(folder):
        raise CheckpointError(f"{folder}: a file of this adapter is missing or was changed after training")


def new_tokens(saved: Saved) -> NewTokens | None:
    """Return the tokens that an adapter has added to its base model's, or None.

    Raises CheckpointError where its settings and its rows do not speak of these.
    """
    new, said = vocabulary.of_adapter(saved.folder), saved.config.get(_TRAINED_ROWS)
    path = saved.folder / vocabulary.FILE
    if new is None:
        if saved.about.get("new_tokens"):
            raise CheckpointError(f"{path} is missing: it says what the new tokens are; copy it again")
        return None
    rows = list(said.values()) if isinstance(said, dict) else []
    if not rows or any(own != new.ids for own in rows):
        raise CheckpointError(
            f"{path} and {CONFIG} do not speak of the same tokens; train the adapter or copy it again"
        )
    return new


def _refuse_other_kinds(folder: Path, config: dict[str, Any]) -> None:
    """Refuse what is not LoRA, with DoRA and rsLoRA, and what of LoRA no test of ours has seen."""
    if (kind := config.get("peft_type")) != "LORA":
        raise CheckpointError(
            f"adapter.path: {folder} holds an adapter of kind {kind}; LORA is read, with DoRA and rsLoRA:"
            " merge this one into its base with PEFT and give that as model.path"
        )
    for name, value in config.items():
        if value and name not in _FOLLOWED:
            raise CheckpointError(
                f"adapter.path: {folder}/{CONFIG} sets {name}={value}, which is not followed here:"
                " merge the adapter into its base with PEFT and give that as model.path"
            )


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors in a file, by name."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path}: no tensors can be read ({error}); take the file again") from error


def followed(adapter: AdapterConfig) -> AdapterConfig:
    """Return the adapter that is there, where adapter.path names one, by its tensors: patterns are in them.

    Where its layers have ranks of their own, the highest. Raises ConfigError for numbers it cannot be in.
    """
    if adapter.path is None:
        return adapter
    saved = read(Path(adapter.path))
    matrices = {name: shape for name, shape in saved.shapes.items() if _MATRIX in name}
    layers = {name.partition(_MATRIX)[0]: shape[0] for name, shape in matrices.items()}
    own = {name: getattr(adapter, name) for name in ("name", "quantization", "path")}
    try:
        return EarlierAdapter(
            **own,
            sizes=tuple(sorted(math.prod(shape) for shape in saved.shapes.values())),
            new_tokens=len(new_tokens(saved) or ()),
            method=Method.lora,
            rank=max(layers.values(), default=1),
            alpha=max(1, round(saved.config.get("lora_alpha") or 1)),
            dropout=saved.config.get("lora_dropout") or 0.0,
            dtype=adapter.dtype or Precision.float32,
            target_modules=sorted({name.rpartition(".")[2] for name in layers}),
            use_dora=bool(saved.config.get("use_dora")),
            use_rslora=bool(saved.config.get("use_rslora")),
        )
    except (OverflowError, TypeError, ValueError) as error:
        raise ConfigError(f"adapter.path={adapter.path}: {error}") from error


def as_it_is(config: RunConfig) -> RunConfig:
    """Return a run's configuration with the adapter that adapter.path names, to be planned for."""
    return replace(config, adapter=followed(config.adapter))


def name_base(folder: Path, base: Base) -> None:
    """Write into an adapter what its base is loaded by, from any folder."""
    named = {"base_model_name_or_path": base.reference, "revision": base.hub_revision}
    files.write_json(folder / CONFIG, files.read_json(folder / CONFIG) | named)


def refuse_other_settings(saved: Saved, adapter: AdapterConfig) -> None:
    """Refuse a choice of adapter= that an adapter which is there already contradicts."""
    for name in ("use_dora", "use_rslora"):
        if getattr(adapter, name) and not saved.config.get(name):
            raise CheckpointError(
                f"adapter={adapter.name} says {name}=true, but {saved.folder}/{CONFIG} does not: an adapter"
                " keeps its kind; leave adapter= out, or adapter.path"
            )


def refuse_other_base(saved: Saved, base: Base) -> str | None:
    """Refuse an adapter of another base model; return why nobody can say, or None.

    Raises CheckpointError. Without a revision (a dry run) nothing is compared.
    """
    if not base.revision:
        return None
    about, named = saved.about, saved.config.get("base_model_name_or_path")
    if "base_revision" in about:
        if about["base_revision"] != base.revision:
            raise CheckpointError(
                f"{saved.folder} was trained on {about.get('base_name')} ({about['base_revision']}), not on"
                f" {base.folder} ({base.revision}); choose that model"
            )
        return None
    if not isinstance(named, str) or not named:
        return f"{saved.folder}/{CONFIG} does not say on which base model it was trained"
    if _is_same(named, base):
        return None
    from arabic_llm.models.bases import HUB_ID  # and the hub with it, which a plan has no use for

    if (is_folder := _holds_a_model(Path(named))) or (HUB_ID.fullmatch(named) and base.hub_id):
        cure = "" if is_folder else f", or say that it is the same: model.hub_id={named}"
        raise CheckpointError(
            f"{saved.folder} was trained on {named}, not on {base.hub_id or base.folder};"
            f" choose that model{cure}"
        )
    return f"{saved.folder} was trained on {named}, which nothing here can be compared with"


def _is_same(named: str, base: Base) -> bool:
    """Return whether what an adapter names as its base is this one: by its name, its place, its files."""
    if base.hub_id is not None and named.lower() == base.hub_id.lower():
        return True
    folder = Path(named)
    if not _holds_a_model(folder):
        return False
    own = _weights(folder)
    return folder.resolve() == base.folder.resolve() or (bool(own) and own == _weights(base.folder))


def _holds_a_model(folder: Path) -> bool:
    with suppress(OSError):  # what an adapter names may be too long for a path
        return (folder / "config.json").is_file()
    return False


def _weights(folder: Path) -> dict[str, str]:
    paths = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    return {path.name: files.sha256(path) for path in paths}
