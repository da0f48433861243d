"""Log-probabilities of answers: what requests share is run once, the head only where answers are predicted.

Shapes: N tokens of a pass, P tokens cached before it, W positions whose logits are wanted, V vocabulary.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from transformers import DynamicCache, PreTrainedModel

from arabic_llm.errors import HardwareError
from arabic_llm.evaluation import masks, rotary
from arabic_llm.evaluation.prefixes import Request, Trie, Wanted
from arabic_llm.models.batching import CPU_TREE

log = logging.getLogger(__name__)
Ids = npt.NDArray[np.int64]
_WORTH_CACHING = 16  # shared tokens; fewer are cheaper run again in each pass than in one of their own
_FEWEST_TOKENS = 16
Answer = tuple[float, bool]  # summed log-probability, and whether greedy decoding would say the same
Scored = tuple[int, Answer]  # index of the request, its answer


def can_share(model: PreTrainedModel, longest: int | None = None) -> bool:
    """Return whether texts of at most so many tokens (none: of any length) can be read as one tree.

    The model's attention must be told who sees whom, full or sliding, by a mask, and no text's positions
    may depend on the length of another.
    """
    if rotary.follow_length(model, longest):
        return False
    kinds = getattr(model.config, "layer_types", None)
    if kinds is None:  # one kind for all layers; Mistral's slides without saying so there
        kinds = ["full_attention" if getattr(model.config, "sliding_window", None) is None else "unnamed"]
    is_masked = model.config._attn_implementation in ("sdpa", "eager")
    return is_masked and set(kinds) <= {"full_attention", "sliding_attention"}


def score(
    model: PreTrainedModel, requests: Sequence[Request], asked: Iterable[int], tokens: int
) -> Iterator[Scored]:
    """Yield the answers to the asked requests as they come; a pass runs at most about so many tokens.

    Raises HardwareError when not even a few tokens fit into the memory.
    """
    asked = list(asked)
    if asked:
        yield from _Run(model, requests, asked, tokens).visit(0, None, 0)


def likelihoods(
    logits: torch.Tensor, rows: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log-probabilities of targets in rows of logits (W, V), and whether each is the likeliest."""
    normalisers = logits.float().logsumexp(-1)
    return logits[rows, targets].float() - normalisers[rows], logits.argmax(-1)[rows] == targets


