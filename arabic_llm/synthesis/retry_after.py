"""How long a busy server asks to wait: HTTP's Retry-After."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds a server asks to wait: a number, or a date; None: it does not say."""
    said = str(headers.get("retry-after", "")).strip()
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
