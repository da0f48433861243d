"""What the card of an exported run says, gathered from what the run has left."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from arabic_llm import files
from arabic_llm.analysis import forgetting, scores
from arabic_llm.analysis.forgetting import Forgetting
from arabic_llm.config.task import ExportConfig, ExportFormat
from arabic_llm.errors import CheckpointError
from arabic_llm.models.bases import Base
from arabic_llm.reports import model_card
from arabic_llm.reports.model_card import Handed
from arabic_llm.workflows.hand_on import Proof
from arabic_llm.workflows.trained_run import TrainedRun

log = logging.getLogger(__name__)
_OUTCOME = "outcome.json"


def writer(run: TrainedRun, base: Base, task: ExportConfig) -> Callable[[ExportFormat, Proof], str]:
    """Return what writes the card of a form with its proof."""
    compared = _compared(run)
    outcome = files.read_json(run.trained / _OUTCOME) if (run.trained / _OUTCOME).is_file() else {}

    def write(form: ExportFormat, proof: Proof) -> str:
        return model_card.card(
            Handed(
                form=form.name,
                proof=str(proof["line"]),
                told=run.identity,
                base_revision=base.revision,
                command=str(run.manifest.get("command", "")),
                machine=str(run.manifest.get("machine", "")),
                versions=dict(run.manifest.get("versions", {})),
                outcome=outcome,
                compared=compared,
                file=f"{model_card.name_of(run.identity)}-{task.gguf_type.name}.gguf",
                prompts_nfc=bool(proof.get("num_unlike")),
            )
        )

    return write


def _compared(run: TrainedRun) -> Forgetting | None:
    """Return the comparison of a study; None for a run that was not evaluated, or not before as well."""
    sides = [run.directory / "evaluation" / side for side in ("base", "tuned")]
    if not all(map(scores.holds, sides)):
        return None
    try:
        base, tuned = (scores.read(Path(side)) for side in sides)
    except CheckpointError as error:
        log.info("%s; the card does without it", error)
        return None
    return forgetting.find(base, tuned, int(run.identity["seed"]))
