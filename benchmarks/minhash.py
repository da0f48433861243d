"""MinHash signatures against datatrove's on real Arabic text: CPU time as a ratio, and the pairs both find.

    ARABIC_LLM_DATA=../shared/data OMP_NUM_THREADS=1 python benchmarks/minhash.py

Both sign the same texts, already normalised for matching, with word 5-grams and 14 bands of 8. Datatrove's
simplify_text steps are switched off and its words are those of str.split, through its own WordTokenizer
hook: its tokenizer for Arabic (spaCy's blank "ar"; no download) costs it more and splits other words.
Datatrove's time is that of MinhashDedupSignature.run, ours that of signatures and band keys.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from pathlib import Path

import numpy as np

from arabic_llm.data.cleaning import near_copies
from arabic_llm.text.normalize import normalize

DATA = Path(os.environ.get("ARABIC_LLM_DATA", Path(__file__).parents[2] / "shared" / "data"))
SEED = 17
NUM_COPIES = 2  # edited copies of each real text
NUM_RAW = 300  # texts of the comparison from raw text
ROUNDS = 2
MOST_EDITS = (2, 12)  # words replaced in 100: copies are clear, or of every degree
Pairs = set[tuple[int, int]]

try:
    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
    from datatrove.utils.logging import logger
    from datatrove.utils.text import TextNormConfig
    from datatrove.utils.typeshelper import Languages
    from datatrove.utils.word_tokenizers import WordTokenizer
except ImportError as error:
    sys.exit(
        f"{error}; pip install --editable '.[bench]' in an environment of its own (it holds xxhash back)"
    )


class Split(WordTokenizer):
    """Words as both sides see them."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        return [text]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))]


def main() -> None:
    logger.remove()
    raw = list(real_texts())
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, one core")
    from_raw_text(random.Random(SEED).sample(raw, NUM_RAW))  # noqa: S311
    texts = [text for text in dict.fromkeys(normalize(text, "matching") for text in raw) if text]
    for edits in MOST_EDITS:
        report(f"copies with up to {edits}% of words replaced", with_copies(texts, edits))


def from_raw_text(raw: list[str]) -> None:
    """Print what each side takes with its own normalisation and words: what a user waits for."""
    num_words = sum(len(text.split()) for text in raw)
    own_words = TextNormConfig(), Languages.standard_arabic__arab
    datatrove(raw[:1], *own_words)  # imports spaCy
    start = time.process_time()
    texts = [normalize(text, "matching") for text in raw]
    normalised = time.process_time()
    near_copies.signatures(texts, SEED)
    ours_took = time.process_time() - start
    theirs_took, _ = datatrove(raw, *own_words)
    print(
        f"from raw text, each with its own normalisation and words: {len(raw):,} rows, {num_words:,} words"
    )
    print(f"  datatrove  {theirs_took / num_words * 1e9:6,.0f} ns a word")
    share = (normalised - start) / ours_took
    print(f"  ours       {ours_took / num_words * 1e9:6,.0f} ns a word, {share:.1%} of it normalisation")
    print(f"  ratio {theirs_took / ours_took:.1f}")


def report(name: str, texts: list[str]) -> None:
    """Print the ratio of CPU times and the shares of pairs found."""
    num_words = sum(len(text.split()) for text in texts)
    seconds, found = measure(texts)
    ratio = seconds["datatrove"] / seconds["ours"]
    print(f"{name}: {len(texts):,} rows, {num_words:,} words")
    for side, took in seconds.items():
        print(f"  {side:10} {took:7.2f} CPU s, {took / num_words * 1e9:6,.0f} ns a word")
    print(f"  ratio {ratio:.1f}")
    exact = {pair: jaccard(texts, pair) for pair in found["datatrove"] | found["ours"]}
    for least in (0.9, 0.8, 0.0):
        theirs = {pair for pair in found["datatrove"] if exact[pair] >= least}
        mine = {pair for pair in found["ours"] if exact[pair] >= least}
        both = len(theirs & mine)
        print(
            f"  pairs of Jaccard >= {least}: datatrove {len(theirs):,}, ours {len(mine):,};"
            f" we find {both / max(1, len(theirs)):.2%} of its, it {both / max(1, len(mine)):.2%} of ours"
        )


