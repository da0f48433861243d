"""What preferences teach besides what is meant: length, compliance, one rating more than the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from arabic_llm.data.rows import DOWN, UP, Row
from arabic_llm.text import refusals

_SKEW = 0.1  # of the length: from here on it is said that length is learned too


def lines(rows: Sequence[Row]) -> list[str]:
    """Return a line for the pairs among some rows, and one for the rated answers; nothing of other rows."""
    pairs = [row for row in rows if row.rejected]
    ratings = Counter(row.rating for row in rows if row.rating and not row.rejected)
    found = [_of_pairs(pairs)] if pairs else []
    if ratings:
        found.append(f"ratings: {ratings[UP]:,} up, {ratings[DOWN]:,} down")
    return found


def _of_pairs(pairs: Sequence[Row]) -> str:
    lengths = [(len(row.messages[-1].content), len(row.rejected)) for row in pairs]
    better, worse = (sum(side) / len(pairs) for side in zip(*lengths, strict=True))
    is_longer = sum(one > other for one, other in lengths) / len(pairs)
    skew = better / worse - 1
    refused = sum(refusals.refuses(row.rejected) for row in pairs)
    said = (
        f"pairs: {len(pairs):,}; the better answer has {better:,.0f} characters on average, the worse"
        f" {worse:,.0f} ({skew:+.0%}), and is the longer one in {is_longer:.0%} of them"
    )
    if abs(skew) > _SKEW:
        more = "longer" if skew > 0 else "shorter"
        said += f": to be {more} is learned too (length_penalty of task=dpo and task=orpo)"
    if refused:
        said += (
            f"; {refused:,} of the worse ones refuse to answer (data.cleaning.drop_refused leaves them out)"
        )
    return said
