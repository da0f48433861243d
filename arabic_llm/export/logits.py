"""What a model says next, in numbers that two forms of it are held against; also run as a process.

P prompts, N positions (the last of each prompt), V words.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, PreTrainedModel

from arabic_llm import files
from arabic_llm.errors import ModelError
from arabic_llm.models import opening

NUM_POSITIONS = 4
_MOST_SAID = 300  # characters of what a process that failed has said


def of_model(model: PreTrainedModel, ids: list[list[int]]) -> NDArray[np.float32]:
    """Return the logits (P, N, V) of the last positions of each prompt."""
    model.eval()
    found = []
    with torch.inference_mode():
        for prompt in ids:
            whole = model(torch.tensor([prompt]), logits_to_keep=NUM_POSITIONS).logits[0]
            found.append(whole.float().cpu().numpy())
    return np.stack(found)


def gaps(model: PreTrainedModel, prompt: list[int], answer: list[int]) -> list[float]:
    """Return how far each token of an answer is below the one that the model would have said there."""
    model.eval()
    with torch.inference_mode():
        whole = model(torch.tensor([prompt + answer]), logits_to_keep=len(answer) + 1).logits[0].float()
    said = whole[:-1].gather(1, torch.tensor(answer).unsqueeze(1)).squeeze(1)
    below: list[float] = (whole[:-1].amax(1) - said).tolist()
    return below


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
    with opening.opened(Path(folder)):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    np.save(answered, of_model(model, files.read_json(Path(asked))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
