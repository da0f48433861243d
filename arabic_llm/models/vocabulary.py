"""New tokens of a vocabulary: the merges that make them, kept with an adapter, put into a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arabic_llm.errors import CheckpointError
from arabic_llm.models import opening

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

    from arabic_llm.models.merges import Learned

FILE = "vocabulary.json"  # of an adapter's folder
_MOST = 2**20  # tokens: the largest vocabularies have 2**18


@dataclass(frozen=True)
class NewTokens:
    """Tokens behind those of a base model, in the order of their ids, each made by a merge of two others.

    `pieces` are the ids of the base model's own tokens that each is made of: it begins as their mean.
    """

    first: int  # the id of the first
    merges: tuple[tuple[str, str], ...]
    pieces: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.merges)

    @property
    def ids(self) -> list[int]:
        """Return their ids."""
        return list(range(self.first, self.first + len(self)))

    def as_dict(self) -> dict[str, Any]:
        """Return them as JSON holds them."""
        return {"first": self.first, "merges": list(self.merges), "pieces": list(self.pieces)}


def behind(tokenizer: PreTrainedTokenizerBase, learned: Learned) -> NewTokens:
    """Return learned merges as tokens behind those of a tokenizer."""
    return NewTokens(_end(tokenizer), learned.merges, learned.pieces)


def of_adapter(folder: Path | None) -> NewTokens | None:
    """Return the new tokens of a saved adapter, or None. Raises CheckpointError for a damaged file."""
    if folder is None or not (path := folder / FILE).is_file():
        return None
    return read(path)


def read(path: Path) -> NewTokens:
    """Return the new tokens in a file. Raises CheckpointError where it holds none."""
    said = opening.read_object(path, ("first", "merges", "pieces"))
    first, merges, pieces = (said[name] for name in ("first", "merges", "pieces"))
    is_whole = (
        isinstance(first, int)
        and 0 < first < _MOST
        and isinstance(merges, list)
        and isinstance(pieces, list)
        and 0 < len(merges) == len(pieces) < _MOST
        and all(_is_pair(merge) for merge in merges)
        and all(_are_ids(own, first) for own in pieces)
    )
    if not is_whole:
        raise CheckpointError(f"{path}: these are no new tokens; take the adapter's files again")
    return NewTokens(first, tuple((left, right) for left, right in merges), tuple(map(tuple, pieces)))


def extend(tokenizer: PreTrainedTokenizerBase, new: NewTokens, where: str = "") -> PreTrainedTokenizerBase:
    """Return the tokenizer itself, with new tokens behind its own; their merges come after all others.

    Raises CheckpointError where they were made for another tokenizer.
    """
    from tokenizers import Tokenizer  # a plan reads what was kept, without it

    backend: Tokenizer = tokenizer.backend_tokenizer
    rules = json.loads(backend.to_str())
    model, known = rules["model"], tokenizer.get_vocab()
    if (wrong := _misfit(new, known, model)) is not None:
        raise CheckpointError(f"{where or FILE}: {wrong}; choose the base model that it was trained on")
    is_in_pairs = not model["merges"] or isinstance(model["merges"][0], list)
    for number, (left, right) in enumerate(new.merges):
        model["merges"].append([left, right] if is_in_pairs else f"{left} {right}")
        model["vocab"][left + right] = new.first + number
    # A file gives ids to tokens that stand outside of its BPE by the size of that: they would move.
    model["vocab"] = known | model["vocab"]
    backend.model = Tokenizer.from_str(
        json.dumps({**rules, "added_tokens": [], "post_processor": None}, ensure_ascii=False)
    ).model
    return tokenizer


def _misfit(new: NewTokens, known: Mapping[str, int], model: Mapping[str, Any]) -> str | None:
    """Return why new tokens do not fit behind a vocabulary, or None."""
    if model.get("type") != "BPE":
        return f"new tokens of a BPE do not fit a tokenizer of kind {model.get('type')}"
    if (end := 1 + max(known.values())) != new.first:
        return f"new tokens begin at {new.first}, and this tokenizer's own end at {end}"
    made: set[str] = set()
    for left, right in new.merges:
        if missing := next(
            (part for part in (left, right) if part not in known and part not in made), None
        ):
            return f"a merge takes {missing!r}, which is no token here"
        if left + right in known or left + right in made:
            return f"{left + right!r} is a token already"
        made.add(left + right)
    return None


def _end(tokenizer: PreTrainedTokenizerBase) -> int:
    return 1 + max(map(int, tokenizer.get_vocab().values()))


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == len(("left", "right"))
        and all(isinstance(part, str) and part for part in value)
    )


def _are_ids(value: Any, end: int) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(type(one) is int and 0 <= one < end for one in value)
    )
