"""Which layers of a model visit the card, of so many that stream."""

from __future__ import annotations


def streamed(count: int, layers: int) -> list[int]:
    """Return them, evenly among those that stay: a visit hides behind resident ones."""
    return [(2 * number + 1) * layers // (2 * count) for number in range(count)]
