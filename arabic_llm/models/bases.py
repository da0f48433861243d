"""Base models on this disk: a local folder, the hub's cache, then the network; without torch."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from arabic_llm import files, hub
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.model import ModelConfig
from arabic_llm.config.naming import model_name
from arabic_llm.config.paths import CONF, PACKAGE
from arabic_llm.errors import UserError
from arabic_llm.models import from_gguf, opening
from arabic_llm.models.folders import place

_BIN = "pytorch_model.bin"  # weights of older repositories; torch.load reads tensors only
_HASHED = ("*.safetensors", _BIN, "config.json", "tokenizer.json", "tokenizer.model", "vocab.txt")
_TOKENIZER = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "config.json")
_WANTED = ("*.json", "*.safetensors", "*.model", "*.jinja")
_TALK = ("generation_config.json", "added_tokens.json", "chat_template.j*")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)  # owner/name


class MissingModelError(UserError):
    """The model's files are neither in a folder, nor in the hub cache, nor reachable."""


@dataclass(frozen=True)
class Base:
    """A base model on this disk. `revision` is a hash of its files, wherever they came from."""

    folder: Path
    revision: str
    hub_id: str | None = None  # owner/name of it on the hub, as its YAML or its user says
    hub_revision: str | None = None  # where it lies in the hub's cache

    @property
    def reference(self) -> str:
        """Return what transformers loads it by, from any folder: its name on the hub, or where it lies."""
        return str(self.hub_id) if self.hub_revision else str(self.folder.absolute())


def locate(model: ModelConfig, cache_dir: Path | None, *, network: bool = True) -> Base:
    """Return the folder of a model with its configuration, tokenizer and weights.

    Hashes of weights are kept in cache_dir; without one (a dry run) the revision stays empty.
    Raises MissingModelError, which says what is missing, where it may be put and what fetches it.
    """
    folder = _folder(model, network=network)
    opening.check(folder)
    revision = files_hash(folder, cache_dir) if cache_dir else ""
    is_of_hub = not model.builtin and model.path is None and folder != place(model)
    return Base(folder, revision, model.hub_id, model.revision if is_of_hub else None)


def repository(model: ModelConfig) -> hub.Repository:
    """Return the files of the hub that make up a model."""
    return hub.Repository(str(model.hub_id), model.revision, (*_WANTED, *model.extra_files))


def known(model: ModelConfig, cache_dir: Path) -> Base | None:
    """Return a model that is on this disk, or None."""
    try:
        return locate(model, cache_dir, network=False)
    except MissingModelError:
        return None


def known_revision(model: ModelConfig, cache_dir: Path) -> str | None:
    """Return the revision of a model that is on this disk, or None."""
    base = known(model, cache_dir)
    return None if base is None else base.revision


def known_folder(model: ModelConfig) -> Path | None:
    """Return where a model lies on this disk, or None."""
    try:
        return _folder(model, network=False)
    except MissingModelError:
        return None


def tokenizer_base(model: ModelConfig) -> Base:
    """Return a folder that holds the tokenizer of a model, whether its weights are there or not.

    Raises MissingModelError, which says what is missing, where it may be put and what fetches it.
    """
    given = place(model)
    if not model.builtin and _has_tokenizer(given):
        opening.check(given)
        return Base(given, "")
    if model.hub_id is not None and model.path is None and not given.exists():
        repository = hub.Repository(model.hub_id, model.revision, _TOKENIZER)
        with suppress(hub.UnreachableError):  # said below
            folder = hub.snapshot(repository, _has_tokenizer, network=True)
            opening.check(folder)
            return Base(folder, "")
    return locate(model, None)


def tokenizer_of(name: str, folder: Path) -> Base:
    """Return a folder that holds the tokenizer of a model. Raises MissingModelError where it does not."""
    if not _has_tokenizer(folder):
        raise MissingModelError(f"model={name}: {folder} has no tokenizer_config.json")
    return Base(folder, "")


