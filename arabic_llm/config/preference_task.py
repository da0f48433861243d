"""Types of conf/task/ for what is learned from preferences: the better of two answers, and rated ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from omegaconf import MISSING

from arabic_llm.config.task import TUNING, FineTuningConfig


class DpoLoss(Enum):
    """How a pair becomes a loss: the names and formulas of TRL's DPOTrainer."""

    sigmoid = "sigmoid"
    hinge = "hinge"
    ipo = "ipo"
    exo_pair = "exo_pair"
    nca_pair = "nca_pair"
    robust = "robust"
    bco_pair = "bco_pair"
    sppo_hard = "sppo_hard"
    apo_zero = "apo_zero"
    apo_down = "apo_down"
    discopop = "discopop"
    sigmoid_norm = "sigmoid_norm"


class NllOn(Enum):
    """Of which tokens ORPO's likelihood is."""

    answer = "answer"
    all = "all"  # of the prompt too, as in TRL


@dataclass
class PreferenceConfig(FineTuningConfig):
    """What every task needs that learns which answers are preferred."""

    beta: float = MISSING  # DPO, KTO: how far the model may leave its reference; ORPO: the paper's lambda

    def __post_init__(self) -> None:
        """Refuse a weight that weighs nothing."""
        super().__post_init__()
        if isinstance(self.beta, float) and not 0 < self.beta < math.inf:
            raise ValueError(f"task.beta must be positive, not {self.beta:g}")


@dataclass
class PairConfig(PreferenceConfig):
    """What every task needs that learns from a better and a worse answer."""

    length_penalty: float = MISSING  # a token by which the better answer is longer (R-DPO, 2403.19159)

    def __post_init__(self) -> None:
        """Refuse a penalty that rewards length."""
        super().__post_init__()
        if isinstance(self.length_penalty, float) and not 0 <= self.length_penalty < math.inf:
            raise ValueError(f"task.length_penalty must not be negative ({self.length_penalty:g})")


@dataclass
class DpoConfig(PairConfig):
    """Schema of conf/task/dpo.yaml."""

    reads = TUNING

    loss_type: DpoLoss = MISSING
    reference_free: bool = MISSING  # the reference finds every answer equally likely
    label_smoothing: float = MISSING  # share of the pairs that are the wrong way round
    sft_weight: float = MISSING  # of the loss of the better answer, added

    OF_MARGIN: ClassVar[frozenset[DpoLoss]] = frozenset(
        {DpoLoss.sigmoid, DpoLoss.hinge, DpoLoss.exo_pair, DpoLoss.robust, DpoLoss.sigmoid_norm}
    )  # of beta times a difference, to which a penalty is added
    SMOOTHED: ClassVar[dict[DpoLoss, str]] = {
        DpoLoss.exo_pair: "above 0 and below 1",
        DpoLoss.robust: "from 0 to below 0.5",
    }

    def __post_init__(self) -> None:
        """Refuse losses without what they read."""
        super().__post_init__()
        if not isinstance(self.loss_type, DpoLoss):
            return
        name = self.loss_type.value
        if self.reference_free and self.loss_type not in self.OF_MARGIN | {DpoLoss.ipo}:
            raise ValueError(
                f"task.reference_free: {name} reads the reference; take"
                f" {', '.join(sorted(one.value for one in self.OF_MARGIN))} or ipo"
            )
        if self.length_penalty and self.loss_type not in self.OF_MARGIN:
            raise ValueError(
                f"task.length_penalty: {name} has no margin to add it to; take"
                f" {', '.join(sorted(one.value for one in self.OF_MARGIN))}"
            )
        if self.loss_type is DpoLoss.exo_pair and not 0 < self.label_smoothing < 1:
            raise ValueError(
                f"task.loss_type=exo_pair needs task.label_smoothing {self.SMOOTHED[DpoLoss.exo_pair]}"
            )
        if self.loss_type is DpoLoss.robust and not 0 <= self.label_smoothing < 0.5:  # noqa: PLR2004
            raise ValueError(
                f"task.loss_type=robust needs task.label_smoothing {self.SMOOTHED[DpoLoss.robust]}"
            )
        if not 0 <= self.sft_weight < math.inf:
            raise ValueError(f"task.sft_weight must not be negative ({self.sft_weight:g})")


@dataclass
class OrpoConfig(PairConfig):
    """Schema of conf/task/orpo.yaml."""

    reads = TUNING

    nll_on: NllOn = MISSING


class KtoLoss(Enum):
    """How a rated answer becomes a loss: the names and formulas of TRL's KTOTrainer."""

    kto = "kto"  # against how far the model has moved on other answers (2402.01306)
    apo_zero_unpaired = "apo_zero_unpaired"  # against the reference alone (2408.06266)


@dataclass
class KtoConfig(PreferenceConfig):
    """Schema of conf/task/kto.yaml."""

    reads = TUNING

    loss_type: KtoLoss = MISSING
    desirable_weight: float = MISSING  # of the loss of answers that are rated up
    undesirable_weight: float = MISSING  # of those that are rated down

    def __post_init__(self) -> None:
        """Refuse weights that are none, and a step in which no other answer is found."""
        super().__post_init__()
        for name in ("desirable_weight", "undesirable_weight"):
            value = getattr(self, name)
            if isinstance(value, float) and not 0 <= value < math.inf:
                raise ValueError(f"task.{name} must not be negative ({value:g})")
        if self.desirable_weight == self.undesirable_weight == 0:
            raise ValueError("task.desirable_weight and task.undesirable_weight are 0: nothing is learned")
        if self.loss_type is KtoLoss.kto and self.effective_batch_size == 1:
            raise ValueError(
                "task.loss_type=kto needs task.effective_batch_size above 1: it looks at other answers of"
                " a step; or take task.loss_type=apo_zero_unpaired"
            )
