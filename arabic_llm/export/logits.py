"""What a model says next, in numbers that two forms of it are held against; also run as a process.

P prompts, N positions (the last of each prompt), V words.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from arabic_llm import files
from arabic_llm.errors import ModelError
from arabic_llm.export import streamed
from arabic_llm.models import opening

NUM_POSITIONS = 4
_AT_ONCE = 16  # answers: their logits are wide
_MOST_SAID = 300  # characters of what a process that failed has said


def of_model(model: PreTrainedModel, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Return the logits (P, N, V) of the last positions of each prompt."""
    found: NDArray[np.float32] = _last(model, ids, NUM_POSITIONS).cpu().numpy()
    return found


def gaps(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> list[list[float]]:
    """Return how far each token of an answer is below the one that the model would have said there."""
    found = []
    for start in range(0, len(prompts), _AT_ONCE):
        pairs = list(zip(prompts[start:][:_AT_ONCE], answers[start:][:_AT_ONCE], strict=True))
        longest = max(len(answer) for _, answer in pairs) + 1
        for row, (_, answer) in zip(
            _last(model, [[*p, *a] for p, a in pairs], longest), pairs, strict=True
        ):
            steps = row[len(row) - len(answer) - 1 : -1]  # each says the token after it
            said = steps.gather(1, torch.tensor(answer, dtype=torch.long).unsqueeze(1)).squeeze(1)
            found.append((steps.amax(1) - said).tolist())
    return found


def _last(model: PreTrainedModel, ids: Sequence[Sequence[int]], positions: int) -> Tensor:
    """Return the logits of the last positions of sequences that are run together, padded at their left."""
    model.eval()
    length = max(map(len, ids))
    padded = torch.tensor([[0] * (length - len(one)) + list(one) for one in ids])
    mask = torch.tensor([[0] * (length - len(one)) + [1] * len(one) for one in ids])
    with torch.inference_mode():
        said = model(
            input_ids=padded,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            logits_to_keep=positions,
        )
    logits: Tensor = said.logits.float()
    return logits


def in_another_process(folder: Path, ids: list[list[int]], work: Path) -> NDArray[np.float32]:
    """Return the logits of a folder's weights, loaded afresh by transformers alone.

    Raises ModelError with what that said, where it cannot load them.
    """
    asked, answered = work / "asked.json", work / "answered.npy"
    files.write_json(asked, ids)
    command = [sys.executable, "-m", __name__, str(folder), str(asked), str(answered)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = " ".join(done.stderr.split()[-_MOST_SAID:])[-_MOST_SAID:]
        raise ModelError(f"{folder} cannot be loaded again: {said or f'exit code {done.returncode}'}")
    found: NDArray[np.float32] = np.load(answered)
    return found


def _main(folder: str, asked: str, answered: str) -> None:
    if streamed.fits(Path(folder)):
        with opening.opened(Path(folder)):
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, trust_remote_code=False
            )
    else:
        model = streamed.model(Path(folder))
    np.save(answered, of_model(model, files.read_json(Path(asked))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
