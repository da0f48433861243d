"""Which rows stay: copies, near copies, samples, given splits, shares; of one source and of a mix."""

import json

import pytest
from conftest import DATA, compose_config

from arabic_llm.config.data import DataConfig, SourceConfig
from arabic_llm.data.preparing import sources
from arabic_llm.errors import ConfigError, DataError

WORDS = "في مدينة بعيدة عاش تاجر له ثلاثة أولاد يحبون السفر".split()  # noqa: SIM905


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def qa(question, answer="جواب", **more):
    return {"instruction": str(question), "output": str(answer), **more}


def load(tmp_path, *overrides, data="local"):
    return sources.load(compose_config(f"data={data}", *overrides).data, tmp_path, seed=17)


def mixed(tmp_path, first, second, one=None, two=None, **settings):
    """Load a mix of an Arabic source and a Chinese one."""
    write(tmp_path / "one" / "rows.jsonl", first)
    write(tmp_path / "two" / "rows.jsonl", second)
    made = {
        "one": SourceConfig("one", path=str(tmp_path / "one"), language="ar", weight=one),
        "two": SourceConfig("two", path=str(tmp_path / "two"), language="zh", weight=two),
    }
    mix = DataConfig("mix", sources=made, dev_share=0, test_share=0, **settings)
    return sources.load(mix, tmp_path, seed=17)


def test_rows_that_matching_reads_as_one_are_copies_and_symbols_alone_are_not(tmp_path):
    rows = [qa("كَتَبَ الوَلَدُ؟"), qa("كتب الولد"), qa("🙂"), qa("🙃"), qa("٣"), qa("3")]
    write(tmp_path / "my.jsonl", rows)
    loaded = load(tmp_path, f"data.path={tmp_path}/my.jsonl", "data.dev_share=0", "data.test_share=0")
    assert [row.id[-1] for row in loaded.train] == ["1", "3", "4", "5"]
    assert loaded.ledger.examples["exact copy"] == [f"{tmp_path}/my.jsonl:{n}" for n in (2, 6)]


def test_a_sample_is_drawn_from_the_seed_whatever_the_order_of_the_rows(tmp_path):
    rows = [qa(n) for n in range(100)]
    drawn = []
    for name, order in (("a", rows), ("b", rows[::-1])):
        write(tmp_path / f"{name}.jsonl", order)
        loaded = load(
            tmp_path, f"data.path={tmp_path}/{name}.jsonl", "data.sample_size=10", "data.dev_share=0"
        )
        drawn.append({row.messages[0].content for row in loaded.train})
        assert loaded.ledger.dropped == {"not in the sample of data.sample_size": 90}
    assert drawn[0] == drawn[1] and len(drawn[0]) == 10
    assert drawn[0] != {str(n) for n in range(10)}


def test_files_of_a_split_are_that_split_and_no_training_row_repeats_one(tmp_path):
    write(tmp_path / "set" / "train.jsonl", [qa(n) for n in range(20)])
    write(tmp_path / "set" / "val.jsonl", [qa(3), qa(100), qa(100)])
    write(tmp_path / "set" / "test.jsonl", [qa(4), qa(200)])
    loaded = load(
        tmp_path, f"data.path={tmp_path}/set", "data.dev_files=[val.jsonl]", "data.test_files=[test.jsonl]"
    )
    assert [row.messages[0].content for row in loaded.dev] == ["3", "100", "100"]
    assert {row.messages[0].content for row in loaded.train} == {str(n) for n in range(20)} - {"3", "4"}
    assert loaded.ledger.dropped == {"also in the dev or test split": 2}
    assert (loaded.ledger.rows_in, loaded.ledger.kept) == (25, 23)


def test_a_near_copy_of_a_test_row_is_dropped_and_the_test_row_stays(tmp_path):
    text = " ".join(WORDS * 4)
    write(tmp_path / "set" / "a.jsonl", [{"text": f"{text} {n}"} for n in range(3)])
    write(tmp_path / "set" / "test.jsonl", [{"text": text}, {"text": f"{text} ثم"}])
    write(tmp_path / "set" / "b.jsonl", [{"text": "نص آخر تماما لا يشبه ما قبله في شيء"}])
    loaded = load(
        tmp_path,
        *(f"data.path={tmp_path}/set", "data.test_files=[test.jsonl]", "data.dev_share=0"),
        "data.cleaning.near_duplicates=0.8",
    )
    assert [row.text[:6] for row in loaded.train] == ["نص آخر"]
    assert loaded.ledger.dropped == {"near copy": 3}
    assert loaded.ledger.kept == 3