def settings_folder(model: ModelConfig, *, network: bool, tokenizer: bool) -> Path | None:
    """Return a folder with the config.json of a model, and its tokenizer if asked for; None: not here.

    Raises MissingModelError where it is nowhere and the network was tried, or a folder has something else.
    """
    given = place(model)
    if model.path is not None or given.exists():
        if not (given / "config.json").is_file():
            raise MissingModelError(f"model={model.name}: {given} {_instead(given)}")
        return given
    if model.hub_id is None or not HUB_ID.fullmatch(model.hub_id):
        raise MissingModelError(
            f"model={model.name}: model.hub_id={model.hub_id} is no owner/name of the hub; give that, or a"
            " folder (model.path=my/folder)"
        )
    names = (*_TOKENIZER, *_TALK) if tokenizer else ("config.json", "tokenizer_config.json")
    wanted = hub.Repository(model.hub_id, model.revision, names)

    def has_them(folder: Path) -> bool:
        return (folder / "config.json").is_file() and (not tokenizer or _has_tokenizer(folder))

    try:
        return hub.snapshot(wanted, has_them, network=network)
    except hub.UnreachableError as error:
        if not network:
            return None
        raise _unreachable(model, error) from error


def _instead(folder: Path) -> str:
    """Return what a folder without config.json is, and the cure."""
    if folder.is_file():
        return "is a file; give the folder of the model"
    if not folder.is_dir():
        return "is not there; give the folder of the model"
    if (folder / "adapter_config.json").is_file():
        return "holds an adapter: name it with adapter.path, and as the model the one it was trained on"
    return f"has no {_missing(folder)}"


def files_hash(folder: Path, cache_dir: Path) -> str:
    """Return a hash of a model's weights, configuration and tokenizer; large files are read once."""
    paths = sorted(file for pattern in _HASHED for file in folder.glob(pattern))
    return fingerprint({path.name: files.known_sha256(path, cache_dir) for path in paths})


def _folder(model: ModelConfig, *, network: bool) -> Path:
    """Return where the model lies: in the package, model.path, models/<name>, the hub's cache, the hub."""
    if model.builtin:
        if _missing(own := PACKAGE / "models" / model.name):
            raise MissingModelError(f"model={model.name} is not built in; leave model.builtin=true out")
        return own
    given = place(model)
    if model.path is not None or given.exists():
        if missing := _missing(given):
            raise MissingModelError(f"model={model.name}: {given} has no {missing}")
        return given
    return _from_hub(model, network=network)


def _from_hub(model: ModelConfig, *, network: bool) -> Path:
    if model.hub_id is None:
        raise MissingModelError(
            f"model={model.name} has neither model.path nor model.hub_id{from_gguf.cure(model)}"
        )
    wanted = repository(model)
    try:
        return hub.snapshot(wanted, lambda folder: _missing(folder) is None, network=network)
    except hub.UnreachableError as error:
        raise _unreachable(model, error) from error


def _unreachable(model: ModelConfig, error: hub.UnreachableError) -> MissingModelError:
    why, wanted = f" ({error})" if str(error) else "", repository(model)
    has_yaml = (CONF / "model" / f"{model.name}.yaml").exists()
    is_auto = not has_yaml and model.name == model_name(None, model.hub_id)
    typed = f"model=auto model.hub_id={model.hub_id}" if is_auto else f"model={model.name}"
    return MissingModelError(
        f"the weights of {model.hub_id} are not here and cannot be reached{why}{from_gguf.cure(model)};"
        " put them in"
        f" {place(model)}/ (or set model.path), or {hub.cure(wanted, place(model), typed)}"
    )


def _has_tokenizer(folder: Path) -> bool:
    """Return whether a tokenizer is there; older ones of BERT are a list of pieces and no more."""
    return any((folder / name).is_file() for name in ("tokenizer_config.json", "vocab.txt"))


def _only_gguf(folder: Path) -> str | None:
    """Return the name of a GGUF in a folder without other weights, or None."""
    if any(next(folder.glob(pattern), None) for pattern in ("*.safetensors", "*.bin")):
        return None
    return min((path.name for path in folder.glob("*.gguf")), default=None)


def _missing(folder: Path) -> str | None:
    """Return the name of a file without which the folder is no model, or None."""
    if gguf := _only_gguf(folder):
        return (
            f"model.safetensors, but {gguf}, and GGUF is not read: take the repository that it was made"
            " from, which its card names as base_model"
        )
    if not (folder / "config.json").is_file():
        return "config.json"
    if not _has_tokenizer(folder):
        return "tokenizer_config.json"
    if (folder / opening.INDEX).is_file():
        return next((name for name in opening.shards(folder) if not (folder / name).is_file()), None)
    has_weights = any((folder / name).is_file() for name in ("model.safetensors", _BIN))
    if not has_weights and (shards := sorted(folder.glob("pytorch_model-*.bin"))):
        cure = "transformers' save_pretrained writes them as safetensors"
        return (
            f"model.safetensors; {shards[0].name} is one of several .bin shards, which are not read: {cure}"
        )
    return None if has_weights else "model.safetensors"
