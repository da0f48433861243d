"""Mistakes by kind: Markdown and CSV of one evaluation, and the section of a page that compares two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from markupsafe import Markup

from arabic_llm import files
from arabic_llm.analysis.mistakes import KINDS, Change, Mistake, SortedMistakes, changes, explained, labels
from arabic_llm.analysis.scores import Evaluation, Item
from arabic_llm.reports import figures
from arabic_llm.reports.markdown import escaped, percent, right_to_left, table
from arabic_llm.reports.reasons import reason
from arabic_llm.reports.spoken import marked, say, term

_NUM_EXAMPLES = 3  # of each kind
_HEADER = ("task", "id", "subject", "level", "kind", "judged_by", "reason", "question", "target", "answer")
_CHANGES_HEADER = ("kind", "n", "base", "tuned", "difference", "low", "high", "holm_p", "verdict")
_Counts = Mapping[str, tuple[int, Counter[str]]]
_PARTS: dict[str, Callable[[Item], str]] = {
    "subject": lambda item: item.subject,
    "level": lambda item: item.level,
}


@dataclass(frozen=True)
class Section:
    """What the page says of mistakes: shares before and after, counts by part, examples of the tuned."""

    chart: Markup
    explained: Mapping[str, str]
    changes: Sequence[Change]
    parts: Mapping[str, Sequence[Sequence[str]]]  # what items are told apart by -> rows, the first a header
    examples: Sequence[Mistake]


def section(base: SortedMistakes, tuned: SortedMistakes, evaluation: Evaluation, seed: int) -> Section:
    """Return the section of two sortings; the evaluation says which tasks are one benchmark."""
    whole: dict[str, str] = {}
    for score in evaluation.scores:  # the widest group comes first, a suite's own mean last
        for task in score.tasks:
            whole.setdefault(task, score.name)
    made, comma = labels(base, tuned), say(", ")
    looks = {m.label: (KINDS.index(m.kind), bool(m.judged_by)) for s in (base, tuned) for m in s.mistakes}
    sides = [one.counts(lambda item: whole[item.task]) for one in (base, tuned)]
    bars = {
        f"{name}{comma}{side}": [100 * counts[name][1][label] / counts[name][0] for label in made]
        for name in sides[0]
        for side, counts in zip((say("base"), say("tuned")), sides, strict=True)
    }
    parts: dict[str, Sequence[Sequence[str]]] = {}
    for name, part in _PARTS.items():
        if (before := base.counts(part)) and (after := tuned.counts(part)):
            header = (term(name), say("items"), *map(shown_label, made))
            parts[name] = [header, *_rows(made, before, after)]
    return Section(
        chart=figures.stacked(bars, {shown_label(label): looks[label] for label in made}),
        explained={kind: term(what) for kind, what in explained().items()},
        changes=changes(base, tuned, seed),
        parts=parts,
        examples=_examples(tuned, seed),
    )


def markdown(found: SortedMistakes, seed: int) -> str:
    """Return the mistakes of one evaluation: counts by task, subject and level, examples of each kind."""
    made, total = labels(found), len(found.items)
    right = total - len(found.mistakes)
    known = explained()
    kinds = Counter(mistake.label for mistake in found.mistakes)
    what = {mistake.label: term(known[mistake.kind]) for mistake in found.mistakes}
    lines = [
        say(
            "{total:,} items = {right:,} right + {wrong:,} wrong: each of these stands under the"
            " first kind that fits it, in this order.",
            total=total,
            right=right,
            wrong=len(found.mistakes),
        )
        + "\n",
        table(
            [*map(term, marked("kind", "items", "share", "what it is"))],
            [
                *(
                    (escaped(shown_label(m)), f"{kinds[m]:,}", percent(kinds[m] / total), escaped(what[m]))
                    for m in made
                )
            ],
            (1, 2),
        ),
    ]
    for name, part in {"task": lambda item: item.task, **_PARTS}.items():
        if rows := _rows(made, found.counts(part)):
            header = (term(name), say("items"), *(escaped(shown_label(label)) for label in made))
            lines += [f"## {term(f'By {name}')}\n", table(header, rows, range(1, len(header)))]
    lines.append(f"## {say('Examples')}\n")
    lines.append(
        table(
            [*map(term, marked("kind", "why", "task", "question", "wanted", "said"))],
            [tuple(map(escaped, _example(mistake))) for mistake in _examples(found, seed)],
        )
    )
    return right_to_left(f"# {say('Mistakes by kind')}\n\n" + "\n".join(lines))


def shown_label(label: str) -> str:
    """Return a kind as a reader calls it, with the model that said so, if one did."""
    kind, _, judge = label.partition(" (judged by ")
    return say("{kind} (judged by {judge})", kind=term(kind), judge=judge[:-1]) if judge else term(kind)


def comma_separated(found: SortedMistakes) -> str:
    """Return every mistake in CSV."""
    return files.csv_text(
        _HEADER,
        [
            (
                *(m.item.task, m.item.id, m.item.subject, m.item.level, m.kind, m.judged_by, m.reason),
                *(m.item.question, *shown(m.item)),
            )
            for m in found.mistakes
        ],
    )


def changes_csv(rows: Sequence[Change]) -> str:
    """Return the shares of each kind before and after in CSV, in fractions and at full precision."""
    return files.csv_text(
        _CHANGES_HEADER,
        [
            (r.label, r.n, r.base, r.tuned, r.tuned - r.base, r.low, r.high, r.holm_p, r.verdict)
            for r in rows
        ],
    )


def shown(item: Item) -> tuple[str, str]:
    """Return what was wanted and what was said, a letter with its words."""
    if not item.options or item.target in item.options:
        return item.target, item.answer
    indices = (item.target_index, item.answer_index)
    wanted, said = (item.options[index] for index in indices)
    return f"{item.target}: {wanted}", f"{item.answer}: {said}"


def _example(mistake: Mistake) -> tuple[str, ...]:
    item = mistake.item
    return shown_label(mistake.label), reason(mistake.reason), item.task, item.question, *shown(item)


def _examples(found: SortedMistakes, seed: int) -> list[Mistake]:
    """Return a few mistakes of each label, drawn from the seed and the label alone."""
    drawn = []
    for label in labels(found):
        own = [mistake for mistake in found.mistakes if mistake.label == label]
        draw = Random(f"{seed}/mistakes/{label}")  # noqa: S311 (examples, not secrets)
        drawn += draw.sample(own, min(_NUM_EXAMPLES, len(own)))
    return drawn


def _rows(made: Sequence[str], *sides: _Counts) -> list[tuple[str, ...]]:
    """Return a row a part: its items, then how often each label was made; of two sides "before → after"."""
    return [
        (
            escaped(part),
            f"{size:,}",
            *(_counted([side[part][1][label] for side in sides]) for label in made),
        )
        for part, (size, _) in sorted(sides[0].items())
        if all(part in side for side in sides)
    ]


def _counted(counts: Sequence[int]) -> str:
    return " → ".join(f"{count:,}" for count in counts) if any(counts) else "0"
