"""Essays with a score by trait: read from a local file, one trait a run, its scores in their order."""

import csv

import pytest
from conftest import compose_config

from arabic_llm.data.preparing import labelled
from arabic_llm.errors import DataError


def essays(root, name, columns):
    (root / name).mkdir()
    with (root / name / "essays.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["essay", *columns])
        rows.writerows(
            [f"مقالة رقم {n} عن العلم والعمل {n * n}", *([n % 6] * len(columns))] for n in range(240)
        )


@pytest.mark.parametrize(
    ("name", "trait"), [("laila", "organization"), ("laila", "grammar"), ("ar_aes", "score")]
)
def test_a_trait_of_essays_is_read_as_ordered_scores(name, trait, tmp_path):
    essays(tmp_path, name, ["organization", "grammar"] if name == "laila" else ["score"])
    config = compose_config(f"data={name}", "task=classify", f"data.columns.label={trait}")
    found = labelled.load(config.data, tmp_path, config.seed)
    assert (found.labels, found.are_ordered) == (tuple("012345"), True)
    assert min(map(len, (found.train, found.test))) > 0


def test_a_trait_that_a_file_lacks_is_refused(tmp_path):
    essays(tmp_path, "laila", ["grammar"])
    config = compose_config("data=laila", "task=classify", "data.columns.label=rhyme")
    with pytest.raises(DataError, match="rhyme"):
        labelled.load(config.data, tmp_path, config.seed)
