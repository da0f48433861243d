"""The loss on dev before the first step: new LoRA matrices add nothing to their base, so it is asked once.

PEFT draws A and sets B to zero (2106.09685, section 4.1): the first loss is the base's to the last bit,
whatever rank, alpha, dropout, modules, seed and learning rate are, and the jobs of a sweep read what the
first one wrote.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from arabic_llm import files, processes
from arabic_llm.config.fingerprint import code_hash, fingerprint
from arabic_llm.data.tokens.chat import TokenRow

# The code that the loss of a row comes from: where it differs, so may the loss.
OF_A_LOSS = tuple(
    f"training/{name}.py" for name in ("trainer", "guards", "batches", "answer_head", "tiled_head")
)
_CODE = ("training/first_dev_loss.py", *OF_A_LOSS)


def path(cache_dir: Path, what: dict[str, Any], dev: Sequence[TokenRow]) -> Path:
    """Return where the base's loss on these rows is kept; `what` tells bases and their arithmetic apart."""
    digest = hashlib.sha256()
    for row in dev:
        digest.update(row.as_bytes())
    key = {"of": what, "code": code_hash(_CODE), "dev": digest.hexdigest()}
    return cache_dir / "first_dev_loss" / f"{fingerprint(key)}.json"


def loss(kept: Path | None, ask: Callable[[], float]) -> float:
    """Return the loss that lies there, in nats a label; else ask, and keep it where there is a place."""
    if kept is None:
        return ask()
    known = processes.from_main(partial(files.kept, kept, files.read_state))
    if known is None:
        known = {"dev_loss": ask()}
        processes.from_main(partial(files.write_state, kept, known))
    return float(known["dev_loss"])
