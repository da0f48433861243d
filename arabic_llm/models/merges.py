"""Merges that go on where a tokenizer's BPE ended: the pairs of its tokens that stand together most often.

A merge is learned only where what it makes can stand in no text but of the script asked for, and merges
are put behind all that are there: a text of other scripts keeps its tokens, to the last one.
"""

from __future__ import annotations

import heapq
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from tokenizers import Tokenizer

from arabic_llm.errors import ConfigError

# Unicode's blocks of a script, with its marks, digits and punctuation; U+FEFF opens a file.
SCRIPTS = {
    "arabic": ((0x600, 0x6FF), (0x750, 0x77F), (0x870, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC)),
    "han": ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF)),
}
_SELDOM = 2  # a pair that stands together less often is no pattern
_SPACE = "\u2581"  # what SentencePiece writes for a space
_PIECE = re.compile(f"{_SPACE}?[^{_SPACE}\n]+")
# UTF-8: a first byte says how many there are; the lowest code point that needs so many.
_FIRST_BYTES = {1: range(0x80), 2: range(0xC0, 0xE0), 3: range(0xE0, 0xF0), 4: range(0xF0, 0x100)}
_FEWEST = {1: 0, 2: 0x80, 3: 0x800, 4: 0x10000}
_REST = range(0x80, 0xC0)
_CHARACTER = re.compile(rb"[\x00-\x7f]|[\xc0-\xff][\x80-\xbf]*")
Pair = tuple[int, int]


@dataclass(frozen=True)
class Learned:
    """Merges in the order in which they were learned, as tokenizer.json spells them; each makes a token.

    `pieces` are the ids, of tokens from before, that each of the new ones is made of.
    """

    merges: tuple[tuple[str, str], ...]
    pieces: tuple[tuple[int, ...], ...]
    seldomest: int  # how often the last pair stood together


def learn(backend: Tokenizer, texts: Iterable[str], num_tokens: int, scripts: Iterable[str]) -> Learned:
    """Return at most so many merges of some scripts, by BPE over the tokens of texts as they are.

    Raises ConfigError for a tokenizer that is no BPE of bytes or of SentencePiece's pieces.
    """
    alphabet = _alphabet(backend)
    blocks = [block for script in scripts for block in SCRIPTS[script]]
    is_allowed = cache(lambda value: _is_of(alphabet(value), blocks))
    known: dict[str, int] = backend.get_vocab()
    words: list[list[int]] = []
    times: list[int] = []
    values: dict[int, str] = {}
    for word, number in _words(backend, texts).items():
        if not _has_any(alphabet(word), blocks):
            continue
        tokens = backend.model.tokenize(word)
        if len(tokens) > 1:
            words.append([token.id for token in tokens])
            times.append(number)
            values |= {token.id: token.value for token in tokens}
    bpe = _Bpe(words, times)
    merges: list[tuple[str, str]] = []
    pieces: dict[int, tuple[int, ...]] = {token: (token,) for token in values}
    seldomest, following = 0, max(known.values()) + 1
    while len(merges) < num_tokens and (best := bpe.most_frequent()) is not None:
        (left, right), number = best
        made = values[left] + values[right]
        if made in known or not is_allowed(made):
            bpe.leave(left, right)
            continue
        known[made], values[following] = following, made
        merges.append((values[left], values[right]))
        pieces[following] = pieces[left] + pieces[right]
        bpe.merge(left, right, following)
        following, seldomest = following + 1, number
    own = tuple(pieces[known[left + right]] for left, right in merges)
    return Learned(tuple(merges), own, seldomest)


class _Bpe:
    """Words as tokens, and how often each pair of neighbours stands in them."""

    def __init__(self, words: list[list[int]], times: list[int]) -> None:
        self._words, self._times = words, times
        self._counts: Counter[Pair] = Counter()
        self._where: dict[Pair, set[int]] = defaultdict(set)
        self._left: set[Pair] = set()
        for number, word in enumerate(words):
            self._count(number, word, times[number])
        self._heap = [(-count, pair) for pair, count in self._counts.items() if count >= _SELDOM]
        heapq.heapify(self._heap)

    def most_frequent(self) -> tuple[Pair, int] | None:
        """Return the pair that stands together most often (of like ones the lowest), and how often."""
        while self._heap:
            negative, pair = heapq.heappop(self._heap)
            if pair in self._left:
                continue
            count = self._counts[pair]
            if count == -negative:
                return pair, count
            if count >= _SELDOM:  # it has become seldomer
                heapq.heappush(self._heap, (-count, pair))
        return None

    def leave(self, left: int, right: int) -> None:
        """Never return a pair again."""
        self._left.add((left, right))

    def merge(self, left: int, right: int, made: int) -> None:
        """Put one token for each of such pairs."""
        changed: set[Pair] = set()
        for number in sorted(self._where.pop((left, right), ())):
            before = self._words[number]
            self._count(number, before, -self._times[number])
            after = list(_merged(before, left, right, made))
            self._words[number] = after
            changed |= self._count(number, after, self._times[number])
        for pair in changed:
            if (count := self._counts[pair]) >= _SELDOM and pair not in self._left:
                heapq.heappush(self._heap, (-count, pair))

    def _count(self, number: int, word: list[int], times: int) -> set[Pair]:
        found = set(pairwise(word))
        for pair in pairwise(word):
            self._counts[pair] += times
        for pair in found if times > 0 else ():
            self._where[pair].add(number)
        return found


