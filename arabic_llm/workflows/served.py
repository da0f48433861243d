"""A run as others serve it: what was exported of it, and one question to a server and to ourselves."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

from arabic_llm import files
from arabic_llm.config.chat_task import ServeConfig, Show
from arabic_llm.config.run import RunConfig
from arabic_llm.data.tokens import chat
from arabic_llm.errors import ConfigError, DamagedError, ModelError
from arabic_llm.models import adapter, adapter_files, placement
from arabic_llm.reports import model_card
from arabic_llm.serving import commands, console, trial
from arabic_llm.serving.commands import Served
from arabic_llm.serving.talk import asked
from arabic_llm.serving.voices import Answer, Sampling
from arabic_llm.workflows import talkers, trained_run
from arabic_llm.workflows.talkers import Talker
from arabic_llm.workflows.trained_run import TrainedRun

log = logging.getLogger(__name__)
_MANIFEST = "manifest.json"


def find(run: TrainedRun, cache_dir: Path, exported: str | None, exports: Path) -> Served:
    """Return what there is of a run: in the export that is named, or in those of it below a folder.

    Raises ConfigError for a folder that is no export of this run, and UserError for another base.
    """
    base = trained_run.base_of(run, cache_dir)
    if exported is not None and not _is_of(Path(exported), run):
        raise ConfigError(
            f"task.exported: {exported} is no export of {run.directory} as it is now; leave it out, or"
            " export again"
        )
    folders = [Path(exported)] if exported is not None else _exports(run, exports)
    found = {
        name: next((f / name for f in folders if files.is_whole(f / name)), None)
        for name in ("adapter", "merged", "gguf")
    }
    modelfiles = (f / "gguf" for f in folders if files.is_whole(f / "gguf"))
    return Served(
        name=model_card.name_of(run.identity),
        run=run.directory,
        base=base.hub_id or str(base.folder),
        adapter=found["adapter"],
        merged=found["merged"],
        ollama=next((f for f in modelfiles if (f / "Modelfile").is_file()), None),
        settings=adapter_files.read(run.trained).config if run.is_adapter else None,
        is_4bit=run.is_4bit,
    )


def held_against(config: RunConfig, task: ServeConfig, run: TrainedRun, served: Served) -> None:
    """Ask transformers serve and ourselves one question, and say whether the answers are the same.

    Raises ModelError where it reads another prompt than training has.
    """
    question, most = asked(task.prompt), task.max_new_tokens
    trial.refuse_missing()
    if served.merged is None:
        raise ConfigError(
            f"task.start=true: no merged weights of {run.directory}, which transformers serve wants; first:"
            f" {commands.export(served, 'merged')}"
        )
    port = trial.free_port(task.port)
    talker = talkers.of_run(run, Path(config.cache_dir))
    ours = _own(config, talker, question.content, most)
    with TemporaryDirectory() as work, trial.served(served.merged, port, Path(work) / "serve.log"):
        log.info("started: %s", commands.transformers(served.merged, port))
        its = trial.ask(port, [question], most)
    num_read = len(chat.encode_prompt(talker.codec, [question]))
    if its.num_read != num_read:
        raise ModelError(
            f"transformers serve reads {its.num_read} tokens of this question, and training {num_read}: its"
            f" template is another one; export {run.directory} again"
        )
    log.info("asked: %s (%s tokens, as in training)", question.content, num_read)
    log.info("transformers serve: %s", its.text or "(nothing)")
    log.info("%s", _compared(ours, its))


def _own(config: RunConfig, talker: Talker, question: str, most: int) -> Answer:
    """Return our own likeliest answer, and give its memory back."""
    (voice,) = talkers.voices(config, talker, Show.tuned)
    greedy = Sampling(most, temperature=0.0, top_p=1.0, top_k=0, repetition_penalty=1.0, seed=config.seed)
    answer = voice.answer([asked(question)], greedy, lambda _: None)
    del voice
    placement.release()
    return answer


def _compared(ours: Answer, its: trial.Reply) -> str:
    if ours.text == its.text:
        end = "ended by itself" if its.has_ended else next(console.remarks(ours, ours.num_tokens), "")
        return f"our own greedy answer: the same, {its.num_said} tokens, {end}"
    pairs = enumerate(zip(ours.text, its.text, strict=False))
    at = next((at for at, (one, other) in pairs if one != other), min(len(ours.text), len(its.text)))
    return (
        f"our own greedy answer: {ours.text or '(nothing)'}\nthey part at character {at + 1}: merged"
        " weights are rounded, and two tokens were nearly even there"
    )


def _exports(run: TrainedRun, root: Path) -> list[Path]:
    """Return the folders of exports of a run, the newest first."""
    found = [path.parent for path in root.glob(f"*/{_MANIFEST}")]
    found.sort(key=lambda folder: (folder / _MANIFEST).stat().st_mtime, reverse=True)
    return [folder for folder in found if _is_of(folder, run)]


def _is_of(folder: Path, run: TrainedRun) -> bool:
    """Return whether a folder holds an export of what a run has trained, as it is now."""
    if not (folder / _MANIFEST).is_file():
        return False
    try:
        manifest = files.read_state(folder / _MANIFEST, is_old_too=True)
    except DamagedError:
        return False
    named = (manifest.get("identity") or {}).get("task") or {}
    inputs = manifest.get("inputs") or {}
    return named.get("name") == "export" and inputs.get("trained") == adapter.trained_hash(run.trained)
