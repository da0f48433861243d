"""Classes of texts: the loss that a classifier is trained on, and the probabilities that it gives.

C classes, N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import PreTrainedModel

from arabic_llm.config.hw import Precision
from arabic_llm.data.tokens.chat import TokenRow
from arabic_llm.errors import ModelError
from arabic_llm.models.placement import Placement, enough_memory
from arabic_llm.training.batches import Collate


def loss(model: PreTrainedModel, inputs: dict[str, Any], num_rows: float) -> tuple[torch.Tensor, Any]:
    """Return the cross-entropy of a batch's classes, summed, over so many rows, and the outputs."""
    inputs = dict(inputs)
    classes = inputs.pop("labels")
    outputs = model(**inputs)
    return cross_entropy(outputs.logits.float(), classes, reduction="sum") / num_rows, outputs


def probabilities(
    model: PreTrainedModel, rows: Sequence[TokenRow], placement: Placement, pad_token_id: int
) -> npt.NDArray[np.float64]:
    """Return the probabilities [N, C] of the classes; like lengths share a batch, the longest first.

    Raises HardwareError when memory runs out, ModelError at a logit that is not finite, naming its rows.
    """
    model.eval()
    found = np.zeros((len(rows), model.config.num_labels))
    order = sorted(range(len(rows)), key=lambda number: -len(rows[number].input_ids))
    size, collate = placement.eval_batch_size, Collate(pad_token_id)
    autocast = torch.autocast(
        placement.device, placement.dtype, enabled=placement.precision is not Precision.float32
    )
    cure = f"set hw.eval_batch_size={max(1, size // 2)}, or take a smaller model; what was trained is kept"
    starts = range(0, len(rows), size)
    for start in tqdm(starts, desc="classifying", unit="batch", leave=False, delay=2):
        numbers = order[start : start + size]
        batch = collate.classes([_feature(rows[number]) for number in numbers])
        del batch["labels"]
        with enough_memory("classifying texts", cure):
            with torch.inference_mode(), autocast:
                logits = model(**{key: value.to(placement.device) for key, value in batch.items()}).logits
            wrong = (~logits.isfinite()).any(-1).nonzero().flatten().tolist()
            if wrong:
                raise ModelError(
                    f"{rows[numbers[wrong[0]]].id}: the classifier's logits are not finite there, in"
                    f" {len(wrong)} of {len(numbers)} rows of its batch; its weights, or hw.precision, are"
                    " at fault"
                )
            found[numbers] = logits.double().softmax(-1).cpu().numpy()
    return found


def _feature(row: TokenRow) -> dict[str, list[int]]:
    return {"input_ids": row.input_ids, "labels": row.labels, "seq_lengths": [len(row.input_ids)]}
