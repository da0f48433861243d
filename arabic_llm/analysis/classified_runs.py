"""What runs of task=classify have found, read from their folders: a value for each run."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from arabic_llm import files
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.naming import of_data
from arabic_llm.errors import DamagedError

SCORES = "scores.csv"
_HEAD = "system,metric,n,value,low,high,"
_MANIFEST, _ITEMS = "manifest.json", "items.jsonl"


@dataclass(frozen=True)
class ClassifiedRun:
    """A classifier on the test rows of a data set, beside the baselines. `test` tells those rows apart.

    `values` holds (value, low, high) of each metric, `baselines` system -> metric -> value:
    shares of 1, nan where no resample varies.
    """

    folder: Path
    data: str
    model: str
    adapter: str
    n: int
    test: str
    values: dict[str, tuple[float, float, float]]
    baselines: dict[str, dict[str, float]]


def holds(folder: Path) -> bool:
    """Return whether a folder holds the scores of a classifier, whole or damaged."""
    path = folder / SCORES
    return path.is_file() and path.read_bytes().startswith(_HEAD.encode())


def read(folder: Path) -> ClassifiedRun:
    """Return what a run has found. Raises DamagedError for a file of it that is not what was written."""
    path = folder / SCORES
    rows = list(csv.DictReader(io.StringIO(files.read_text(path))))
    try:
        identity = files.read_state(folder / _MANIFEST, is_old_too=True)["identity"]
        tested = [(item["text"], item["label"]) for item in files.read_json_lines(folder / _ITEMS)]
        first = rows[0]["system"]
        values = {
            row["metric"]: (float(row["value"]), float(row["low"]), float(row["high"]))
            for row in rows
            if row["system"] == first
        }
        baselines: dict[str, dict[str, float]] = {}
        for row in rows:
            if row["system"] != first:
                baselines.setdefault(row["system"], {})[row["metric"]] = float(row["value"])
        return ClassifiedRun(
            folder,
            data=of_data(identity["data"]["name"], identity["data"]["path"]),
            model=identity["model"]["name"],
            adapter=identity["adapter"]["name"],
            n=int(rows[0]["n"]),
            test=fingerprint(tested),
            values=values,
            baselines=baselines,
        )
    except FileNotFoundError as error:
        raise DamagedError(f"{folder} lacks {Path(str(error.filename)).name}") from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{path} or what is beside it is damaged ({type(error).__name__})") from error
