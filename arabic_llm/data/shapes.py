"""Records that are no rows yet."""

from collections.abc import Iterator

from arabic_llm.config.data_schema import Shape
from arabic_llm.data.readers import Broken, Record


def reshape(
    shape: Shape, found: Iterator[Record | Broken], language: str | None
) -> Iterator[Record | Broken]:
    """Return them."""
    return found
