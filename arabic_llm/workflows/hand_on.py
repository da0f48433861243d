"""A trained run in the forms that others load, each proved before it gets its name."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import PreTrainedModel

from arabic_llm import disk, files
from arabic_llm.config.hw import MIB, Precision
from arabic_llm.config.task import ExportConfig, ExportFormat, WeightType
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.errors import CheckpointError, HardwareError
from arabic_llm.export import (
    agreement,
    beside_weights,
    gguf_agreement,
    gguf_file,
    gguf_vocabulary,
    llama_cpp,
    logits,
    ollama_template,
    streamed,
    tensor_files,
)
from arabic_llm.export.merging import Merged
from arabic_llm.export.reference import Reference
from arabic_llm.models import adapter, adapter_files, placement
from arabic_llm.models.bases import Base
from arabic_llm.models.placement import Placement
from arabic_llm.reports import model_card
from arabic_llm.workflows import seen
from arabic_llm.workflows.trained_run import TrainedRun

log = logging.getLogger(__name__)
PROOF = "proof.json"  # of an exported folder: what was found when it was held against the model
_ON_CPU = Placement("cpu", Precision.float32, 1, 1, False, "CPU")
_BESIDE = ("*.json", "*.jinja", "*.model", "*.txt", adapter_files.WEIGHTS)
_OF_TRAINING = (
    "lint.json",
    "ledger.json",
    "outcome.json",
    files.SEAL,
)  # rows of the data are named in them

Proof = dict[str, Any]  # line: what is said of it; and its numbers
Card = Callable[[ExportFormat, Proof], str]


@dataclass(frozen=True)
class Source:
    """What is exported: a run, its base, how it talks, and how its card is written."""

    run: TrainedRun
    base: Base
    codec: Codec
    card: Card


def hand_on(source: Source, task: ExportConfig, directory: Path) -> dict[Path, Proof]:
    """Return each folder that was made, or was there, and its proof.

    Raises ModelError for a form that does not hold: nothing is left under its name.
    """
    reference = Reference(partial(_trained, source), source.codec)
    made: dict[Path, Proof] = {}
    for form in (ExportFormat.adapter, ExportFormat.merged, ExportFormat.gguf):
        wanted = {form, ExportFormat.ollama} if form is ExportFormat.gguf else {form}
        if not wanted & {*task.formats}:
            continue
        folder = directory / form.name
        made[folder] = _kept(folder) or _make(folder, partial(_FORMS[form], source, task, reference))
        log.info("%s: %s", folder, made[folder]["line"])
    placement.release()
    return made


def _trained(source: Source) -> PreTrainedModel:
    """Return the model that was trained, in float32; one that the memory does not hold, block by block."""
    run, base = source.run, source.base
    if not streamed.fits(_files_of(source)):
        log.info("%s is more than is free in memory in float32: it is read block by block", run.model.name)
        return streamed.model(
            _files_of(source), run.trained if run.is_adapter else None, is_4bit=run.is_4bit
        )
    with placement.enough_memory("reading the model that exports are held against", "close other programs"):
        return adapter.load_trained(run.model, base, run.adapter, _ON_CPU, run.trained)


def _kept(folder: Path) -> Proof | None:
    """Return the proof of what an earlier start of this export has made."""
    if not files.is_whole(folder):
        return None
    proof: Proof = files.read_state(folder / PROOF)
    return proof


def _make(folder: Path, write: Callable[[Path], Proof]) -> Proof:
    """Write and prove a folder under another name, and give it its own when it holds."""
    partial_folder = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial_folder, ignore_errors=True)
    partial_folder.mkdir(parents=True)
    try:
        with disk.room_for(partial_folder):
            proof = write(partial_folder)
            files.write_state(partial_folder / PROOF, proof)
            files.seal(partial_folder)
    except BaseException:  # Ctrl-C and bugs of ours as well: raised again
        shutil.rmtree(partial_folder, ignore_errors=True)
        raise
    if folder.exists():  # damaged
        files.set_aside(folder)
    partial_folder.rename(folder)
    return proof


def _adapter(source: Source, task: ExportConfig, reference: Reference, folder: Path) -> Proof:
    """Write the adapter as PEFT reads it, byte by byte as training left it."""
    run = source.run
    if not run.is_adapter:
        raise CheckpointError(
            f"task.formats: {run.directory} has trained all weights: it has no adapter; merged"
        )
    for path in sorted(path for pattern in _BESIDE for path in run.trained.glob(pattern)):
        if path.name not in _OF_TRAINING:
            shutil.copyfile(path, folder / path.name)
    named = {"base_model_name_or_path": source.base.hub_id or source.base.reference}
    revision = source.base.hub_revision if source.base.hub_id else None
    settings = files.read_json(folder / adapter_files.CONFIG)
    files.write_json(folder / adapter_files.CONFIG, {**settings, **named, "revision": revision})
    beside_weights.write_tokenizer(folder, source.codec)
    weights = files.sha256(folder / adapter_files.WEIGHTS)
    if weights != files.sha256(run.trained / adapter_files.WEIGHTS):
        raise CheckpointError(f"{run.trained}: its weights changed while they were copied; type it again")
    found = {"line": "every weight is as training left it", "weights_sha256": weights}
    return _with_card(source, ExportFormat.adapter, folder, found)


def _merged(source: Source, task: ExportConfig, reference: Reference, folder: Path) -> Proof:
    """Write base and adapter as one, load that afresh, and hold what it says against both."""
    dtype = None if task.dtype is WeightType.auto else getattr(torch, task.dtype.name)
    weights = _weights(source, dtype)
    _refuse_short(folder, sum(kind.num_bytes for kind in weights.of.values()), "merged weights")
    tensor_files.write(folder, weights.of, weights.read, task.shard_mib * MIB)
    written = max((kind.dtype for kind in weights.of.values()), key=lambda one: -one.itemsize)
    beside_weights.write(
        folder,
        _files_of(source),
        source.codec,
        {
            "dtype": str(written).removeprefix("torch."),
            "tie_word_embeddings": weights.is_tied,
            "vocab_size": weights.vocab_size,
        },
    )
    files.write_json(folder / adapter_files.ABOUT, {seen.NOTE: seen.of_trained(source.run.trained)})
    with TemporaryDirectory() as work:
        again = logits.in_another_process(folder, reference.prompts, Path(work))
    found = agreement.between(reference.logits, again, reference.of_base)
    agreement.refuse(found, written)
    proof = {"line": f"loaded afresh by transformers: {found.line()}", **vars(found)}
    return _with_card(source, ExportFormat.merged, folder, proof)


def _gguf(source: Source, task: ExportConfig, reference: Reference, folder: Path) -> Proof:
    """Write a GGUF file, and a Modelfile where it is asked for; ask llama.cpp, where it is here."""
    run, codec, base = source.run, source.codec, _files_of(source)
    name = model_card.name_of(run.identity)
    model = gguf_file.model(name, base, _weights(source, None), codec)
    _refuse_short(folder, gguf_file.num_bytes(model, task.gguf_type), "the GGUF file")
    file, stops = folder / f"{name}-{task.gguf_type.name}.gguf", beside_weights.stop_ids(codec, base)
    gguf_file.write(file, model, task.gguf_type)
    form = ExportFormat.gguf
    if ExportFormat.ollama in task.formats:
        form = ExportFormat.ollama
        opens = gguf_vocabulary.opens_with(codec.tokenizer)
        template = ollama_template.template_of(codec, opens_with_bos=opens)
        tokens = codec.tokenizer.convert_ids_to_tokens(stops)
        num_ctx = min(task.num_ctx, run.model.max_length)
        files.write_text(
            folder / "Modelfile", ollama_template.modelfile(file.name, template, tokens, num_ctx)
        )
    if not llama_cpp.is_here():
        proof: Proof = {"line": "not held against the model: pip install xllamacpp, and export again"}
        return _with_card(source, form, folder, proof)
    with TemporaryDirectory() as work:
        model_itself = reference.gaps, reference.spread
        found = gguf_agreement.between(file, codec, stops, model_itself, Path(work), task.gguf_type)
    gguf_agreement.refuse(found, task.gguf_type)
    return _with_card(source, form, folder, {"line": f"by llama.cpp: {found.line()}", **vars(found)})


_FORMS = {ExportFormat.adapter: _adapter, ExportFormat.merged: _merged, ExportFormat.gguf: _gguf}


def _weights(source: Source, dtype: torch.dtype | None) -> Merged:
    """Return the weights of base and adapter as one."""
    run = source.run
    added = run.trained if run.is_adapter else None
    return Merged(_files_of(source), added, is_4bit=run.is_4bit, dtype=dtype)


def _files_of(source: Source) -> Path:
    """Return the folder with the configuration and the weights that were trained, or trained upon."""
    return source.base.folder if source.run.is_adapter else source.run.trained


def _with_card(source: Source, form: ExportFormat, folder: Path, proof: Proof) -> Proof:
    files.write_text(folder / "README.md", source.card(form, proof))
    return proof


def _refuse_short(folder: Path, needed: int, what: str) -> None:
    """Refuse an export that would write more bytes than there is room for. Raises HardwareError."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise HardwareError(
            f"{what} take {needed / MIB:,.0f} MiB, and the disk of {folder.parent} has"
            f" {free / MIB:,.0f} MiB free. Make room, or give another hydra.run.dir"
        )


def names_on_the_hub(made: dict[Path, Proof], name: str) -> list[tuple[Path, str]]:
    """Return each folder with its name on the hub: one form has the name that was given."""
    suffixes = {"merged": "", "adapter": "-adapter", "gguf": "-GGUF"}
    return [(folder, f"{name}{suffixes[folder.name]}" if len(made) > 1 else name) for folder in made]
