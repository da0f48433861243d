"""What a paper takes over from a comparison: the table for LaTeX (booktabs), and how it was measured."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from arabic_llm.analysis.scores import Evaluation
from arabic_llm.analysis.statistics import Difference
from arabic_llm.reports import tables
from arabic_llm.reports.spoken import is_arabic, listed, marked, plain, say, term

_SPECIAL = re.compile(r"[\\&%$#_{}~^<>|\"]")
_SPELLED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",  # its own command is in no font of OT1, LaTeX's default
}
_LIBRARIES = ("arabic-llm", "torch", "transformers", "peft", "lm_eval")


def latex(rows: Sequence[Difference], model: str) -> str:
    """Return the comparison as a table of booktabs, with its caption; Arabic is for XeLaTeX and bidi."""
    header = (*tables.HEADER[:-2], *marked("difference", "95% interval", "verdict"))
    lines = [" & ".join(_cell(term(name)) for name in header), *map(_row, rows)]
    caption = _cell(
        say(
            "{model} before and after training: scores in percent, differences in points, paired item by"
            " item.",
            model=model,
        )
    )
    needs = r"% \usepackage{booktabs}"
    if is_arabic():
        needs += r" \usepackage{polyglossia} \setmainlanguage{arabic}"
        needs += r" \newfontfamily\arabicfont[Script=Arabic]{Amiri}"
    return "\n".join(
        (
            needs,
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            r"\footnotesize\setlength{\tabcolsep}{3.5pt}",
            r"\begin{tabular}{@{}p{0.28\linewidth}rrrrrl@{}}",
            r"\toprule",
            f"{lines[0]} \\\\",
            r"\midrule",
            *(f"{line} \\\\" for line in lines[1:]),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        )
    )


def _row(row: Difference) -> str:
    low, high = (_number(100 * end) for end in (row.low, row.high))
    return " & ".join(
        (
            *(_name(tables.label(row.base)), f"{row.base.n:,}", f"{100 * row.base.value:.1f}"),
            *(f"{100 * row.tuned.value:.1f}", _number(100 * row.difference)),
            "" if math.isnan(row.low) else f"[{low}, {high}]",
            _cell(term(row.verdict)),
        )
    )


def _name(label: str) -> str:
    """Return the name of a task, which breaks behind its underscores where its column is too narrow."""
    return r"\raggedright " + _cell(label).replace(r"\_", r"\_\allowbreak{}")


def _number(value: float) -> str:
    return f"${value:+.1f}$"


def _cell(text: str) -> str:
    """Return a text as LaTeX prints it; behind a line's end [ and * would be arguments of that."""
    guard = "{}" if text.startswith(("[", "*")) else ""
    return guard + _SPECIAL.sub(lambda sign: _SPELLED.get(sign[0], f"\\{sign[0]}"), plain(text))


def measured(base: Evaluation, tuned: Evaluation, manifest: Mapping[str, Any], hardware: str) -> str:
    """Return how this was measured, a paragraph for a paper, with the versions of what took part."""
    model, judged = base.model, base.judged
    versions = manifest.get("versions", {})
    said = [
        say(
            "The base model {model} (revision {revision}, {dtype}, quantization {quantization}) and the"
            " model tuned from it were asked the same items with the same prompts: {tasks} ({items:,}"
            " items).",
            model=model["name"],
            revision=model["revision"],
            dtype=model["dtype"],
            quantization=model["quantization"],
            tasks=listed(list(judged["tasks"])),
            items=len(base.items),
        ),
        say(
            "Differences are paired item by item. Their 95% intervals are Tango's score intervals where"
            " answers are right or wrong, and a paired bootstrap otherwise; p-values are those of exact"
            " sign tests (McNemar's where answers are right or wrong; of weighted means, of signs drawn"
            " anew), corrected by Holm's method for all that is compared beside them. A difference is"
            " called better or worse only where its interval leaves out 0 and its corrected p is below"
            " 0.05."
        ),
        say(
            "Run with {versions} on {hardware}; the evaluations are {base} and {tuned} (fingerprints of"
            " models, prompts and scoring).",
            versions=listed([f"{name} {versions[name]}" for name in _LIBRARIES if name in versions]),
            hardware=hardware,
            base=base.fingerprint,
            tuned=tuned.fingerprint,
        ),
    ]
    return " ".join(said) + "\n"
