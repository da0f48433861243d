"""What is trained: PEFT adapters and full weights, put on a base model, saved whole, taken up again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from arabic_llm import disk, files, processes
from arabic_llm.config.adapter import AdapterConfig, Method
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.hw import Precision
from arabic_llm.config.model import ModelConfig
from arabic_llm.errors import CheckpointError, ConfigError
from arabic_llm.models import bases, families, load
from arabic_llm.models.bases import Base
from arabic_llm.models.families import ALL_LINEAR
from arabic_llm.models.load import Head
from arabic_llm.models.placement import Placement

ABOUT = "arabic_llm.json"  # which base, template and rows an adapter was trained with
_CLASSIFIER = "SEQ_CLS"  # of PEFT's task types


def target_modules(adapter: AdapterConfig, model_type: str) -> list[str] | str:
    """Return the names of the layers that get an adapter: as given, or all linear ones.

    An architecture we do not know is left to PEFT, which then looks at the layers themselves.
    """
    if adapter.target_modules != [ALL_LINEAR]:
        return list(adapter.target_modules)
    return families.linear_modules(model_type)


def attach(model: PreTrainedModel, adapter: AdapterConfig, base: Base, seed: int) -> PreTrainedModel:
    """Return the model with what is to be trained: a new adapter, an earlier one, or all its weights.

    Raises ConfigError when a target module does not exist.
    """
    if adapter.method is Method.full:
        return model
    dtype = adapter.dtype or Precision.float32
    if adapter.path is not None:
        earlier = with_adapter(model, Path(adapter.path), base, is_trainable=True)
        cast(earlier, dtype)
        return earlier
    targets = target_modules(adapter, model.config.model_type)
    there = sorted(
        {name.rpartition(".")[2] for name, module in model.named_modules() if _is_linear(module)}
    )
    if missing := [name for name in targets if targets != ALL_LINEAR and name not in there]:
        raise ConfigError(
            f"adapter.target_modules: this model has no '{missing[0]}'; there are: {', '.join(there)}"
        )
    set_seed(seed)  # PEFT draws the first matrix
    adapted = get_peft_model(model, _lora_config(adapter, targets, model))
    cast(adapted, dtype)
    return adapted


def cast(model: PreTrainedModel, dtype: Precision) -> None:
    """Hold what PEFT has added to a model in a type, and a new head, as its base is, in float32."""
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.to(getattr(torch, dtype.name))
        elif parameter.requires_grad:  # small updates would be lost
            parameter.data = parameter.data.float()


def with_adapter(
    model: PreTrainedModel, folder: Path, base: Base, *, is_trainable: bool = False
) -> PreTrainedModel:
    """Return the model with a saved adapter on it.

    Raises CheckpointError when there is none, it is torn, it was trained on another base model, or it is
    a classifier's and the model is none.
    """
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise CheckpointError(f"adapter.path: {folder} holds no adapter (no {name})")
    if (folder / files.SEAL).exists() and not files.is_whole(folder):
        raise CheckpointError(f"{folder}: a file of this adapter is missing or was changed after training")
    trained_for = files.read_json(folder / "adapter_config.json")["task_type"]
    if _CLASSIFIER in (trained_for, task_type(model)) and trained_for != task_type(model):
        raise CheckpointError(
            f"adapter.path: {folder} was trained for {trained_for}, not for {task_type(model)}"
        )
    about = files.read_json(folder / ABOUT) if (folder / ABOUT).exists() else {}
    if about and about["base_revision"] != base.revision:
        raise CheckpointError(
            f"{folder} was trained on {about['base_name']} ({about['base_revision']}), not on"
            f" {base.folder} ({base.revision}); choose that model"
        )
    try:
        return PeftModel.from_pretrained(model, folder, is_trainable=is_trainable)
    except (RuntimeError, ValueError) as error:  # sizes that do not match, layers that are not there
        raise CheckpointError(
            f"{folder} does not fit {base.folder}: it belongs to another base model"
        ) from error


def load_trained(
    model: ModelConfig,
    base: Base,
    adapter: AdapterConfig,
    placement: Placement,
    folder: Path | None,
    head: Head | None = None,
) -> PreTrainedModel:
    """Return the model to be evaluated: the base, or with what `folder` holds, adapter or full weights."""
    if folder is not None and adapter.method is Method.full:
        return load.base_model(model, Base(folder, trained_hash(folder)), adapter, placement, head)
    loaded = load.base_model(model, base, adapter, placement, head)
    return loaded if folder is None else with_adapter(loaded, folder, base)


def save(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, notes: dict[str, Any]
) -> None:
    """Write weights, tokenizer and notes (file name -> JSON); the folder appears when it is whole.

    Of several processes the main one writes, and the others wait until it has.
    """
    state = _whole_state(model)
    processes.from_main(lambda: _write(model, state, tokenizer, folder, notes))


def _whole_state(model: PreTrainedModel) -> dict[str, Any] | None:
    """Return the weights of a model that is shared out over processes, in the main one; else None."""
    is_shared_out = isinstance(model, FSDPModule)
    if not is_shared_out:
        return None
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state: dict[str, Any] = get_model_state_dict(model, options=options)
    return state


def _write(
    model: PreTrainedModel,
    state: dict[str, Any] | None,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    notes: dict[str, Any],
) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with disk.room_for(partial):
        model.save_pretrained(partial, state_dict=state)
        tokenizer.save_pretrained(partial)
        for name, note in notes.items():
            files.write_json(partial / name, note)
        files.seal(partial)
    if folder.exists():  # torn: a whole one is not trained again
        shutil.rmtree(folder)
    partial.rename(folder)


def trained_hash(folder: Path) -> str:
    """Return a hash of the trained weights in a folder, and of the settings they are used with.

    Raises CheckpointError when there are none.
    """
    weights = sorted([*folder.glob("adapter_model.safetensors"), *folder.glob("model*.safetensors")])
    if not weights:
        raise CheckpointError(f"{folder} holds no trained adapter or model (no .safetensors)")
    settings = [path for path in (folder / "adapter_config.json",) if path.exists()]
    return fingerprint([files.sha256(path) for path in (*weights, *settings)])


def known_hashes(model: ModelConfig, adapter: AdapterConfig, cache_dir: Path) -> dict[str, str | None]:
    """Return hashes of the base model and of an earlier adapter, as they lie here (None: there is none).

    Raises CheckpointError when adapter.path holds nothing that was trained.
    """
    return {
        "adapter": trained_hash(Path(adapter.path)) if adapter.path else None,
        "base": bases.known_revision(model, cache_dir),
    }


def is_classifier(model: PreTrainedModel) -> bool:
    """Return whether a model, with its adapter or without, has a head of classes."""
    return any(hasattr(model, name) for name in load.HEADS)


def task_type(model: PreTrainedModel) -> str:
    """Return what PEFT calls the model's task; a classifier's head is trained and saved whole."""
    return _CLASSIFIER if is_classifier(model) else "CAUSAL_LM"


def drawn_anew(model: PreTrainedModel) -> list[str] | None:
    """Return what a model of tokens lacks, but for the head: trained and saved whole, as the head is."""
    is_there = any(name.endswith(".pooler") for name, _ in model.named_modules())
    return ["pooler"] if is_there else None


def _lora_config(adapter: AdapterConfig, targets: list[str] | str, model: PreTrainedModel) -> LoraConfig:
    return LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=targets,
        use_dora=adapter.use_dora,
        use_rslora=adapter.use_rslora,
        task_type=task_type(model),
        modules_to_save=drawn_anew(model),
    )


def _is_linear(module: Any) -> bool:
    return "Linear" in type(module).__name__
