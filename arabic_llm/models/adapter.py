"""What is trained: PEFT adapters and full weights, put on a base model, saved whole, taken up again."""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from arabic_llm import disk, files, processes
from arabic_llm.config.adapter import AdapterConfig, Method
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.hw import Precision
from arabic_llm.config.model import ModelConfig
from arabic_llm.errors import CheckpointError, ConfigError
from arabic_llm.models import (
    adapter_files,
    adapter_layers,
    adapter_settings,
    bases,
    finite,
    load,
    new_rows,
    opening,
    streaming,
)
from arabic_llm.models.adapter_files import Saved
from arabic_llm.models.adapter_layers import Targets
from arabic_llm.models.bases import Base
from arabic_llm.models.load import Head
from arabic_llm.models.placement import Placement
from arabic_llm.models.vocabulary import NewTokens

log = logging.getLogger(__name__)
_CLASSIFIER = "SEQ_CLS"  # of PEFT's task types


def attach(
    model: PreTrainedModel, adapter: AdapterConfig, base: Base, seed: int, new: NewTokens | None = None
) -> PreTrainedModel:
    """Return the model with what is to be trained: a new adapter, an earlier one, or all its weights.

    A new adapter also trains the rows of new tokens; an earlier one has its own.

    Raises ConfigError when a target module does not exist, or cannot have what is set.
    """
    if adapter.method is Method.full:
        return model
    dtype = adapter.dtype or Precision.float32
    if adapter.path is not None:
        earlier = with_adapter(model, Path(adapter.path), base, is_trainable=True)
        _refuse_on_the_head(earlier, "adapter.path")
        cast(earlier, dtype)
        earlier.create_or_update_model_card = lambda _folder: None
        return earlier
    found = adapter_layers.find(model, adapter.target_modules)
    if found.parameters and (adapter.dropout or adapter.use_dora):
        given = "adapter.use_dora=true" if adapter.use_dora else f"adapter.dropout={adapter.dropout}"
        raise ConfigError(
            f"{given}: PEFT has none for routed experts ({found.parameters[0]}); set it to"
            f" {'false' if adapter.use_dora else 0}, or leave them out of adapter.target_modules"
        )
    if new is not None:
        new_rows.make(model, new)
    set_seed(seed)  # PEFT draws the first matrix
    adapted = get_peft_model(model, _lora_config(adapter, found, model, new))
    if new is not None:
        new_rows.settle(adapted)
    _refuse_on_the_head(adapted, "adapter.target_modules")
    cast(adapted, dtype)
    adapted.create_or_update_model_card = lambda _folder: None  # a template, with the path of the base
    return adapted


