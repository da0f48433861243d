"""Every fault that we know how to make, at full size: writes experiments/results/faults.md (`make faults`).

What was tried is kept in outputs/faults, case by case: the same command carries on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import hostile
import lives
import mutants
import state
from bench import Bench, Case
from tqdm import tqdm
from warm import Nursery

REPORT = Path(__file__).parents[2] / "experiments" / "results" / "faults.md"
_LIBRARIES = ("torch", "transformers", "trl", "peft", "lm_eval", "hydra-core", "pyarrow")
_NAMED = 20  # faults in full
_WORDS = 300  # characters of each


def main() -> None:
    """Run the parts that were asked for, and write the table of all that was tried so far."""
    asked = _asked()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started ends with us
    folder = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "tried.jsonl"
    tried = (
        {one["name"]: one for one in map(json.loads, kept.read_text().splitlines())}
        if kept.exists()
        else {}
    )
    nursery = Nursery()
    bench = Bench(folder, asked.seed, nursery)
    began = time.monotonic()
    try:
        with kept.open("a") as out:
            for part in asked.parts:
                cases = [case for case in _cases(bench, part, asked) if asked.only in case.name]
                for case in tqdm(cases, part, unit="case", disable=None):
                    if case.name in tried or (time.monotonic() - began) / 60 > asked.minutes:
                        continue
                    tried[case.name] = _tried(case)
                    out.write(json.dumps(tried[case.name], ensure_ascii=False) + "\n")
                    out.flush()
    finally:
        nursery.close()
    text = report(list(tried.values()), asked.seed)
    asked.report.write_text(text, encoding="utf-8")
    print(text)
    sys.exit(any(one["fault"] for one in tried.values()))


def _asked() -> argparse.Namespace:
    said = argparse.ArgumentParser(description=__doc__)
    said.add_argument("parts", nargs="*", default=["kills", "mutants", "state", "hostile"])
    said.add_argument("--kills", type=int, default=200)
    said.add_argument("--mutants", type=int, default=10_000)
    said.add_argument("--damages", type=int, default=8, help="of each state file, drawn for each")
    said.add_argument("--seed", type=int, default=17)
    said.add_argument("--minutes", type=float, default=600.0, help="what is left then is left")
    said.add_argument("--only", default="", help="cases that have this in their name")
    said.add_argument("--folder", type=Path, default=Path("outputs/faults"))
    said.add_argument("--report", type=Path, default=REPORT)
    return said.parse_args()


def _cases(bench: Bench, part: str, asked: argparse.Namespace) -> Iterator[Case]:
    if part == "kills":
        return lives.cases(bench, asked.kills)
    if part == "mutants":
        return mutants.cases(bench, asked.mutants)
    if part == "state":
        return state.cases(bench, asked.damages)
    return hostile.cases(bench)


def _tried(case: Case) -> dict[str, object]:
    """Try a case and return what is kept of it."""
    before, started = os.times(), time.monotonic()
    end = case.run()
    after = os.times()
    return {
        "part": case.part,
        "kind": case.kind,
        "name": case.name,
        "count": case.count,
        "end": end.kind,
        "fault": end.is_fault,
        "said": end.said if end.is_fault else "",
        "seconds": round(time.monotonic() - started, 2),
        "cpu": round(sum(after[:4]) - sum(before[:4]), 2),
    }


def report(tried: list[dict], seed: int) -> str:
    """Return the table of what was tried, and each fault that was found."""
    rows: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    sizes: Counter[tuple[str, str]] = Counter()
    for one in tried:
        rows[one["part"], one["kind"]][one["end"]] += 1
        sizes[one["part"], one["kind"]] += one["count"]
    faults = [one for one in tried if one["fault"]]
    hours = sum(one["seconds"] for one in tried) / 3600
    lines = [
        "# The campaign of faults",
        "",
        "**Question.** Whatever befalls a run, its files and what it is given: do the numbers stay what"
        " they are, or does one line say what is wrong?",
        "",
        f"**Answer.** {_answer(faults, sum(sizes.values()))}",
        "",
        "```",
        "make faults",
        "```",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores of {_processor()}, {platform.system()},"
        f" no GPU asked for, seed {seed}, {hours:.1f} hours. Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
        + ".",
        "",
        "| part | what | number | ends | faults |",
        "|---|---|---:|---|---:|",
    ]
    for (part, kind), ends in sorted(rows.items()):
        said = ", ".join(f"{number:,} {end}" for end, number in ends.most_common())
        bad = sum(one["fault"] for one in tried if (one["part"], one["kind"]) == (part, kind))
        lines.append(f"| {part} | {kind} | {sizes[part, kind]:,} | {said} | {bad} |")
    lines += ["", _MEANING, ""]
    for one in faults[:_NAMED]:
        last = " ".join(one["said"].split())[-_WORDS:]
        lines.append(f"- {one['name']}: {one['end']}: `{last.replace('`', '')}`")
    return "\n".join(lines).rstrip() + "\n"


_MEANING = (
    "Kills are counted singly; a life of up to ten is one end. A done study, one between its stages and a"
    " done preparation have each of their files damaged in the ways of tests/faults/damages.py, and the"
    " command is then typed twice: the numbers must be those from before, or one line refuses. Mutants are"
    " loaded, composed or read in one process, each within 20 seconds or 60; hostile folders in a fork each"
    ", within 60 seconds and 2 GiB more than a friendly one takes."
)


def _answer(faults: list[dict], number: int) -> str:
    if not faults:
        return f"Yes, {number:,} times of {number:,}."
    return f"{len(faults):,} of {number:,} did not: they are named below."


def _processor() -> str:
    said = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in said.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
