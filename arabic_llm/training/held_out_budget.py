"""How much of the held-out texts is read: so much that their loss takes a fiftieth of the training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from arabic_llm import files, processes
from arabic_llm.training.callbacks import METRICS
from arabic_llm.training.held_out_loss import SHARE, HeldOut
from arabic_llm.training.schedule import Schedule, TokenCounts

log = logging.getLogger(__name__)
Texts = Callable[[float], Mapping[str, HeldOut]]  # share of each text's length -> the texts, cut to it
_OF_TRAINING = 0.02
# A forward and a backward pass take three times what a forward pass does: Kaplan et al. (2001.08361), 2.1.
_PASSES = 3
# Every text stays, shorter: its interval is over the texts. Less than a quarter of one, some five words,
# says nothing.
_SHARES = (1.0, 3 / 4, 1 / 2, 3 / 8, 1 / 4)


def no_texts(_share: float) -> Mapping[str, HeldOut]:
    """Return nothing: no loss is followed."""
    return {}


def within(
    texts: Texts, schedule: Schedule, counts: TokenCounts, save_steps: int, directory: Path
) -> Mapping[str, HeldOut]:
    """Return the texts as long as the budget of a run lets them be, and say so where they were cut.

    Counted in tokens and never timed: a run gives the same numbers on any machine. What was begun in
    the directory stays as long as it was.
    """
    whole = texts(1.0)
    if not whole:
        return whole
    begun = processes.from_main(lambda: _begun(directory))
    times = 1 + -(-schedule.num_steps // save_steps)
    training = _PASSES * int(counts.all.sum())
    for share in _SHARES if begun is None else (begun,):
        cut = texts(share)
        taken = times * num_tokens(cut) / training
        if taken <= _OF_TRAINING:
            break
    if begun is None and share < 1:
        log.info("%s", _line(share, num_tokens(cut), num_tokens(whole), taken))
    return cut


def num_tokens(held_out: Mapping[str, HeldOut]) -> int:
    """Return the tokens that are predicted of all texts."""
    return int(np.sum([text.num_tokens.sum() for text in held_out.values()]))


def _begun(directory: Path) -> float | None:
    """Return the share that a run was begun with; None where it has measured nothing yet."""
    path = directory / METRICS
    lines = files.read_json_lines(path) if path.exists() else []
    shares = [line.get(SHARE, 1.0) for line in lines if any(key.startswith("held_out") for key in line)]
    return float(shares[0]) if shares else None


def _line(share: float, tokens: int, whole: int, taken: float) -> str:
    cut = f"held-out texts: the first {share:.1%} of each ({tokens:,} of {whole:,} tokens)"
    if taken <= _OF_TRAINING:
        return f"{cut}, so that their loss takes at most {_OF_TRAINING:.0%} of the training"
    return (
        f"{cut}; their loss takes about {taken:.0%} of so short a training, and less of them would say"
        " nothing (task.held_out.num_bytes=0 leaves it out)"
    )
