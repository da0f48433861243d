"""Notebooks run as Jupyter runs them; `python tests/notebooks.py` runs them all and keeps their outputs."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parents[1] / "experiments" / "notebooks"
_SECONDS = 300  # that a cell may take on a busy machine


def executed(path: Path, folder: Path) -> NotebookNode:
    """Return a notebook with the outputs that it has in a folder of its own; what it reads goes along."""
    for beside in path.parent.glob("*.csv"):
        shutil.copy(beside, folder)
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=_SECONDS,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    done: NotebookNode = client.execute()
    done.metadata = {"kernelspec": done.metadata["kernelspec"], "language_info": {"name": "python"}}
    return done


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(cell: NotebookNode) -> str:
    """Return what a cell shows as text: what it prints, and a table as text."""
    shown = [out.get("text") or out.get("data", {}).get("text/plain", "") for out in cell.outputs]
    return "".join(shown)


def num_charts(cell: NotebookNode) -> int:
    return sum("image/png" in out.get("data", {}) for out in cell.outputs)


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(path, Path(folder)), path)
