"""The notebooks do in a kernel what their kept outputs show, and tell nothing of where they ran."""

import re

import nbformat
import notebooks
import pytest

NAMES = sorted(path.name for path in notebooks.FOLDER.glob("*.ipynb"))
MASKED = re.compile(r"[-+]?\d[\d,.]*")  # another processor's last digits


def kept(name: str) -> nbformat.NotebookNode:
    return nbformat.read(notebooks.FOLDER / name, as_version=4)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_and_shows_what_is_kept(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = notebooks.executed(notebooks.FOLDER / name, tmp_path)
    for now, before in zip(*map(notebooks.code_cells, (done, kept(name))), strict=True):
        assert notebooks.num_charts(now) == notebooks.num_charts(before), now.source
        if "task=inspect" in now.source or "task=plan" in now.source:  # of arithmetic alone
            assert notebooks.text_of(now) == notebooks.text_of(before), "make notebooks keeps what is now"
        now_said, said = (as_words(notebooks.text_of(cell)) for cell in (now, before))
        assert now_said[:1] == said[:1], now.source
        assert len(now_said) == len(said), now.source


def as_words(text: str) -> list[str]:
    """Return lines without their figures."""
    return [MASKED.sub("#", line).rstrip() for line in text.splitlines()]


@pytest.mark.parametrize("name", NAMES)
def test_a_kept_notebook_was_run_from_top_to_bottom_and_names_no_place(name):
    cells = notebooks.code_cells(kept(name))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [out for cell in cells for out in cell.outputs if out.output_type == "error"]
    assert sum(map(notebooks.num_charts, cells)) >= 2
    text = (notebooks.FOLDER / name).read_text(encoding="utf-8")
    assert not re.findall(r"(?:/home|/root|/tmp|/work|/Users)/[^\"]*", text)
    assert not [out for cell in cells for out in cell.outputs if out.get("name") == "stderr"]
    assert not [cell for cell in cells if "execution" in cell.metadata]  # when it ran


def test_first_steps_inspects_plans_trains_compares_and_chats():
    said = [notebooks.text_of(cell) for cell in notebooks.code_cells(kept("first_steps.ipynb"))]
    assert "<|im_start|>assistant" in said[1]
    assert "it fits" in said[2]
    assert "within noise" in said[5]
    assert re.fullmatch(r"base: .+\ntuned: .+\n+", said[7])