class _Run:
    """One walk over a trie: the cache holds the path to where it stands."""

    def __init__(
        self, model: PreTrainedModel, requests: Sequence[Request], asked: list[int], tokens: int
    ) -> None:
        self.model = model
        self.trie = Trie(requests, asked)
        self.tokens = tokens
        self.cache = DynamicCache()  # full layers, of sliding ones too: a tree's mask says what slides out
        self.logprobs = {index: [math.nan] * len(requests[index].targets) for index in asked}
        self.greedy = dict.fromkeys(asked, True)
        self.missing = {index: len(requests[index].targets) for index in asked}

    @property
    def tree_tokens(self) -> int:
        return min(self.tokens, CPU_TREE) if self.model.device.type == "cpu" else self.tokens

    def visit(self, low: int, high: int | None, depth: int) -> Iterator[Scored]:
        """Answer what is wanted of rows [low, high), whose first `depth` ids are in the cache."""
        trie, high = self.trie, len(self.trie.rows) if high is None else high
        if not trie.is_wanted(low, high):
            return
        common = trie.common(low, high)
        is_large = trie.size(low, high, depth) > self.tree_tokens
        if high - low == 1 or (is_large and common - depth >= _WORTH_CACHING):
            yield from self._grow(low, depth, common)
            depth = common
        if high - low == 1:
            return
        if trie.size(low, high, depth) <= self.tree_tokens:
            yield from self._tree(low, high, depth)
            return
        for part in trie.parts(low, high, depth, self.tree_tokens):
            yield from self.visit(*part, depth)

    def _grow(self, row: int, start: int, end: int) -> Iterator[Scored]:
        """Run ids [start, end) of a row, one after the other, into the cache."""
        while start < end:
            stop = min(end, start + self.tokens)
            ids = self.trie.rows[row][start:stop]
            wanted = {p - start: w for p, w in self.trie.wanted[row].items() if start <= p < stop}
            try:
                yield from self._forward(ids, np.arange(start, stop), wanted, None)
            except torch.OutOfMemoryError as error:
                self._halve(error)
            else:
                start = stop

    def _tree(self, low: int, high: int, depth: int) -> Iterator[Scored]:
        """Run the rows beyond their cached path in one pass, each id seeing only the ids before it."""
        ids, positions, sees, wanted = _lay_out(self.trie, low, high, depth)
        try:
            yield from self._forward(ids, positions, wanted, sees)
        except torch.OutOfMemoryError as error:
            self._halve(error)
            yield from self.visit(low, high, depth)

    def _forward(
        self,
        ids: Ids,
        positions: Ids,
        wanted: dict[int, list[Wanted]],
        sees: npt.NDArray[np.bool_] | None,
    ) -> list[Scored]:
        """Run ids (N) behind what is cached before the first of their positions (N); sees is (N, P + N).

        Returns the requests that this pass completes; `wanted` is by index into ids.
        """
        device, depth = self.model.device, int(positions[0])
        for layer in self.cache.layers:
            layer.crop(min(0, depth - layer.get_seq_length()))
        with torch.inference_mode():
            logits = self.model(
                input_ids=torch.from_numpy(ids)[None].to(device),
                position_ids=torch.from_numpy(positions)[None].to(device),
                attention_mask=None if sees is None else self._mask(sees, positions),
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=torch.tensor(list(wanted) or [len(ids) - 1], device=device),
            ).logits[0]
            return self._read_off(logits, list(wanted.values()))

    def _read_off(self, logits: torch.Tensor, wanted: list[list[Wanted]]) -> list[Scored]:
        """Note each target's log-probability (logits: W, V); return the requests now complete."""
        flat = [(at, one) for at, several in enumerate(wanted) for one in several]
        if not flat:
            return []
        rows, targets = torch.tensor([(at, one.target) for at, one in flat], device=logits.device).T
        logprobs, is_greedy = likelihoods(logits, rows, targets)
        answered: list[Scored] = []
        for (_, one), logprob, greedy in zip(flat, logprobs.tolist(), is_greedy.tolist(), strict=True):
            self.logprobs[one.request][one.at] = logprob
            self.greedy[one.request] &= greedy
            self.missing[one.request] -= 1
            if not self.missing[one.request]:
                total = math.fsum(self.logprobs.pop(one.request))
                answered.append((one.request, (total, self.greedy.pop(one.request))))
        return answered

    def _mask(self, sees: npt.NDArray[np.bool_], positions: Ids) -> masks.Masks:
        """Return the mask of a tree, who sees whom (N, P + N)."""
        before = np.concatenate([np.arange(positions[0]), positions])
        shapes = (torch.from_numpy(each)[None] for each in (sees, positions, before))
        return masks.of_layers(self.model, *shapes)

    def _halve(self, error: torch.OutOfMemoryError) -> None:
        """Go on with half the tokens a pass, here and in what follows."""
        self.tokens //= 2
        if self.tokens < _FEWEST_TOKENS:
            raise HardwareError(
                f"no memory to score even {2 * self.tokens} tokens at once; free some,"
                " or take a smaller model or adapter.quantization=nf4"
            ) from error
        log.info("out of memory: going on with %s tokens a pass", self.tokens)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _lay_out(
    trie: Trie, low: int, high: int, depth: int
) -> tuple[Ids, Ids, npt.NDArray[np.bool_], dict[int, list[Wanted]]]:
    """Return a tree in a line: ids (N), positions (N), who sees whom (N, P + N), what is wanted."""
    size = trie.size(low, high, depth)
    ids, positions = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
    sees = np.zeros((size, depth + size), dtype=bool)
    sees[:, :depth] = True
    path = np.empty(max(len(row) for row in trie.rows[low:high]), dtype=np.int64)  # position -> index
    wanted, first = {}, 0
    for index in range(low, high):
        row = trie.rows[index]
        start = depth if index == low else trie.shared[index]
        last = first + len(row) - start
        path[start : len(row)] = np.arange(first, last)
        ids[first:last], positions[first:last] = row[start:], np.arange(start, len(row))
        sees[first:last, depth + path[depth:start]] = True
        sees[first:last, depth + first : depth + last] = np.tri(last - first, dtype=bool)
        wanted.update({int(path[p]): w for p, w in trie.wanted[index].items() if p >= start})
        first = last
    return ids, positions, sees, wanted
