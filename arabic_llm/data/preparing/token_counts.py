"""How many tokens texts have, counted word by word where the tokenizer reads them so: words come again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product

from tokenizers import Tokenizer

# Where a text is cut, the finest first: before a space between two words, which belongs to the second one;
# before a sign that follows a word.
_BEFORE_SIGNS = re.compile(r"(?=[ .,:!?\")؟،؛»”])(?:(?<=\S)(?= \S)|(?<=[^\W_])(?! ))")
_BEFORE_SPACES = re.compile(r"(?<=\S)(?= \S)")
# One of each class that pre-tokenizers tell apart: letters, marks, digits, punctuation, line breaks.
_CLASSES = (
    "a",
    "B",
    "'s",
    "ب",
    "ة",
    "中",
    "\u064b",
    "7",
    "٣",
    "_",
    "(",
    *'.,:!?")؟،؛»”',
    "😀",
    "\n",
    "\u200c",
)
_PROBE = " ".join(f"x{one} {other}x {one}{other}" for one, other in product(_CLASSES, repeat=2))
_BATCH = 256  # texts encoded at once: tokens take a hundred bytes and more each
_LONGEST_WORD = 40  # characters; what is longer does not come again
_MOST_WORDS = 1 << 18  # remembered: some 40 MiB


class TokenCounter:
    """Counts tokens as the tokenizer gives them, without those of templates."""

    def __init__(self, rules: str) -> None:
        """Build the tokenizer from what Tokenizer.to_str gave."""
        self._tokenizer = Tokenizer.from_str(rules)
        self._cut = finest_cut(self._tokenizer)
        self._known: dict[str, int] = {}

    def __call__(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text."""
        if self._cut is None:
            return self._encoded(texts)
        known = self._known
        if len(known) > _MOST_WORDS:
            known.clear()
        pieces = [self._cut.split(text) for text in texts]
        new = [*set[str]().union(*pieces).difference(known)]
        known.update(zip(new, self._encoded(new), strict=True))
        counts = [sum(map(known.__getitem__, words)) for words in pieces]
        for word in new:
            if len(word) > _LONGEST_WORD:
                del known[word]
        return counts

    def _encoded(self, texts: Sequence[str]) -> list[int]:
        batches = (texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH))
        encode = self._tokenizer.encode_batch_fast
        return [len(tokens) for batch in batches for tokens in encode(batch, add_special_tokens=False)]


def finest_cut(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    """Return where any text can be cut so that its tokens are those of its parts, or None: nowhere.

    That is where the pre-tokenizer cuts too, whatever stands on either side: no token reaches across. It
    is asked about each pair of classes of characters. Tokenizers that read a text whole (SentencePiece's
    BPE) or put a sign before its beginning fail.
    """
    if tokenizer.pre_tokenizer is None:
        return None
    for token in tokenizer.get_added_tokens_decoder().values():
        if token.lstrip or token.rstrip or token.single_word or len(_BEFORE_SIGNS.split(token.content)) > 1:
            return None
    whole = _pretokens(tokenizer, _PROBE)
    for cut in (_BEFORE_SIGNS, _BEFORE_SPACES):
        if whole == [token for part in cut.split(_PROBE) for token in _pretokens(tokenizer, part)]:
            return cut
    return None


def _pretokens(tokenizer: Tokenizer, text: str) -> list[str]:
    said = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
    return [token for token, _ in tokenizer.pre_tokenizer.pre_tokenize_str(said)]
