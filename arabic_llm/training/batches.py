"""Token rows as tensors: conversations padded, raw texts packed without seeing each other.

B batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset, Features, List, Value, concatenate_datasets
from transformers import PreTrainedTokenizerBase
from trl import pack_dataset

from arabic_llm.data.tokens.chat import IGNORED, TokenRow

_INTEGERS = List(Value("int32"))  # what packing gives its lengths: all parts of a data set have one type
_OF_RATED = ("rated", "is_desirable")


def sequences(rows: Sequence[TokenRow], max_length: int) -> Dataset:
    """Return the columns input_ids, labels, seq_lengths, rows: one line a sequence the model is fed.

    Each source becomes what it would become alone, so that every sequence has one source. Where raw
    texts are among its rows, all are packed to max_length (best fit decreasing). Then seq_lengths holds
    the length of each piece, and rows the index of the row each token came from.
    """
    of_source: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        of_source.setdefault(row.source, []).append(number)
    return concatenate_datasets([_of_one(rows, numbers, max_length) for numbers in of_source.values()])


def pairs(rows: Sequence[TokenRow], first: int = 0) -> Dataset:
    """Return the same columns of pairs, those of the worse answer, and the number of each from `first`."""
    columns = {
        "input_ids": [row.input_ids for row in rows],
        "labels": [_unpredicted_first(row) for row in rows],
        "rejected_ids": [row.rejected_ids for row in rows],
        "rejected_labels": [[IGNORED, *row.rejected_labels[1:]] for row in rows],
        "rows": [[number] for number in range(len(rows))],
        "seq_lengths": [[len(ids) for ids, _ in row.sides()] for row in rows],
        "pair": [[first + number] for number in range(len(rows))],
    }
    return Dataset.from_dict(columns, Features(dict.fromkeys(columns, _INTEGERS)))


def rated(rows: Sequence[TokenRow], first: int = 0) -> Dataset:
    """Return the same columns of rated answers, their ratings, and the number of each from `first`."""
    columns = {
        "input_ids": [row.input_ids for row in rows],
        "labels": [_unpredicted_first(row) for row in rows],
        "is_desirable": [[int(row.is_desirable)] for row in rows],
        "rows": [[number] for number in range(len(rows))],
        "seq_lengths": [[len(row.input_ids)] for row in rows],
        "rated": [[first + number] for number in range(len(rows))],
    }
    return Dataset.from_dict(columns, Features(dict.fromkeys(columns, _INTEGERS)))


def all_labels(dataset: Dataset) -> list[list[int]]:
    """Return the labels of each sequence; of a pair, of both its sides."""
    labels: list[list[int]] = dataset["labels"][:]
    if "rejected_labels" not in dataset.column_names:
        return labels
    return [[*one, *two] for one, two in zip(labels, dataset["rejected_labels"][:], strict=True)]


def sources(dataset: Dataset, rows: Sequence[TokenRow]) -> list[str]:
    """Return the source of each sequence."""
    return [rows[numbers[0]].source for numbers in dataset["rows"][:]]


def row_ids(dataset: Dataset, rows: Sequence[TokenRow]) -> list[list[str]]:
    """Return the names of the rows in each sequence."""
    return [[rows[number].id for number in dict.fromkeys(numbers)] for numbers in dataset["rows"][:]]


def tokens_per_byte(dataset: Dataset, tokenizer: PreTrainedTokenizerBase) -> float | None:
    """Return the labels for each UTF-8 byte of their text: what makes a loss a token one a byte.

    A token is longer in another vocabulary, a byte never. Control tokens are no text; None: there is none.
    """
    learned = [[label for label in labels if label != IGNORED] for labels in dataset["labels"][:]]
    texts = (tokenizer.decode(ids, skip_special_tokens=True) for ids in learned)
    num_bytes = sum(len(text.encode()) for text in texts)
    return sum(map(len, learned)) / num_bytes if num_bytes else None


@dataclass(frozen=True)
class Collate:
    """Pad sequences to the longest of the batch; packed ones carry positions instead of a mask.

    transformers keeps packed pieces apart by position_ids that begin again at 0, but only where
    attention_mask is absent and use_cache is off; with a mask, the pieces see each other, silently.
    """

    pad_token_id: int

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_ids_BT, labels_BT, and attention_mask_BT or position_ids_BT; of pairs see _pairs.

        Of rated answers also rated_B, the number of each, and is_desirable_B.
        """
        if "rejected_ids" in features[0]:
            return self._pairs(features)
        told = {key: torch.tensor([f[key][0] for f in features]) for key in _OF_RATED if key in features[0]}
        longest = max(len(f["input_ids"]) for f in features)
        batch = {
            "input_ids": self._padded([f["input_ids"] for f in features], longest, self.pad_token_id),
            "labels": self._padded([f["labels"] for f in features], longest, IGNORED),
            **told,
        }
        if all(len(f["seq_lengths"]) == 1 for f in features):
            ones = [[1] * len(f["input_ids"]) for f in features]
            return batch | {"attention_mask": self._padded(ones, longest, 0)}
        return batch | {"position_ids": torch.tensor([_positions(f, longest) for f in features])}

    def classes(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_ids_BT, attention_mask_BT and labels_B: the class of each labelled text."""
        batch = self(features)
        return batch | {"labels": torch.tensor([f["labels"][-1] for f in features])}

    def _pairs(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return the better sides and then the worse ones as one batch, and pair_B: the number of each."""
        sides = [
            {"input_ids": f[ids], "labels": f[labels], "seq_lengths": [len(f[ids])]}
            for ids, labels in (("input_ids", "labels"), ("rejected_ids", "rejected_labels"))
            for f in features
        ]
        return self(sides) | {"pair": torch.tensor([f["pair"][0] for f in features])}

    @staticmethod
    def _padded(rows: list[list[int]], length: int, value: int) -> torch.Tensor:
        return torch.tensor([row + [value] * (length - len(row)) for row in rows])


def _of_one(rows: Sequence[TokenRow], numbers: list[int], max_length: int) -> Dataset:
    """Return the sequences of one source, whose rows have these indices."""
    ids = [rows[n].input_ids for n in numbers]
    is_packed = any(rows[n].kind in ("text", "part") for n in numbers)
    columns = {
        "input_ids": ids,
        "labels": [_unpredicted_first(rows[n]) for n in numbers],
        "rows": [[n] * (len(rows[n].input_ids) if is_packed else 1) for n in numbers],
    }
    if not is_packed:
        columns["seq_lengths"] = [[len(line)] for line in ids]
    dataset = Dataset.from_dict(columns, Features(dict.fromkeys(columns, _INTEGERS)))
    if not is_packed:
        return dataset
    return pack_dataset(dataset, max_length, strategy="bfd", map_kwargs={"desc": "packing"})


def _positions(feature: dict[str, Any], length: int) -> list[int]:
    """Return 0.. for each piece of a packed sequence, and for the padding behind them."""
    pieces = [*feature["seq_lengths"], length - len(feature["input_ids"])]
    return [position for piece in pieces for position in range(piece)]


def _unpredicted_first(row: TokenRow) -> list[int]:
    """Return the labels without the first: nothing before it predicts it, in a packed row least of all."""
    return row.labels if row.kind == "labelled" else [IGNORED, *row.labels[1:]]
