"""The card says what the files hold, the hub reads its metadata, and no name breaks its tables."""

import json
import re

import pytest
import yaml

from arabic_llm.data.ledger import Ledger
from arabic_llm.data.preparing.summary import (
    Counts,
    SourceShare,
    SourceSummary,
    SplitFile,
    StepCount,
    Summary,
    count,
)
from arabic_llm.reports import card, card_metadata
from arabic_llm.reports.markdown import code, escaped, percent

# Name -> instruction and answer tokens, as BARKA's card gives them.
BARKA = {
    "boolq_ift": (1_290_801, 275_243),
    "race_ift_v02_filtered": (33_798_422, 4_466_553),
    "copa_ift_v02_filtered": (11_663, 11_703),
    "hellaswag_ift_v02_filtered": (7_264_646, 1_448_588),
    "sciq_ift_v02_filtered": (1_559_005, 276_289),
    "arc_challenge_ift_v02_filtered": (64_031, 41_144),
    "arc_easy_ift_v02_filtered": (112_489, 80_226),
    "piqa_ift_v02_filtered": (931_060, 503_598),
    "gsm8k_ift_v02": (435_759, 563_772),
    "wiki_data_full_filtered": (1_934_101, 10_900_116),
    "multi_turn_v02_filtered": (2_740_059, 14_347_695),
}


def source(name="a", language="ar", license="mit", counts=None, **more):
    counts = counts or count("train", [20, 30], [200, 600], [100, 240])
    ledger = Ledger(name, counts.num_rows, counts.num_rows)
    return SourceSummary(name, language, license, f"{name}.jsonl", ledger, counts, **more)


def summary(*sources, files=("train.jsonl",), name="mix", **more):
    shards = tuple(SplitFile(file, 2, "0" * 64) for file in files)
    return Summary(name, "python -m arabic_llm.run task=prepare", "Qwen2", 17, sources, shards, **more)


def metadata(text):
    return yaml.safe_load(text.split("---\n")[1])


def lines_of(text, title):
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0].strip().splitlines()


def test_the_token_table_ends_with_the_sums_of_barka():
    text = card.card(
        summary(*(source(n, counts=Counts({"train": 1}, i, a, 1)) for n, (i, a) in BARKA.items()))
    )
    lines = lines_of(text, "Tokens")
    assert lines[-1] == "| **all** | **50,142,036** | **32,914,927** | **83,056,963** |"
    assert lines[-12] == "| boolq_ift | 1,290,801 | 275,243 | 1,566,044 |"


def test_tokens_a_word_are_told_by_source_and_language_with_their_unit():
    chinese = source("belle", "zh", counts=count("train", [40], [60], [80]))
    lines = lines_of(card.card(summary(source("a"), source("b"), chinese)), "Tokens a word")
    assert lines[-4:] == [
        "| a | ar | word | 340 | 2.50 |",
        "| b | ar | word | 340 | 2.50 |",
        "| belle | zh | Han character | 80 | 1.25 |",
        "| **all in this language** | ar | word | 680 | 2.50 |",
    ]


def test_each_reason_stands_with_its_count_and_the_first_rows_it_dropped():
    one = source()
    one.ledger.drop("exact copy", "a|b.jsonl:7")
    one.ledger.drop("exact copy", "قصص.jsonl:9")
    lines = lines_of(card.card(summary(one)), "Rows in, kept, dropped")
    assert "| a | 4 | 2 | 2 |" in lines
    assert "| a | exact copy | 2 | a\\|b.jsonl:7<br>قصص.jsonl:9 |" in lines


def test_a_ledger_that_does_not_close_gets_no_card():
    one = source()
    one.ledger.rows_in += 1
    with pytest.raises(AssertionError, match="a: 3 in, 2 kept"):
        card.card(summary(one))


def test_benchmarks_that_the_rows_are_made_from_are_told_with_a_warning():
    text = card.card(summary(source(), source("boolq_ift", seen_in_training=("BoolQ", "ARC"))))
    assert "| boolq_ift.jsonl | BoolQ, ARC |" in text
    assert "**Warning.** Rows here are made from training rows of ARC, BoolQ." in text
    assert "Warning" not in card.card(summary(source()))


def test_rows_that_fit_are_told_for_lengths_that_people_choose():
    counts = count("train", [256, 257, 512, 9000], [0] * 4, [1] * 4)
    lines = lines_of(card.card(summary(source(counts=counts))), "Lengths")
    assert lines[-1] == "| a | 25.0% | 75.0% | 75.0% | 75.0% | 75.0% | 75.0% |"


