"""What metrics.jsonl tells of answers: means over those of all processes since its last line."""

from __future__ import annotations

from collections import defaultdict

import torch

from arabic_llm import processes

_TIE = 1e-3  # nats: what rounding makes of two rewards that are one, as all are before the first step


class Means:
    """Sums of figures and how many values are in each, of training and of dev apart."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._found: dict[bool, dict[str, tuple[float, int]]] = {True: {}, False: {}}  # by: is it training?

    def add(self, is_training: bool, values: dict[str, torch.Tensor]) -> None:
        """Add the values of each figure."""
        found = self._found[is_training]
        for name, value in values.items():
            total, count = found.get(name, (0.0, 0))
            found[name] = total + float(value.detach().double().sum()), count + value.numel()

    def take(self, is_training: bool) -> dict[str, float]:
        """Return the mean of each figure that has a value in any process, and begin anew."""
        given = processes.gather(dict(self._found[is_training]))
        self._found[is_training].clear()
        sums: defaultdict[str, float] = defaultdict(float)
        counts: defaultdict[str, int] = defaultdict(int)
        for name, (total, count) in (item for each in given for item in each.items()):
            sums[name] += total
            counts[name] += count
        return {name: sums[name] / count for name, count in counts.items() if count}


def won(margin: torch.Tensor) -> torch.Tensor:
    """Return 1 where a reward lies on its side of what it is compared with, 0 where not, 0.5 at a tie."""
    return (margin > 0).float().where(margin.abs() > _TIE, 0.5)