def _refuse_on_the_head(model: PreTrainedModel, setting: str) -> None:
    """Refuse low rank on the head of tokens: the loss is made of its own weights (TRL's fused head)."""
    if not is_classifier(model) and isinstance(model.get_output_embeddings(), BaseTunerLayer):
        raise ConfigError(f"{setting}: an adapter on the head (lm_head) is never trained; leave it out")


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

    Raises CheckpointError when there is none, it is torn, it was trained on another base model, it is a
    classifier's and the model is none, or a tensor of it would be left unset or unused.
    """
    adapter_files.refuse_torn(folder)
    saved = adapter_files.read(folder)
    adapter_settings.check(folder, saved.config, [name for name, _ in model.named_modules()])
    trained_for = saved.config.get("task_type") or task_type(model)
    if trained_for != task_type(model):
        raise CheckpointError(
            f"adapter.path: {folder} was trained for {trained_for}, not for {task_type(model)}"
        )
    adapter_files.refuse_other_base(saved, base)
    if (new := adapter_files.new_tokens(saved)) is not None:
        new_rows.make(model, new)
    doubt = f"does not fit {base.folder}: it belongs to another base model, or is damaged"
    with opening.opened(folder, doubt), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # all that PEFT warns of is refused below
        try:
            adapted = PeftModel.from_pretrained(
                model, folder, is_trainable=is_trainable, trust_remote_code=False
            )
        except KeyError as error:  # of modules_to_save
            raise CheckpointError(
                f"{folder / adapter_files.WEIGHTS} lacks {error}; train it again"
            ) from error
    _refuse_strays(adapted, saved)
    if new is not None:
        new_rows.settle(adapted)
    adapted.tie_weights = _stay_as_loaded
    return adapted


def _stay_as_loaded(*_: Any, **__: Any) -> None:
    """Tie nothing: lm-eval ties the head to the table of tokens, and an adapter may have its own."""


def _refuse_strays(model: PreTrainedModel, saved: Saved) -> None:
    """Refuse an adapter that leaves a tensor of the model as PEFT drew it, or one of its file unused."""
    all_there = model.state_dict()
    own = get_peft_model_state_dict(model, state_dict=all_there, save_embedding_layers=False)
    of_base = {name for name in all_there if ".default" not in name}  # PEFT's name of what an adapter adds
    path = saved.folder / adapter_files.WEIGHTS
    if unused := sorted(saved.shapes.keys() - own.keys() - of_base):
        more = f" and {len(unused) - 1} more" if len(unused) > 1 else ""
        raise CheckpointError(
            f"{path}: {unused[0]}{more} would not be used: it was written for another model or by another"
            " library; save it with PEFT's save_pretrained"
        )
    if unset := sorted(own.keys() - saved.shapes.keys()):
        more = f" and {len(unset) - 1} more" if len(unset) > 1 else ""
        raise CheckpointError(
            f"{path} lacks {unset[0]}{more}, which {adapter_files.CONFIG} speaks of; train or copy it again"
        )


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
    loaded = loaded if folder is None else with_adapter(loaded, folder, base)
    streaming.settle(loaded, placement)
    return loaded


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    notes: dict[str, Any],
    base: Base | None = None,
) -> None:
    """Write weights, tokenizer and notes (file name -> JSON or text); the folder appears when it is whole.

    Of an adapter with the name of its base. Of several processes the main one writes, the others wait.
    Raises TrainingError for weights that are not finite.
    """
    finite.refuse(model, f"{folder}, before it was written")
    state = _whole_state(model)
    of = base if isinstance(model, PeftModel) else None
    processes.from_main(lambda: _write((model, state), tokenizer, folder, notes, of))


def _whole_state(model: PreTrainedModel) -> dict[str, Any] | None:
    """Return the weights of a model that is shared out over processes, in the main one; else None."""
    is_shared_out = isinstance(model, FSDPModule)
    if not is_shared_out:
        return None
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state: dict[str, Any] = get_model_state_dict(model, options=options)
    return state


def _write(
    weights: tuple[PreTrainedModel, dict[str, Any] | None],
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    notes: dict[str, Any],
    base: Base | None,
) -> None:
    model, state = weights
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with disk.room_for(partial):
        model.save_pretrained(partial, state_dict=state)
        tokenizer.save_pretrained(partial)
        for name, note in notes.items():
            write = files.write_text if isinstance(note, str) else files.write_json
            write(partial / name, note)
        if base is not None:
            adapter_files.name_base(partial, base)
        files.seal(partial)
    if folder.exists():  # damaged: a whole one is not trained again
        files.set_aside(folder)
    partial.rename(folder)


def trained_hash(folder: Path) -> str:
    """Return a hash of the trained weights in a folder, and of the settings they are used with.

    Raises CheckpointError when there are none.
    """
    weights = sorted([*folder.glob("adapter_model.safetensors"), *folder.glob("model*.safetensors")])
    if not weights:
        inner = next((folder / name for name in ("adapter", "model") if (folder / name).is_dir()), None)
        cure = f"; of the run there give {inner}" if inner is not None else ""
        raise CheckpointError(f"{folder} holds no trained adapter or model (no .safetensors){cure}")
    settings = [path for path in (folder / "adapter_config.json",) if path.exists()]
    return fingerprint([files.sha256(path) for path in (*weights, *settings)])


def known_hashes(model: ModelConfig, adapter: AdapterConfig, cache_dir: Path) -> dict[str, str | None]:
    """Return hashes of the base model and of an earlier adapter, as they lie here (None: there is none).

    Raises CheckpointError when adapter.path holds nothing that was trained, or that fits another base.
    """
    base = bases.known(model, cache_dir)
    if adapter.path is None:
        return {"adapter": None, "base": base.revision if base else None}
    trained, saved = trained_hash(Path(adapter.path)), adapter_files.read(Path(adapter.path))
    adapter_files.refuse_torn(saved.folder)
    adapter_files.refuse_other_settings(saved, adapter)
    if base is not None and (unsaid := adapter_files.refuse_other_base(saved, base)):
        log.info("adapter.path: %s", unsaid)
    return {"adapter": trained, "base": base.revision if base else None}


def ranks(model: PreTrainedModel) -> dict[str, int]:
    """Return the rank of each layer that has an adapter, by its name; of a model without one none."""
    return {
        name: module.r["default"] for name, module in model.named_modules() if isinstance(module, LoraLayer)
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


def _lora_config(
    adapter: AdapterConfig, found: Targets, model: PreTrainedModel, new: NewTokens | None
) -> LoraConfig:
    return LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=found.modules,
        target_parameters=found.parameters or None,
        use_dora=adapter.use_dora,
        use_rslora=adapter.use_rslora,
        task_type=task_type(model),
        modules_to_save=drawn_anew(model),
        trainable_token_indices=None if new is None else new_rows.indices(model, new.ids),
    )
