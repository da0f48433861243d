"""The sets of conf/data/ are read as their publishers lay them out, each into rows of the right kind."""

import gzip
import json
import random
from collections import Counter
from dataclasses import fields, replace

import pyarrow
import pytest
from conftest import DATA, compose_config, needs_data
from pyarrow import parquet

from arabic_llm.config.data import SourceConfig
from arabic_llm.data.preparing import sources
from arabic_llm.data.reading import readers
from arabic_llm.errors import ConfigError
from arabic_llm.text.normalize import normalize


@needs_data
def test_what_equals_no_held_out_row_of_dares_is_what_its_ids_leave_for_training():
    data = compose_config("data=dares").data
    folder = DATA / data.path

    def rows(patterns):
        """Return the id of each (text, grade)."""
        found = [r.values for pattern in patterns for p in folder.glob(pattern) for r in readers.read(p)]
        key = (data.columns.text, data.columns.label)
        return {tuple(normalize(row[k], "matching") for k in key): float(row["ID"]) for row in found}

    whole, dev, test = rows(data.files), rows(data.dev_files), rows(data.test_files)
    assert (len(whole), len(dev), len(test)) == (13_870, 1380, 2787)
    by_content = {row_id for row, row_id in whole.items() if row not in dev and row not in test}
    assert by_content == set(whole.values()) - set(dev.values()) - set(test.values())
    assert len(by_content) == 9703
    # By its text alone, four rows more would go: they stand in the held-out files with another grade.
    texts = {text for text, _ in (*dev, *test)}
    assert sum(text in texts for (text, _), row_id in whole.items() if row_id in by_content) == 4


@needs_data
@pytest.mark.parametrize(("name", "kept"), [("dares", (9703, 1380, 2787)), ("arcd", (215, 11, 234))])
def test_published_splits_are_kept_and_no_training_row_is_in_them(name, kept):
    rows = sources.load(compose_config(f"data={name}").data, DATA, seed=17)
    assert (len(rows.train), len(rows.dev), rows.ledger.kept) == (*kept[:2], sum(kept))
    assert set(rows.ledger.dropped) == {"also in the dev or test split"}


def laid_out(tmp_path, name, file, rows):
    """Write the rows of a set as its hub repository holds them, and read them as data=<name>."""
    path = tmp_path / "data_raw" / name / file
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)
    one_file = ("data.dev_share=0", "data.test_share=0", "data.dev_files=[]")
    data = compose_config(f"data={name}", *one_file).data
    return sources.load(data, tmp_path / "data_raw", seed=17)


ALPACA = {"instruction": "ما عاصمة مصر؟", "input": "", "output": "عاصمة مصر هي القاهرة"}
CHINESE = {"instruction": "埃及的首都是哪里？", "input": "", "output": "埃及的首都是开罗。"}
BARKA = {
    "idx": 1,
    "ift_instruction": "« The Nile »\n\nIs it long?",
    "ift_answer": "True, it is the longest.",
}
HUB = {  # the file, one of its rows, and the turns or the text that it becomes
    "cidar": ("data/train-00000-of-00001-b2881e1b9f14c3b1.parquet", {**ALPACA, "index": 7}, ALPACA),
    "bactrian_ar": ("data/ar.json.gz", {**ALPACA, "id": "alpaca-7"}, ALPACA),
    "belle_0_5m": ("Belle_open_source_0.5M.json", CHINESE, CHINESE),
    "chinese_instruct": (
        "dpsk-r1-distil/train.jsonl",
        {"id": "a", "prompt": CHINESE["instruction"], "response": CHINESE["output"]},
        CHINESE,
    ),
    "dpo_en_zh_20k": (
        "dpo_zh.json",
        {
            "conversations": [{"from": "human", "value": CHINESE["instruction"]}],
            "chosen": {"from": "gpt", "value": CHINESE["output"]},
            "rejected": {"from": "gpt", "value": "不知道。"},
        },
        CHINESE,
    ),
    "barka_boolq": ("data/train-00000-of-00001.parquet", BARKA, ("ift_instruction", "ift_answer")),
    "barka_wiki": (
        "data/train-00000-of-00001.parquet",
        {"passage": "The Nile", "question": "What is the Nile?", "answer": "The Nile is a river."},
        ("question", "answer"),
    ),
    "barka_multi_turn": (
        "data/train-00000-of-00001.parquet",
        {
            "passage": "The Nile",
            "question1": "What?",
            "answer1": "A river.",
            "question2": "Long?",
            "answer2": "Yes.",
        },
        ("question1", "answer1", "question2", "answer2"),
    ),
    "barka_arabic": (
        "data/train-00000-of-00001.parquet",
        {
            "conversations": [
                {"from": "human", "value": ALPACA["instruction"]},
                {"from": "gpt", "value": ALPACA["output"]},
            ]
        },
        ALPACA,
    ),
}


