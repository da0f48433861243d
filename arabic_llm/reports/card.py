"""The data card: where rows come from, what became of them, what they hold, how to use them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from arabic_llm.data.preparing.summary import LENGTH_BINS, Counts, Summary, word_unit
from arabic_llm.reports import card_figures, card_metadata
from arabic_llm.reports.markdown import code, escaped, percent, table

_LENGTHS, _SHARES = "lengths.png", "shares.png"
_FITTING = (256, 512, 1024, 2048, 4096, 8192)  # values of task.max_length
_MOST_KINDS = 40  # labels or subjects of a source
_SPLITS = ("train", "dev", "test")


def files(summary: Summary) -> dict[str, bytes]:
    """Return the card and what it shows, by the names of the files that lie beside the rows."""
    found = {"README.md": card(summary).encode(), _LENGTHS: card_figures.length_histogram(summary.sources)}
    if len(summary.sources) > 1:
        found[_SHARES] = card_figures.share_chart(summary.sources)
    if "license_link" in card_metadata.license_of(summary):
        found[card_metadata.MIXED_LICENSES] = _licenses(summary).encode()
    return found


def card(summary: Summary) -> str:
    """Return the card in Markdown, with metadata as the hub reads it.

    Raises AssertionError when the count of a source's rows does not close.
    """
    sections: Sequence[tuple[str, Callable[[Summary], str]]] = (
        ("Sources and licences", _sources),
        ("Rows in, kept, dropped", _rows),
        ("Tokens", _tokens),
        ("Tokens a word", _fertility),
        ("Lengths", _lengths),
        ("Shares", _shares),
        ("Labels", _labels),
        ("Subjects", _subjects),
        ("Files", _files),
        ("Use", _use),
        ("Limits", _limits),
    )
    written = [(title, section(summary)) for title, section in sections]
    body = "".join(f"\n## {title}\n\n{text}" for title, text in written if text)
    return f"{card_metadata.front_matter(summary)}\n{_opening(summary)}{body}"


def _opening(summary: Summary) -> str:
    whole = _whole(summary)
    languages = sorted({source.language for source in summary.sources if source.language})
    spoken = f" in {', '.join(languages)}" if languages else ""
    sources = "one source" if len(summary.sources) == 1 else f"{len(summary.sources):,} sources"
    return (
        f"# {escaped(summary.name)}\n\n"
        f"{whole.num_rows:,} rows and {whole.tokens:,} tokens{spoken}, from {sources}, read,"
        f" cleaned, counted and split (seed {summary.seed}) by\n\n{code(summary.command, 'bash')}"
    )


def _sources(summary: Summary) -> str:
    header = ("#", "source", "language", "licence", "origin", "made from (seen in training)")
    text = table(
        header,
        (
            (
                *(str(number), escaped(source.name), escaped(source.language or "not stated")),
                *(escaped(source.license or "not stated"), escaped(source.origin)),
                _listed(source.seen_in_training),
            )
            for number, source in enumerate(summary.sources, 1)
        ),
    )
    if seen := sorted({benchmark for source in summary.sources for benchmark in source.seen_in_training}):
        text += (
            f"\n**Warning.** Rows here are made from training rows of {_listed(seen)}. A model"
            " that trained on them has seen what these benchmarks ask and how: its higher scores on them do"
            " not show that it got better at anything else. Report such scores as *seen in training*.\n"
        )
    if "license_link" in card_metadata.license_of(summary):
        text += "\nEach row is under the licence of its source; a use of all of them has to respect each.\n"
    return text


def _rows(summary: Summary) -> str:
    for source in summary.sources:
        str(source.ledger)  # raises unless in = kept + dropped
    ledgers = [(escaped(source.name), source.ledger) for source in summary.sources]
    counted = [(name, (one.rows_in, one.kept, one.dropped.total())) for name, one in ledgers]
    text = _counted("source", ("rows in", "kept", "dropped"), counted)
    for title, chosen in (("dropped because", "dropped"), ("kept, but changed", "changed")):
        rows = [
            (name, escaped(what), f"{count:,}", "<br>".join(map(escaped, one.examples.get(what, ()))))
            for name, one in ledgers
            for what, count in one.as_dict()[chosen].items()
        ]
        if rows:
            text += "\n" + table(("source", title, "rows", "the first of them"), rows, [2])
    return text + _filters(summary)


def _filters(summary: Summary) -> str:
    """Return which filters were on, said once where all sources had the same."""
    lists = {source.filters for source in summary.sources}
    if len(lists) == 1:
        return f"\nFilters that were on: {_or_none(summary.sources[0].filters)}.\n"
    rows = ((escaped(source.name), _or_none(source.filters)) for source in summary.sources)
    return "\n" + table(("source", "filters that were on"), rows)


def _tokens(summary: Summary) -> str:
    counted = [
        (escaped(s.name), (s.counts.instruction_tokens, s.counts.answer_tokens, s.counts.tokens))
        for s in summary.sources
    ]
    return (
        f"Counted with the tokenizer {escaped(summary.tokenizer)}, over all splits, without the tokens that"
        " a chat template adds. Answer tokens are what a model learns: all turns of the assistant, and raw"
        " text whole.\n\n" + _counted("source", ("instruction tokens", "answer tokens", "total"), counted)
    )


def _fertility(summary: Summary) -> str:
    def row(name: str, language: str | None, counts: Counts) -> tuple[str, ...]:
        each = f"{counts.tokens / counts.words:.2f}" if counts.words else ""
        return name, escaped(language or "not stated"), word_unit(language), f"{counts.words:,}", each

    rows = [row(escaped(s.name), s.language, s.counts) for s in summary.sources]
    for language in sorted({s.language for s in summary.sources if s.language}):
        alike = [s.counts for s in summary.sources if s.language == language]
        if len(alike) > 1:
            rows.append(row("**all in this language**", language, sum(alike, Counts())))
    header = ("source", "language", "unit", "units", "tokens a unit")
    return (
        "Words stand between white space. Chinese has none: there a Han character is the unit, and what"
        " else is in the row (digits, punctuation, Latin words) adds to its tokens.\n\n"
        + table(header, rows, [3, 4])
    )


def _lengths(summary: Summary) -> str:
    whole = [(escaped(s.name), s.counts) for s in summary.sources]
    if len(whole) > 1:
        whole.append(("**all**", _whole(summary)))
    header = ("source", *(f"{fitting:,}" for fitting in _FITTING))
    rows = ((name, *(_fits(counts, fitting) for fitting in _FITTING)) for name, counts in whole)
    return (
        f"![Rows by their number of tokens, a panel a source]({_LENGTHS})\n\n"
        "Each panel is as high as its own highest bar. Rows of at most so many tokens, without a chat"
        " template, which adds a few a turn:\n\n" + table(header, rows, range(1, len(header)))
    )


def _shares(summary: Summary) -> str:
    if len(summary.sources) == 1:
        return ""
    text = f"![Share of rows and tokens by source]({_SHARES})\n"
    shares = [(source, source.share) for source in summary.sources if source.share]
    if shares:
        rows = [
            (escaped(source.name), *map(percent, (share.asked, share.achieved, share.achieved_tokens)))
            for source, share in shares
        ]
        header = ("source", "rows, asked", "rows, achieved", "tokens, achieved")
        text += "\n" + table(header, rows, [1, 2, 3])
    return text


def _labels(summary: Summary) -> str:
    def by_name(label: tuple[str, int]) -> list[str | int]:  # G2 before G10
        return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", label[0])]

    kinds = [
        (s.name, s.counts.num_rows, sorted(s.counts.labels.items(), key=by_name)) for s in summary.sources
    ]
    return _kinds("label", kinds)


def _subjects(summary: Summary) -> str:
    kinds = [
        (s.name, s.counts.num_rows, sorted(s.counts.subjects.items(), key=lambda item: (-item[1], item[0])))
        for s in summary.sources
    ]
    return _kinds("subject", kinds)


def _kinds(what: str, sources: Iterable[tuple[str, int, Sequence[tuple[str, int]]]]) -> str:
    """Return the rows by label or subject; nothing where no row has one."""
    rows = []
    for name, num_rows, kinds in sources:
        shown = [(escaped(kind), count) for kind, count in kinds[:_MOST_KINDS]]
        if rest := [count for _, count in kinds[_MOST_KINDS:]]:
            shown.append((f"*{len(rest):,} more*", sum(rest)))
        rows += [(escaped(name), kind, f"{count:,}", percent(count / num_rows)) for kind, count in shown]
    return table(("source", what, "rows", "of the source's"), rows, [2, 3]) if rows else ""


def _files(summary: Summary) -> str:
    rows = [
        (f"`{file.name}`", *card_metadata.split_of(file), f"{file.rows:,}", f"`{file.sha256}`")
        for file in summary.files
    ]
    text = table(("file", "configuration", "split", "rows", "SHA-256"), rows, [3])
    there = {split for source in summary.sources for split in source.counts.rows}
    splits = [*(s for s in _SPLITS if s in there), *sorted(there.difference(_SPLITS))]
    counted = [
        (escaped(s.name), [s.counts.rows.get(split, 0) for split in splits]) for s in summary.sources
    ]
    text += "\n" + _counted("source", [escaped(split) for split in splits], counted)
    if plan := summary.plan:
        text += (
            f"\nEpochs of training: {plan.epochs:g}, with {plan.effective_batch:,} sequences a step:"
            f" {plan.num_steps:,} steps."
        )
        if plan.padding is not None and plan.padding_without_buckets is not None:
            text += (
                f" With like lengths in a batch {percent(plan.padding)} of its positions are padding;"
                f" without, {percent(plan.padding_without_buckets)}."
            )
        text += "\n"
    return text


def _use(summary: Summary) -> str:
    configs = dict.fromkeys(card_metadata.split_of(file)[0] for file in summary.files)
    names = ["", *(f', "{name}"' for name in configs if name != "default")] if len(configs) > 1 else [""]
    loads = "".join(f'\nrows = datasets.load_dataset("path/to/this/folder"{name})' for name in names)
    # A mix is named: its weights and quotas stand in its YAML.
    is_named = len(summary.sources) > 1 and summary.name.isidentifier()  # as files of conf/data/ are
    data = summary.name if is_named else "local"
    train = f"python -m arabic_llm.run task=sft data={data} data.path=path/to/this/folder"
    return code(train, "bash") + "\n" + code(f"import datasets\n{loads}", "python")


def _limits(summary: Summary) -> str:
    limits = [
        "No person has read these rows: filters judge their form, not whether they are true, fair or safe.",
        f"Tokens, lengths and tokens a word hold for {escaped(summary.tokenizer)} and no other tokenizer.",
    ]
    for key, what in (
        ("near_duplicates", "Near copies were not looked for in"),
        ("drop_test_items", "Items of a test were not looked for in"),
    ):
        if without := [s.name for s in summary.sources if not any(f.startswith(key) for f in s.filters)]:
            limits.append(f"{what} {_listed(without)}.")
    if unknown := [source.name for source in summary.sources if not source.license]:
        limits.append(f"No licence is stated for {_listed(unknown)}: ask before you pass it on.")
    return "".join(f"- {limit}\n" for limit in limits)


def _licenses(summary: Summary) -> str:
    rows = (
        (escaped(s.name), escaped(s.license or "not stated"), escaped(s.origin)) for s in summary.sources
    )
    return (
        f"# Licences of {escaped(summary.name)}\n\nEach row is under the licence of its source.\n\n"
        + table(("source", "licence", "origin"), rows)
    )


def _counted(first: str, header: Sequence[str], rows: Sequence[tuple[str, Sequence[int]]]) -> str:
    """Return a table of numbers with their sums in the last row, where there is more than one."""
    sums = [sum(column) for column in zip(*(numbers for _, numbers in rows), strict=True)]
    cells = [(name, *(f"{number:,}" for number in numbers)) for name, numbers in rows]
    if len(rows) > 1:
        cells.append(("**all**", *(f"**{number:,}**" for number in sums)))
    return table((first, *header), cells, range(1, len(header) + 1))


def _whole(summary: Summary) -> Counts:
    return sum((source.counts for source in summary.sources), Counts())


def _fits(counts: Counts, tokens: int) -> str:
    fitting = sum(counts.lengths[: LENGTH_BINS.index(tokens) + 1])
    return percent(fitting / counts.num_rows) if counts.num_rows else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(escaped, names))


def _or_none(filters: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in filters) or "none"
