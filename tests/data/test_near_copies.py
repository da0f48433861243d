"""Near duplicates: signatures estimate the Jaccard similarity, and every dropped row is like a kept one."""

import csv
import math
import random

import numpy as np
import pytest
from conftest import DATA, needs_data

from arabic_llm.data.cleaning import near_copies, ngrams
from arabic_llm.text.normalize import normalize

SEED = 17
SHADDA, FATHA, ALEF_HAMZA, TATWEEL = "\u0651", "\u064e", "\u0623", "\u0640"
NUM_PAIRS = 200


def shingles(text):
    said = text.split()
    return {tuple(said[i : i + 5]) for i in range(max(1, len(said) - 4))} if said else set()


def jaccard(one, other):
    return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))


def pairs(num_changed):
    """Return NUM_PAIRS of rows of 204 words (200 5-grams) whose last words differ, and their Jaccard."""
    draw = random.Random(f"{SEED}/{num_changed}")
    rows = []
    for _ in range(NUM_PAIRS):
        words = [f"ك{draw.getrandbits(40)}" for _ in range(204 + num_changed)]
        rows += [" ".join(words[:204]), " ".join(words[: 204 - num_changed] + words[204:])]
    return rows, jaccard(rows[0], rows[1])


def of(*texts):
    return near_copies.duplicates(
        near_copies.signatures([normalize(t, "matching") for t in texts], SEED)
    ).tolist()


def test_two_ngrams_have_one_hash_exactly_when_they_are_the_same_words():
    draw = random.Random(SEED)
    rows = [" ".join(draw.choices("ابتثجح", k=draw.randrange(0, 40))) for _ in range(300)]
    hashes, counts = ngrams.words(rows).ngrams(5)
    said = [r.split() for r in rows]
    expected = [tuple(w[i : i + 5]) for w in said if w for i in range(max(1, len(w) - 4))]
    assert counts.tolist() == [max(len(w) - 4, min(len(w), 1)) for w in said]
    assert (
        len(set(zip(hashes.tolist(), expected, strict=True)))
        == len(set(expected))
        == len(set(hashes.tolist()))
    )


def test_a_word_is_more_than_its_letters_in_another_order_or_place():
    texts = ["اب ج", "ا بج", "ابج", "ج اب", "اب ج"]
    hashes = ngrams.words(texts).ngrams(2)[0].tolist()
    assert len(set(hashes)) == 4
    assert hashes[0] == hashes[4]


def test_no_text_and_half_a_surrogate_pair_are_text_like_any_other():
    assert near_copies.signatures([], SEED).shape == (0, 112)
    assert near_copies.duplicates(near_copies.signatures([], SEED)).tolist() == []
    halves = near_copies.signatures(["\ud800 x", "\ud801 x", "\ud800 x"], SEED)
    assert near_copies.duplicates(halves).tolist() == [-1, -1, 0]


def test_a_text_with_a_line_break_is_refused():
    with pytest.raises(ValueError, match="holds a line break; normalise it for matching first"):
        near_copies.signatures(["ا\nب"], SEED)


def test_spelling_variants_are_the_same_row():
    plain = "احمد ذهب الى المدرسه في الصباح الباكر ثم عاد الى البيت"
    marked = (
        f"{ALEF_HAMZA}ح{FATHA}م{SHADDA}د ذهب إلى المدرسة، في الصبـ{TATWEEL}اح الباكر: ثم عاد إلى البيت!"
    )
    assert of(plain, marked) == [-1, 0]


def test_short_rows_repeat_only_their_equals_and_rows_without_words_repeat_none():
    assert of("", "!", "نعم", "نعم", "نعم نعم", "لا نعم", "نعم") == [-1, -1, -1, 2, -1, -1, 2]


def test_batches_and_blocks_do_not_change_the_signatures(monkeypatch):
    rows, _ = pairs(30)
    rows = ["", *rows[:40], "", "ا ب"]
    whole = near_copies.signatures(rows, SEED)
    for size in (1, 7, len(rows)):
        batches = [near_copies.signatures(rows[i : i + size], SEED) for i in range(0, len(rows), size)]
        assert np.array_equal(np.concatenate(batches), whole)
    monkeypatch.setattr(near_copies, "_BLOCK_CHARACTERS", 3000)
    assert np.array_equal(near_copies.signatures(rows, SEED), whole)
    assert not np.array_equal(near_copies.signatures(rows, SEED + 1), whole)


