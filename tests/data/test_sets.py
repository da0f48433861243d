"""The sets of conf/data/ are read as their publishers lay them out, each into rows of the right kind."""

from conftest import DATA, compose_config, needs_data

from arabic_llm.data import readers
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
