"""The counts of parts add up to those of the whole, and a summary goes through JSON unchanged."""

import json
from itertools import pairwise

import numpy as np

from arabic_llm.data.ledger import Ledger, total
from arabic_llm.data.preparing.summary import (
    LENGTH_BINS,
    Counts,
    SourceShare,
    SourceSummary,
    SplitFile,
    StepCount,
    Summary,
    count,
    word_unit,
)


def test_rows_are_counted_by_split_and_their_tokens_and_words_are_summed():
    counts = count("train", [10, 0], [6, 500], [9, 220], ["مصر", ""], ["", "علوم"])
    assert counts.rows == {"train": 2}
    assert (counts.instruction_tokens, counts.answer_tokens, counts.tokens) == (10, 506, 516)
    assert counts.words == 229
    assert (counts.labels, counts.subjects) == ({"مصر": 1}, {"علوم": 1})


def test_a_row_of_512_tokens_is_among_those_that_fit_in_512():
    assert [edge for edge in LENGTH_BINS if not edge & (edge - 1)] == [2**i for i in range(4, 16)]
    lengths = count("train", [512, 513, 0, 40_000], [0, 0, 0, 0], [1, 1, 1, 1]).lengths
    fitting = LENGTH_BINS.index(512)
    assert (lengths[0], lengths[fitting], lengths[fitting + 1], lengths[-1]) == (1, 1, 1, 1)
    assert len(lengths) == len(LENGTH_BINS) + 1


def test_narrow_integers_do_not_overflow():
    tokens = np.full(3, 60_000, np.uint16)
    assert count("train", tokens, tokens, tokens).tokens == 360_000


def test_counts_of_shards_add_up_to_those_of_one_pass():
    rng = np.random.default_rng(17)
    numbers = rng.integers(0, 3000, (3, 1000))
    labels = rng.choice(["", "G1", "G10", "G2"], 1000).tolist()
    whole = count("train", *numbers, labels, labels)
    cuts = [0, 1, 400, 400, 1000]  # one shard is empty
    shards = [count("train", *numbers[:, a:b], labels[a:b], labels[a:b]) for a, b in pairwise(cuts)]
    assert sum(shards, Counts()) == whole
    assert repr(sum(reversed(shards), Counts())) == repr(whole)  # the order of keys too


def test_ledgers_of_shards_add_up_to_those_of_one_pass():
    reasons = ["copy", "", "short", "short", "", "copy", "long", *["short"] * 6, "long"]
    whole, shards = Ledger("mix"), [Ledger("mix"), Ledger("mix")]
    for i, reason in enumerate(reasons):
        for ledger in (whole, shards[i >= 4]):
            ledger.drop(reason, f"a.jsonl:{i}") if reason else ledger.keep()
    for ledger in (whole, shards[0]):
        ledger.change("bidi controls removed", 1, ["a.jsonl:1"])
    added = total("mix", (Ledger.from_dict(shard.as_dict()) for shard in shards))
    assert json.dumps(added.as_dict()) == json.dumps(whole.as_dict())
    assert str(added).startswith("mix: 14 rows in, 2 kept, of which changed: 1 bidi controls removed, 12")
    assert whole.examples["short"] == [f"a.jsonl:{i}" for i in (2, 3, 7, 8, 9)]


def test_chinese_has_no_words_so_its_han_characters_are_counted():
    assert (word_unit("zh"), word_unit("ar"), word_unit(None)) == ("Han character", "word", "word")


def test_a_summary_goes_through_json_unchanged():
    ledger = Ledger("a")
    ledger.keep()
    ledger.drop("near copy", "a.jsonl:2 of a.jsonl:1")
    source = SourceSummary(
        *("a", "ar", None, "a.jsonl", ledger, count("train", [5], [7], [4], ["x"])),
        seen_in_training=("BoolQ",),
        filters=("max_chars=2048",),
        share=SourceShare(0.5, 0.4, 0.3),
    )
    bare = SourceSummary("b", None, "mit", "b/b @ main", Ledger("b"))
    files = (SplitFile("train.jsonl", 1, "0" * 64),)
    summary = Summary("mix", "run", "Qwen2", 17, (source, bare), files, StepCount(1, 16, 1, 0.1, 0.3))
    assert Summary.from_dict(json.loads(json.dumps(summary.as_dict()))) == summary
