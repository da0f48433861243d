"""What a data card says of how synthetic rows were made: stages, shares, reasons, prompts, weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from arabic_llm.data.ledger import Ledger
from arabic_llm.reports.markdown import escaped, percent, table


@dataclass(frozen=True)
class Making:
    """What a synthesis tells of itself."""

    ledgers: Sequence[Ledger]  # of its stages, in order
    made_by: Counter[str]  # rules or models, by the exchanges of the kept rows
    prompts: Sequence[str]  # with their hashes
    weights: str | None  # licence of the weights that translated
    lines: Sequence[str]  # shares of short and long, what a server was asked, diversity, the judge


def section(making: Making) -> str:
    """Return the section. Raises AssertionError where the count of a stage does not close."""
    return "".join(
        (
            "\n## How these rows were made\n\n",
            "A program has made them: no person wrote these questions and answers.\n\n",
            "".join(f"- {escaped(line)}\n" for line in making.lines),
            _prompts(making),
            _weights(making),
            "\n",
            _stages(making.ledgers),
            _reasons(making.ledgers),
            _makers(making.made_by),
        )
    )


def _prompts(making: Making) -> str:
    if not making.prompts:
        return ""
    return f"- prompts, by their file and its hash: {', '.join(map(escaped, making.prompts))}\n"


def _weights(making: Making) -> str:
    if making.weights is None:
        return ""
    said = escaped(making.weights)
    return f"- translated with weights under {said}: their licence bounds what these rows may be used for\n"


def _stages(ledgers: Sequence[Ledger]) -> str:
    for ledger in ledgers:
        str(ledger)  # raises unless in = kept + dropped
    rows = (
        (escaped(one.stage), *(f"{count:,}" for count in (one.rows_in, one.kept, one.dropped.total())))
        for one in ledgers
    )
    return table(("stage", "in", "kept", "dropped"), rows, (1, 2, 3))


def _reasons(ledgers: Sequence[Ledger]) -> str:
    rows = [
        (
            *(escaped(one.stage), escaped(reason), f"{count:,}", percent(count / one.rows_in)),
            "<br>".join(map(escaped, one.examples.get(reason, ()))),
        )
        for one in ledgers
        for reason, count in one.as_dict()["dropped"].items()
    ]
    if not rows:
        return ""
    header = ("stage", "dropped because", "number", "of the stage's", "the first of them")
    return "\n" + table(header, rows, (2, 3))


def _makers(made_by: Counter[str]) -> str:
    total = max(1, made_by.total())
    rows = ((escaped(name), f"{count:,}", percent(count / total)) for name, count in made_by.most_common())
    return "\n" + table(("kept exchanges, made by", "number", "share"), rows, (1, 2))