def _merged(word: list[int], left: int, right: int, made: int) -> Iterator[int]:
    place = 0
    while place < len(word):
        if word[place] == left and word[place + 1 : place + 2] == [right]:
            yield made
            place += 2
        else:
            yield word[place]
            place += 1


def _words(backend: Tokenizer, texts: Iterable[str]) -> Counter[str]:
    """Return how often each piece stands in the texts that merges stay within."""
    found: Counter[str] = Counter()
    normalizer, splitter = backend.normalizer, backend.pre_tokenizer
    is_split = _is_bytes(backend)
    for text in texts:
        plain = normalizer.normalize_str(text) if normalizer is not None else text
        parts = [plain] if splitter is None else [part for part, _ in splitter.pre_tokenize_str(plain)]
        found.update(parts if is_split else (word for part in parts for word in _PIECE.findall(part)))
    return found


def refuse_other(backend: Tokenizer) -> None:
    """Refuse a tokenizer whose merges cannot be gone on with. Raises ConfigError."""
    rules = json.loads(backend.to_str())["model"]
    kind = rules.get("type")
    is_marked = rules.get("continuing_subword_prefix") or rules.get("end_of_word_suffix")
    if kind != "BPE" or is_marked or not (_is_bytes(backend) or _is_of_pieces(backend)):
        said = "BPE of whole letters or marked pieces" if kind == "BPE" else kind
        raise ConfigError(
            f"adapter.extend_vocabulary: the tokenizer of this model is {said}, and only BPE of bytes"
            " (GPT-2, Qwen, Llama 3) or of SentencePiece (Llama 2, Gemma) is gone on with; leave it out"
        )


def _alphabet(backend: Tokenizer) -> Callable[[str], bytes]:
    """Return what gives the bytes that a token or a piece of text stands for."""
    refuse_other(backend)
    if not _is_bytes(backend):
        return lambda value: value.replace(_SPACE, " ").encode()
    letters = byte_of_letter()
    return lambda value: bytes(letters.get(letter, 0xFF) for letter in value)


def _is_bytes(backend: Tokenizer) -> bool:
    return '"ByteLevel"' in json.dumps(_rules(backend)["decoder"])


def _is_of_pieces(backend: Tokenizer) -> bool:
    rules = _rules(backend)
    return _SPACE in json.dumps([rules["normalizer"], rules["pre_tokenizer"]], ensure_ascii=False)


def _rules(backend: Tokenizer) -> dict[str, Any]:
    """Return all that a tokenizer is told but for its vocabulary."""
    parts = ("normalizer", "pre_tokenizer", "decoder")
    found = {name: getattr(backend, name) for name in parts}
    return {name: None if part is None else json.loads(part.__getstate__()) for name, part in found.items()}


@cache
def byte_of_letter() -> dict[str, int]:
    """Return letter -> byte as GPT-2 writes bytes: printable ones as they are, others from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    table = {chr(byte): byte for byte in plain}
    return table | {chr(0x100 + number): byte for number, byte in enumerate(others)}


def _has_any(text: bytes, blocks: Iterable[tuple[int, int]]) -> bool:
    return any(_is_within(ord(sign), ord(sign), blocks) for sign in text.decode(errors="replace"))


def _is_of(text: bytes, blocks: Iterable[tuple[int, int]]) -> bool:
    """Return whether some bytes can stand in texts of a script alone.

    All whole characters are of its blocks but for a space in front; of one that is cut off at the end
    all that it may become are. What a first byte is missing from may be of any script.
    """
    body = text[1:] if text.startswith(b" ") else text
    ranges = list(_ranges(body))
    return bool(ranges) and all(_is_within(low, high, blocks) for low, high in ranges)


def _is_within(low: int, high: int, blocks: Iterable[tuple[int, int]]) -> bool:
    return any(first <= low and high <= last for first, last in blocks)


def _ranges(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield the lowest and the highest code point that each character of UTF-8 in some bytes may have.

    Of one whose end is cut off these are several; one whose beginning is cut off is none.
    """
    for found in _CHARACTER.finditer(text):
        own = found[0]
        length = next(number for number, first in _FIRST_BYTES.items() if own[0] in first)
        cut = length - len(own)
        points = [_point(own + bytes([byte]) * cut, length) for byte in (_REST[0], _REST[-1])]
        yield max(points[0], _FEWEST[length]), points[1]


def _point(character: bytes, length: int) -> int:
    point = character[0] if length == 1 else character[0] & (0x7F >> length)
    for byte in character[1:]:
        point = point << 6 | byte & 0x3F
    return point