def test_a_mix_tells_asked_and_achieved_shares_and_the_padding_saved():
    shares = (SourceShare(0.7, 0.69, 0.5), SourceShare(0.3, 0.31, 0.5))
    parts = [source(str(i), share=share) for i, share in enumerate(shares)]
    text = card.card(summary(*parts, plan=StepCount(2, 16, 1250, 0.08, 0.31)))
    assert "| 0 | 70.0% | 69.0% | 50.0% |" in lines_of(text, "Shares")
    assert "16 sequences a step: 1,250 steps" in text
    assert "8.0% of its positions are padding; without, 31.0%." in text
    assert "## Shares" not in card.card(summary(source()))


def test_labels_and_subjects_are_told_where_there_are_any():
    counts = count("train", [1] * 3, [1] * 3, [1] * 3, ["G10", "G2", "G10"])
    text = card.card(summary(source("dares", counts=counts)))
    assert lines_of(text, "Labels")[-2:] == ["| dares | G2 | 1 | 33.3% |", "| dares | G10 | 2 | 66.7% |"]
    assert "## Subjects" not in text
    assert metadata(text)["task_categories"] == ["text-generation", "text-classification"]


@pytest.mark.parametrize(
    "licenses, expected",
    [
        (["Apache-2.0", "apache-2.0"], {"license": "apache-2.0"}),
        (["CC BY-SA 4.0"], {"license": "cc-by-sa-4.0"}),
        ([None], {"license": "unknown"}),
        (["mit", None], {"license": "other", "license_name": "mixed", "license_link": "LICENSE.md"}),
        (["My: own"], {"license": "other", "license_name": "my-own", "license_link": "LICENSE.md"}),
    ],
)
def test_the_license_is_one_that_the_hub_knows_or_other_with_a_file(licenses, expected):
    mix = summary(*(source(str(i), license=license) for i, license in enumerate(licenses)))
    assert card_metadata.license_of(mix) == expected
    assert ("LICENSE.md" in card.files(mix)) == ("license_link" in expected)


@pytest.mark.parametrize(
    "rows, size",
    [
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (99_999, "10K<n<100K"),
        (10**6, "1M<n<10M"),
        (10**11, "100B<n<1T"),
        (10**12, "n>1T"),
    ],
)
def test_size_categories_are_those_of_the_hub(rows, size):
    mix = Summary("m", "run", "Qwen2", 17, (source(),), (SplitFile("train.jsonl", rows, ""),))
    assert metadata(card.card(mix))["size_categories"] == [size]


def test_no_name_breaks_the_metadata_or_a_table():
    name = "no: *قصص* | [x](y) `z` <b>\n---\n\u202e#"
    text = card.card(summary(source(name, "no", name), source("b"), name=name))
    assert metadata(text)["pretty_name"] == "no: *قصص* | [x](y) `z` <b> --- \\u202e#"
    assert metadata(text)["language"] == ["ar", "no"]
    assert text.splitlines().count("---") == 2
    assert "\u202e" not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in tables if "قصص" in line]
    assert widths == [7, 5, 5, 6, 8, 3]  # bars that part cells, in each table that holds the name


def test_foreign_words_are_read_as_they_are():
    assert escaped("race_ift_v02 a|b\n*c* _d_ \u200f") == r"race_ift_v02 a\|b \*c\* \_d\_ \\u200f"
    assert code("a ``` b", "bash") == "````bash\na ``` b\n````\n"


def test_only_nothing_is_0_percent_and_only_all_is_100():
    shares = (0, 0.0004, 0.0005, 0.9994, 0.9996, 1)
    assert [percent(share) for share in shares] == ["0.0%", "<0.1%", "0.1%", "99.9%", ">99.9%", "100.0%"]


def test_load_dataset_reads_the_folder_by_its_card(tmp_path):
    import datasets

    names = ("train.jsonl", "dev.jsonl", "test.jsonl", "pref_train.jsonl", "pref_dev.jsonl")
    for name in names:
        preferred = {"rejected": "لا"} if name.startswith("pref_") else {}
        row = {"messages": [{"role": "user", "content": name}], **preferred}
        (tmp_path / name).write_text(2 * (json.dumps(row, ensure_ascii=False) + "\n"), encoding="utf-8")
    for name, content in card.files(summary(source(), source("b", license=None), files=names)).items():
        (tmp_path / name).write_bytes(content)
    read = {
        config: datasets.load_dataset(str(tmp_path), config, cache_dir=str(tmp_path / "cache"))
        for config in (None, "preferences")
    }
    assert {split: rows.num_rows for split, rows in read[None].items()} == {
        "train": 2,
        "validation": 2,
        "test": 2,
    }
    assert read[None]["validation"][0]["messages"] == [{"role": "user", "content": "dev.jsonl"}]
    assert list(read["preferences"]) == ["train", "validation"]
    assert read["preferences"]["train"].column_names == ["messages", "rejected"]


def test_the_figures_a_card_shows_lie_beside_it():
    for mix in (summary(source()), summary(source(), source("b"))):
        made = card.files(mix)
        shown = re.findall(r"!\[.*\]\((.*)\)", made["README.md"].decode())
        assert shown == [name for name in made if name.endswith(".png")]