def measure(texts: list[str]) -> tuple[dict[str, float], dict[str, Pairs]]:
    """Return (CPU seconds of the faster round, pairs that share a band) of each side."""
    sides: dict[str, Callable[[list[str]], tuple[float, Pairs]]] = {"datatrove": datatrove, "ours": ours}
    seconds = dict.fromkeys(sides, float("inf"))
    found: dict[str, Pairs] = {}
    for _ in range(ROUNDS):
        for name, side in sides.items():
            took, found[name] = side(texts)
            seconds[name] = min(seconds[name], took)
    return seconds, found


def ours(texts: list[str]) -> tuple[float, Pairs]:
    start = time.process_time()
    signed = near_copies.signatures(texts, SEED)
    keys = [near_copies.band_keys(signed, band) for band in range(near_copies.NUM_BANDS)]
    took = time.process_time() - start
    return took, pairs(
        ((i, key), row) for i, band in enumerate(keys) for row, key in enumerate(band.tolist())
    )


def datatrove(
    texts: list[str], steps: TextNormConfig | None = None, language: WordTokenizer | str | None = None
) -> tuple[float, Pairs]:
    config = MinhashConfig(norm_config=steps or TextNormConfig(*[False] * 7))
    with tempfile.TemporaryDirectory() as folder:
        step = MinhashDedupSignature(folder, config, language=language or Split())
        documents = [Document(text=text, id=str(row)) for row, text in enumerate(texts)]
        start = time.process_time()
        step.run(documents)
        took = time.process_time() - start
        return took, pairs(bucket_rows(Path(folder)))


def bucket_rows(folder: Path) -> Iterator[tuple[object, int]]:
    """Yield (bucket and its 8 hashes, row) from datatrove's bucket files."""
    record = np.dtype([("hashes", "<u8", near_copies.BAND_SIZE), ("row", "<u4")])
    for path in sorted(folder.rglob("*.minhash.sig")):
        for hashes, row in np.fromfile(path, record).tolist():
            yield (path.parent.name, tuple(hashes)), row


def pairs(rows: Iterable[tuple[object, int]]) -> Pairs:
    """Return the pairs of rows that share a key."""
    buckets = defaultdict(list)
    for key, row in rows:
        buckets[key].append(row)
    return {pair for bucket in buckets.values() for pair in combinations(sorted(bucket), 2)}


def jaccard(texts: list[str], pair: tuple[int, int]) -> float:
    one, other = (shingles(texts[row]) for row in pair)
    return len(one & other) / max(1, len(one | other))


def shingles(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return set(zip(*(words[i:] for i in range(near_copies.NGRAM_WORDS)), strict=False))


def with_copies(texts: list[str], most_edits: int) -> list[str]:
    """Return the texts and their copies with up to that share of words replaced, in an order of chance."""
    draw = random.Random(f"{SEED}/{most_edits}")  # noqa: S311
    vocabulary = sorted({word for text in texts for word in text.split()})
    rows = list(texts)
    for text in texts * NUM_COPIES:
        words = text.split()
        for _ in range(round(len(words) * draw.uniform(0, most_edits) / 100)):
            words[draw.randrange(len(words))] = draw.choice(vocabulary)
        rows.append(" ".join(words))
    draw.shuffle(rows)
    return rows


def real_texts() -> Iterator[str]:
    """Yield stories (MSA and two dialects) and Wikipedia paragraphs."""
    if not DATA.is_dir():
        sys.exit(f"no real data at {DATA}; set ARABIC_LLM_DATA")
    for path in sorted((DATA / "arastories").glob("*.csv")):
        with path.open(encoding="utf-8") as lines:
            yield from (row["Story"] for row in csv.DictReader(lines))
    for path in sorted((DATA / "arcd").glob("arcd-*.json")):
        articles = json.loads(path.read_text(encoding="utf-8"))["data"]
        yield from (part["context"] for article in articles for part in article["paragraphs"])


if __name__ == "__main__":
    main()
