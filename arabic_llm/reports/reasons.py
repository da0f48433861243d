"""The reasons that checks and filters write as they find them, by the pattern that they are written by."""

from __future__ import annotations

import re
from functools import cache

from arabic_llm.reports.spoken import is_arabic, listed, marked, say, term

PATTERNS = marked(
    "holds {what}",
    "{letters} of {total} letters are {script}",
    "'{what}' three times in a row",
    "{share} of it was said before",
    "word F1 {value}",
    "chrF {value}",
    "the answer stands among {n} other words",
    "{said} words where {wanted} were wanted",
    "ends with '{word}'",
    "{foreign} of {all} words stand neither in the context nor in the question",
    "chosen on {share} of the items where it is wrong: {choice}",
    "all choices lie within {value} nats",
    "the right choice lacked {value} nats",
    "shorter than {n} characters",
    "longer than {n} characters",
    "4-grams repeated above {share}",
    "share of {scripts} letters below {share}",
    "more than {n} Latin words in a row",
    "chosen and rejected differ in less than {share} of their characters",
    "{stage}: {rows} rows in, {kept} kept",
    "{stage}: {rows} rows in, {kept} kept, {n} dropped ({reasons})",
    "{ledger}: train {train}, dev {dev}, test {test}",
    "{name}, all together: train {train}, dev {dev}, test {test}",
    "bad rows, which end a training: {n}; mend them, or set data.on_bad_row=drop",
    "'{column}' is empty",
    "'{column}' is no text ({kind})",
    "trains on {rows} rows, {tokens} tokens, {share} of them supervised; longest {longest}; {each} tokens"
    " a word",
    "rows cut {cut}, dropped {dropped}, without a supervised stop token {without}, copies {copies}, found"
    " in the suite {found} (hash {hash})",
    "unknown ({note})",
    "test: {repeated} texts repeat another, {known} stand in train with another label",
    "{task} with {names}: the dialect is what it asks for",
    "{name}: no diacritised text at {path}",
    "answer changed by {step}",
    "label spelled '{label}'",
    "control token {token} in the text",
    "longer than {setting}",
    "beyond {setting}",
    "not in the sample of {setting}",
)


def reason(text: str) -> str:
    """Return a reason in the language that is spoken; one that no pattern fits as it is."""
    known = term(text)
    if not is_arabic() or known != text:
        return known
    for pattern, written in _patterns():
        if found := written.fullmatch(text):
            said = {
                name: _counted(of) if name == "reasons" else reason(of)
                for name, of in found.groupdict().items()
            }
            return say(pattern, **said)
    return text


def _counted(reasons: str) -> str:
    """Return reasons with how many rows have each, as a ledger sets them behind each other."""
    parts = re.split(r", (?=[\d,]+ )", reasons)
    return listed([" ".join((n, reason(why))) for n, _, why in (part.partition(" ") for part in parts)])


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """Return each pattern with the expression of what it writes, those of most words first."""
    by_length = sorted(PATTERNS, key=len, reverse=True)
    return [(pattern, re.compile(_expression(pattern), re.DOTALL)) for pattern in by_length]


def _expression(pattern: str) -> str:
    parts = re.split(r"\{(\w+)\}", pattern)
    return "".join(f"(?P<{part}>.+?)" if at % 2 else re.escape(part) for at, part in enumerate(parts))
