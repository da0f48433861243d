"""How figures of memory are said: a size, an error, and the table of a plan."""

from __future__ import annotations

from collections.abc import Iterable

from arabic_llm.config.hw import GIB, MIB, HardwareConfig

FAR_OFF = 5  # percent


def mib(size: int | None) -> str:
    """Return a size as people say it."""
    return "?" if size is None else f"{size / MIB:,.0f} MiB"


def far_off(error: float) -> str:
    """Return what is to be said aloud of a prediction with such an error in percent, or nothing."""
    return f"; the prediction is more than {FAR_OFF}% off" if abs(error) > FAR_OFF else ""


def table(parts: Iterable[tuple[str, float]], total: float, hw: HardwareConfig) -> list[str]:
    """Return a line for each part that there is, of so many bytes, and the total against the budget."""
    lines = [_row(name, size) for name, size in parts if size]
    budget = (
        "" if hw.usable_gib is None else f" of {hw.usable_gib * GIB / MIB:,.0f} that hw={hw.name} leaves"
    )
    lines.append(f"{_row('total', total)}{budget}")
    if hw.card_gib is not None and hw.usable_gib is not None:
        lines.append(_row("CUDA context, outside the budget", (hw.card_gib - hw.usable_gib) * GIB))
    return lines


def _row(name: str, size: float) -> str:
    return f"{name:34}{size / MIB:9,.0f} MiB"


def micro_batches(accumulation: int, size: int) -> str:
    """Return in words how an optimiser step's batch is cut on a card: so many of so many at once."""
    return (
        "1 micro-batch of " + str(size) if accumulation == 1 else f"{accumulation} micro-batches of {size}"
    )