def test_max_rows_counts_what_is_really_kept(tmp_path):
    write(tmp_path / "my.jsonl", [qa(n // 2) for n in range(20)])
    loaded = load(
        tmp_path,
        f"data.path={tmp_path}/my.jsonl",
        "data.max_rows=6",
        "data.dev_share=0",
        "data.test_share=0",
    )
    assert [row.messages[0].content for row in loaded.train] == list("012345")
    assert loaded.ledger.dropped == {"exact copy": 10, "beyond data.max_rows": 4}


def test_the_shares_are_of_all_rows_and_no_row_is_in_two_splits(tmp_path):
    write(tmp_path / "my.jsonl", [qa(n) for n in range(200)])
    path = f"data.path={tmp_path}/my.jsonl"
    loaded = load(tmp_path, path, "data.dev_share=0.1", "data.test_share=0.2")
    assert (len(loaded.train), len(loaded.dev), loaded.ledger.kept) == (140, 20, 200)
    without = load(tmp_path, path, "data.dev_share=0.1", "data.test_share=0")
    assert not {row.id for row in loaded.train} & {row.id for row in loaded.dev}
    assert len(without.train) == 180


def test_sources_of_a_mix_are_cleaned_alone_and_then_together(tmp_path):
    loaded = mixed(tmp_path, [qa(1), qa(2), qa(2)], [qa(2), qa(3)])
    assert [(row.source, row.messages[0].content) for row in loaded.train] == [
        *(("one", "1"), ("one", "2"), ("two", "3"))
    ]
    assert list(map(str, loaded.ledgers)) == [
        "one: 3 rows in, 2 kept, 1 dropped (1 exact copy)",
        "two: 2 rows in, 1 kept, 1 dropped (1 exact copy)",
    ]
    assert loaded.ledger.rows_in == 5


def test_a_source_without_weight_is_not_even_read(tmp_path):
    loaded = mixed(tmp_path, [{"broken": "row"}], [qa(2), qa(3)], one=0, two=1)
    assert {row.source for row in loaded.train} == {"two"}
    assert [ledger.stage for ledger in loaded.ledgers] == ["two"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"one": 1}, "data.sources.two.weight is not set, but that of one is"),
        ({"one": -1}, "data.weight must not be negative"),
        ({"one": 0, "two": 0}, "every weight is 0"),
        ({"language_quotas": {"de": 0.5}}, "language_quotas.de: no source has data.language=de"),
        ({"language_quotas": {"ar": 0.7, "zh": 0.7}}, "data.language_quotas add up to 1.4"),
        ({"prefer_chinese_ratio": 1.7}, "data.prefer_chinese_ratio must be between 0 and 1, not 1.7"),
        ({"path": "elsewhere"}, "no file elsewhere"),
    ],
)
def test_a_mix_that_cannot_be_is_refused(tmp_path, settings, said):
    with pytest.raises((ValueError, DataError), match=said):
        mixed(tmp_path, [qa(1)], [qa(2)], **settings)


def test_the_folder_of_a_mix_must_be_one_that_was_prepared(tmp_path):
    with pytest.raises(ConfigError, match="data=mix is a mix; task=prepare makes its folder"):
        mixed(tmp_path, [qa(1)], [qa(2)], path=str(tmp_path / "one"))


def test_the_built_in_rows_are_split_by_themselves():
    loaded = sources.load(compose_config("data=sample", "data.test_share=0.5").data, DATA, seed=17)
    assert (len(loaded.train), len(loaded.dev)) == (4881, 404)


@pytest.mark.parametrize(
    ("one", "other"), [("كَتَبَ", "كُتِبَ"), ("50%", "50"), ("C#", "C"), ("a[0]", "a(0)"), ("x = -1", "x = 1")]
)
def test_answers_that_differ_in_diacritics_or_signs_are_no_copies(tmp_path, one, other):
    answers = [one, other, f"{one}.", one]
    write(tmp_path / "my.jsonl", [qa("ما الجواب؟", answer) for answer in answers])
    rows = load(tmp_path, f"data.path={tmp_path}/my.jsonl", "data.dev_share=0", "data.test_share=0")
    assert [row.messages[-1].content for row in rows.train] == [one, other]
    assert rows.ledger.dropped == {"exact copy": 2}
