"""Which suite an evaluation was asked by: its run's manifest says so, beside the page about it."""

from __future__ import annotations

from pathlib import Path

from arabic_llm import files
from arabic_llm.errors import DamagedError

_MANIFEST = "manifest.json"


def of(page: Path | None) -> str:
    """Return the suite of the run that a page is about; nothing where no run of ours says it."""
    for folder in page.parents if page else ():
        if (folder / _MANIFEST).is_file():
            try:
                return str(
                    files.read_state(folder / _MANIFEST, is_old_too=True)["identity"]["suite"]["name"]
                )
            except (DamagedError, KeyError, TypeError):  # or another program's
                return ""
    return ""
