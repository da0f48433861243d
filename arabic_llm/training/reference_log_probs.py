"""What the model thinks of the answers before it learns from them: DPO's reference, asked once.

That is the base model, or the adapter that training starts from; so it knows nothing of rank, alpha, seed
or learning rate, and the jobs of a sweep read what the first one wrote.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from tqdm import tqdm

from arabic_llm import files, processes
from arabic_llm.config.fingerprint import code_hash, fingerprint
from arabic_llm.data.tokens.chat import TokenRow

Nats = Callable[[Sequence[TokenRow], Callable[[int], None]], NDArray[Any]]  # GuardedTrainer.nats
_CODE = tuple(
    f"training/{name}.py"
    for name in ("reference_log_probs", "trainer", "batches", "answer_head", "tiled_head")
)


def path(cache_dir: Path, what: dict[str, Any], pairs: Sequence[TokenRow]) -> Path:
    """Return where the reference's log-probabilities of these pairs are kept; `what` tells models apart."""
    key = {"of": what, "code": code_hash(_CODE), "pairs": sorted({_digest(pair) for pair in pairs})}
    return cache_dir / "reference" / f"{fingerprint(key)}.json"


def log_probs(nats: Nats, pairs: Sequence[TokenRow], kept: Path, heed: Callable[[], None]) -> torch.Tensor:
    """Return the log-probability of each answer [N, 2], better and worse, in nats.

    Read where it is kept; else the model is asked, which must be as it was before its first step. `heed`
    is called after each batch and may raise.
    """
    with processes.main_first():
        if (known := files.kept(kept, files.read_state)) is None:
            known = {"log_probs": _asked(nats, pairs, heed)}
            files.write_state(kept, known)
    found = known["log_probs"]
    return torch.tensor([found[_digest(pair)] for pair in pairs], dtype=torch.float32)


def _asked(
    nats: Nats, pairs: Sequence[TokenRow], heed: Callable[[], None]
) -> dict[str, tuple[float, float]]:
    distinct = {_digest(pair): pair for pair in pairs}
    sides = [
        TokenRow(pair.id, ids, labels, "chat") for pair in distinct.values() for ids, labels in pair.sides()
    ]
    with tqdm(total=len(sides), desc="reference", unit="answer", leave=False) as bar:

        def after(num_rows: int) -> None:
            bar.update(num_rows)
            heed()

        losses = nats(sides, after)
    return {
        digest: (-float(better), -float(worse))
        for digest, better, worse in zip(distinct, losses[::2], losses[1::2], strict=True)
    }


def _digest(pair: TokenRow) -> str:
    return hashlib.sha256(pair.as_bytes()).hexdigest()[:16]