@pytest.mark.parametrize("name", HUB)
def test_a_set_is_read_as_the_hub_lays_it_out(tmp_path, name):
    file, row, said = HUB[name]
    wanted = (
        [row[column] for column in said]
        if isinstance(said, tuple)
        else [said["instruction"], said["output"]]
    )
    (read,) = laid_out(tmp_path, name, file, [row]).train
    assert [m.content for m in read.messages] == wanted
    assert read.id == f"{tmp_path}/data_raw/{name}/{file}:1"


def test_wikipedia_is_raw_text_without_its_stubs(tmp_path):
    article = {"id": "7", "url": "https://ar.wikipedia.org/wiki/", "title": "النيل"}
    rng = random.Random(17)
    text = " ".join("".join(rng.choices("ابتجحدرسعفقكلمنهوي", k=5)) for _ in range(10_000))
    rows = laid_out(
        tmp_path,
        "wikipedia_ar",
        "20231101.ar/train-00000-of-00007.parquet",
        [{**article, "text": text}, {**article, "text": "النيل نهر."}],
    )
    assert [row.text for row in rows.train] == [text]
    assert rows.ledger.dropped == {"shorter than 200 characters": 1}


@pytest.mark.parametrize(
    ("name", "turns", "rejected"),
    [("openassistant_ar", 4, ""), ("openassistant_ar_pairs", 2, "عاصمة مصر هي دمشق")],
)
def test_the_message_trees_of_openassistant_are_read_in_one_language(tmp_path, name, turns, rejected):
    def message(name, parent, role, text, rank, lang="ar"):
        fixed = {
            "message_id": name,
            "parent_id": parent,
            "text": text,
            "role": role,
            "lang": lang,
            "rank": rank,
        }
        labels = {"name": ["spam", "quality"], "value": [0.0, 0.75], "count": [3, 3]}
        more = {
            "review_count": 3,
            "review_result": True,
            "deleted": False,
            "synthetic": False,
            "labels": labels,
        }
        return {**fixed, **more, "message_tree_id": "q", "tree_state": "ready_for_export"}

    rows = [
        message("q", None, "prompter", ALPACA["instruction"], None),
        message("a1", "q", "assistant", "عاصمة مصر هي دمشق", 1),
        message("a2", "q", "assistant", ALPACA["output"], 0),
        message("q2", "a2", "prompter", "وما عاصمة سوريا؟", None),
        message("a3", "q2", "assistant", "عاصمة سوريا هي دمشق", None),
        message("en", None, "prompter", "What is the capital of Egypt?", None, "en"),
    ]
    (row,) = laid_out(tmp_path, name, "data/train-00000-of-00001-b42a775f407cee45.parquet", rows).train
    assert [m.content for m in row.messages[:2]] == [ALPACA["instruction"], ALPACA["output"]]
    assert (len(row.messages), row.rejected) == (turns, rejected)


MIXES = {  # how many sources in which languages
    "barka": {"en": 11},
    "k12_chinese": {"zh": 3, "ar": 1, "en": 1},
    "resource_aware": {"ar": 3},
}


@pytest.mark.parametrize("name", MIXES)
def test_a_mix_is_made_of_sets_as_they_are_on_their_own(name):
    mix = compose_config(f"data={name}").data
    assert Counter(source.language for source in mix.sources.values()) == MIXES[name]
    assert (mix.num_length_buckets, mix.path, mix.hub_id) == (8, None, None)
    for key, source in mix.sources.items():
        alone = compose_config(f"data={key}").data
        shared = {field.name: getattr(alone, field.name) for field in fields(SourceConfig)}
        assert type(source) is SourceConfig
        assert replace(source, sample_size=alone.sample_size) == SourceConfig(**shared)


def test_a_mix_takes_weights_on_the_command_line_and_refuses_a_few_of_them():
    names = list(compose_config("data=resource_aware").data.sources)
    weights = [f"data.sources.{name}.weight=0.5" for name in names]
    mix = compose_config("data=resource_aware", *weights).data
    assert [source.weight for source in mix.sources.values()] == [0.5, 0.5, 0.5]
    with pytest.raises(ConfigError, match="openassistant_ar.weight is not set, but that of bactrian_ar is"):
        compose_config("data=resource_aware", weights[0])
