"""What the model thinks of the answers before it learns from them: DPO's reference, asked once.

That is the base model, or the adapter that training starts from; so it knows nothing of rank, alpha, seed
or learning rate, and the jobs of a sweep read what the first one wrote.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from tqdm import tqdm

from arabic_llm import files, processes
from arabic_llm.config.fingerprint import code_hash, fingerprint
from arabic_llm.data.tokens.chat import TokenRow
from arabic_llm.training.first_dev_loss import OF_A_LOSS

Nats = Callable[[Sequence[TokenRow], Callable[[int], None]], NDArray[Any]]  # GuardedTrainer.nats
_CODE = ("training/reference_log_probs.py", *OF_A_LOSS)


def path(cache_dir: Path, what: dict[str, Any], pairs: Sequence[TokenRow]) -> Path:
    """Return where the reference's log-probabilities of these pairs are kept; `what` tells models apart."""
    key = {"of": what, "code": code_hash(_CODE), "pairs": sorted({_digest(pair) for pair in pairs})}
    return cache_dir / "reference" / f"{fingerprint(key)}.json"


def path_beside(kept: Path, rows: Sequence[TokenRow]) -> Path:
    """Return where the same reference's log-probabilities of other rows are kept."""
    digests = sorted({_digest(row) for row in rows})
    return kept.with_name(f"{fingerprint({'of': kept.stem, 'rows': digests})}.json")


def log_probs(nats: Nats, pairs: Sequence[TokenRow], kept: Path, heed: Callable[[], None]) -> torch.Tensor:
    """Return the log-probability of each row's answers [N, sides], of a pair better and worse, in nats.

    Read where it is kept; else the model is asked, which must be as it was before its first step. `heed`
    is called after each batch and may raise.
    """
    known = processes.from_main(lambda: files.kept(kept, files.read_state))
    if known is None:
        known = {"log_probs": _asked(nats, pairs, heed)}
        processes.from_main(partial(files.write_state, kept, known))
    found = known["log_probs"]
    return torch.tensor([found[_digest(pair)] for pair in pairs], dtype=torch.float32)


def _asked(nats: Nats, pairs: Sequence[TokenRow], heed: Callable[[], None]) -> dict[str, list[float]]:
    distinct = {_digest(pair): pair for pair in pairs}
    own = _share(list(distinct))
    sides = [TokenRow(name, ids, labels, "chat") for name in own for ids, labels in distinct[name].sides()]
    with tqdm(total=len(sides), desc="reference", unit="answer", leave=False) as bar:

        def after(num_rows: int) -> None:
            bar.update(num_rows)
            heed()

        losses = nats(sides, after)
    found = dict(zip(own, (-losses.reshape(len(own), -1)).tolist(), strict=True))
    return {name: values for each in processes.gather(found) for name, values in each.items()}


def _share(names: list[str]) -> list[str]:
    """Return this process's part of the rows, as many as another's: they heed signals together."""
    most = -(-len(names) // processes.count())
    own = names[processes.rank() :: processes.count()]
    return own + names[: most - len(own)]


def _digest(pair: TokenRow) -> str:
    return hashlib.sha256(pair.as_bytes()).hexdigest()[:16]