@pytest.mark.parametrize("num_changed", [5, 22, 67, 120])
def test_equal_entries_estimate_the_jaccard_similarity(num_changed):
    rows, exact = pairs(num_changed)
    entries = near_copies.signatures(rows, SEED)
    estimates = (entries[::2] == entries[1::2]).mean(axis=1)
    error = math.sqrt(exact * (1 - exact) / 112)
    assert abs(estimates.mean() - exact) < 3 * error / math.sqrt(NUM_PAIRS)
    # The spread of independent permutations: 3 standard errors of a standard deviation of 200 draws.
    assert abs(estimates.std() / error - 1) < 3 / math.sqrt(2 * NUM_PAIRS)


@pytest.mark.parametrize("num_changed", [11, 22, 35, 67])
def test_rows_share_a_band_as_often_as_the_s_curve_says(num_changed):
    rows, exact = pairs(num_changed)
    entries = near_copies.signatures(rows, SEED)
    keys = np.stack([near_copies.band_keys(entries, band) for band in range(near_copies.NUM_BANDS)], axis=1)
    found = (keys[::2] == keys[1::2]).any(axis=1).mean()
    expected = 1 - (1 - exact**8) ** 14
    assert abs(found - expected) <= 3 * math.sqrt(expected * (1 - expected) / NUM_PAIRS) + 1 / NUM_PAIRS


def test_edited_copies_are_found_at_jaccard_092_and_left_at_060():
    # 4.6 and 4.4 standard errors from the threshold of 0.8: all 200, and none.
    rows, exact = pairs(8)
    assert round(exact, 2) == 0.92
    repeats = near_copies.duplicates(near_copies.signatures(rows, SEED))
    assert repeats[::2].tolist() == [-1] * NUM_PAIRS
    assert repeats[1::2].tolist() == list(range(0, 2 * NUM_PAIRS, 2))
    rows, exact = pairs(50)
    assert exact == 0.6
    assert near_copies.duplicates(near_copies.signatures(rows, SEED)).tolist() == [-1] * len(rows)


def test_the_threshold_is_90_of_112_equal_entries():
    entries = np.arange(1, 113, dtype=np.uint32)[None].repeat(3, axis=0)
    entries[1, 90:] += 1000  # 90 equal entries: 0.804
    entries[2, 89:] += 2000  # 89: 0.795
    assert near_copies.duplicates(entries).tolist() == [-1, 0, -1]
    assert near_copies.duplicates(entries, similarity=0.9).tolist() == [-1, -1, -1]


def test_a_chain_of_small_changes_drops_only_rows_like_a_kept_one():
    draw = random.Random(SEED)
    words = [f"ك{draw.getrandbits(40)}" for _ in range(600)]
    rows = [" ".join(words[i : i + 204]) for i in range(0, 300, 5)]  # neighbours: Jaccard 0.95
    entries = near_copies.signatures(rows, SEED)
    repeats = near_copies.duplicates(entries)
    dropped = np.flatnonzero(repeats >= 0)
    assert 0 < (repeats < 0).sum() < 30
    assert repeats[0] == -1
    assert (repeats[repeats[dropped]] == -1).all()
    assert ((entries[dropped] == entries[repeats[dropped]]).mean(axis=1) >= 0.8).all()


def test_signatures_may_lie_in_a_file(tmp_path):
    rows, _ = pairs(8)
    entries = near_copies.signatures(rows, SEED)
    file = np.memmap(tmp_path / "signatures", np.uint32, "w+", shape=entries.shape)
    file[:] = entries
    assert np.array_equal(near_copies.duplicates(file), near_copies.duplicates(entries))


def test_a_thousand_copies_all_repeat_the_first():
    rows, _ = pairs(8)
    assert of(rows[0], *[rows[2]] * 1000, rows[0]) == [-1, -1, *[1] * 999, 0]


@needs_data
def test_of_real_stories_only_the_edited_copies_are_found():
    with (DATA / "arastories" / "MSA.csv").open(encoding="utf-8") as lines:
        stories = [row["Story"] for row, _ in zip(csv.DictReader(lines), range(40), strict=False)]
    words = stories[3].split()
    edited = " ".join([*words[:100], "كلمة", *words[101:]])
    without_marks = normalize(stories[5], "encoder").replace("،", "").replace("أ", "ا")
    assert of(*stories, edited, without_marks) == [-1] * 40 + [3, 5]


def test_chinese_rows_that_differ_in_a_character_are_near_copies():
    draw = random.Random(SEED)
    first = "".join(map(chr, (draw.randrange(0x4E00, 0x9FA0) for _ in range(120))))
    other = "".join(map(chr, (draw.randrange(0x4E00, 0x9FA0) for _ in range(120))))
    assert of(first, f"{first[:-1]}甲", other) == [-1, 0, -1]
