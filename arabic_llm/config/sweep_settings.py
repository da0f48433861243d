"""Types of `sweep:` in conf/config.yaml: how the jobs of a sweep are run, never what they find."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING


@dataclass
class HalvingConfig:
    """Successive halving (1502.07943): of each rung, one job in `eta` goes on to `eta` times the steps."""

    eta: int | None = None  # none: every job is trained to its end

    def __post_init__(self) -> None:
        """Refuse a share that stops nobody."""
        if isinstance(self.eta, int) and self.eta < 2:  # noqa: PLR2004 (half of them)
            raise ValueError(f"sweep.halving.eta must be at least 2, not {self.eta}")


@dataclass
class SearchConfig:
    """A search over ranges, in place of every combination."""

    trials: int | None = None  # jobs, those of earlier starts of the command among them

    def __post_init__(self) -> None:
        """Refuse a search that tries nothing."""
        if isinstance(self.trials, int) and self.trials < 1:
            raise ValueError(f"sweep.search.trials must be at least 1, not {self.trials}")


@dataclass
class SweepConfig:
    """How the jobs of a sweep are run."""

    jobs: int = MISSING  # at a time, where memory allows; with cards, one card a job
    halving: HalvingConfig = field(default_factory=HalvingConfig)
    search: SearchConfig = field(default_factory=SearchConfig)

    def __post_init__(self) -> None:
        """Refuse no jobs, and two ways at once of choosing what is trained to its end."""
        if isinstance(self.jobs, int) and self.jobs < 1:
            raise ValueError(f"sweep.jobs must be at least 1, not {self.jobs}")
        if self.halving.eta is not None and self.search.trials is not None:
            raise ValueError("sweep.halving.eta and sweep.search.trials are two ways to choose; take one")
