"""What answers are worth as a loss: a value for each pair, or rated one, whatever batch it is in.

P pairs, R rated answers. All values are log-probabilities in nats; formulas are those of TRL 1.16's
DPOTrainer and KTOTrainer and of the papers named. TRL's `aot` and `aot_unpaired` sort the pairs of a batch,
so that the size of a micro-batch would change what is learned: they are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch.nn.functional import logsigmoid

from arabic_llm.config.preference_task import (
    DpoConfig,
    DpoLoss,
    KtoConfig,
    KtoLoss,
    NllOn,
    OrpoConfig,
    PairConfig,
    PreferenceConfig,
)

_DISCOPOP_TAU = 0.05  # 2406.08414, as in TRL


@dataclass(frozen=True)
class Pairs:
    """Log-probabilities of answers, summed over their tokens, and how many tokens those are."""

    chosen_P: torch.Tensor  # noqa: N815 (shape)
    rejected_P: torch.Tensor  # noqa: N815
    ref_chosen_P: torch.Tensor  # noqa: N815 (of the reference; zeros where there is none)
    ref_rejected_P: torch.Tensor  # noqa: N815
    chosen_tokens_P: torch.Tensor  # noqa: N815
    rejected_tokens_P: torch.Tensor  # noqa: N815
    nll_P: torch.Tensor  # noqa: N815 (nats a token of the better side: of its answer, or of its prompt too)


@dataclass(frozen=True)
class Rated:
    """Log-probabilities of answers, summed over their tokens, and which of them are to become likelier."""

    log_prob_R: torch.Tensor  # noqa: N815 (shape)
    reference_R: torch.Tensor  # noqa: N815
    is_desirable_R: torch.Tensor  # noqa: N815
    divergence: float  # nats by which answers to other prompts have become likelier, at least 0
    tokens_R: torch.Tensor  # noqa: N815


Loss = Callable[[Pairs], torch.Tensor]


def of(task: PairConfig) -> Loss:
    """Return the loss [P] that the settings of a task ask for."""
    if isinstance(task, DpoConfig):
        return partial(dpo, task=task)
    return partial(orpo, task=cast(OrpoConfig, task))


def needs_reference(task: PreferenceConfig) -> bool:
    """Return whether a loss reads what the model thought before."""
    return isinstance(task, KtoConfig) or (isinstance(task, DpoConfig) and not task.reference_free)


def needs_divergence(task: PreferenceConfig) -> bool:
    """Return whether a loss reads how far the model has moved on answers to other prompts."""
    return isinstance(task, KtoConfig) and task.loss_type is KtoLoss.kto


def scores_prompt(task: PreferenceConfig) -> bool:
    """Return whether the likelihood that is added is of the prompt too."""
    return isinstance(task, OrpoConfig) and task.nll_on is NllOn.all


def dpo(pairs: Pairs, task: DpoConfig) -> torch.Tensor:
    """Return DPO's loss (2305.18290), of the kind that the task names, and a share of the NLL."""
    chosen, rejected = pairs.chosen_P - pairs.ref_chosen_P, pairs.rejected_P - pairs.ref_rejected_P
    if task.loss_type in (DpoLoss.ipo, DpoLoss.sigmoid_norm):  # a token, as IPO's authors told TRL
        chosen, rejected = chosen / pairs.chosen_tokens_P, rejected / pairs.rejected_tokens_P
    if task.loss_type in task.OF_MARGIN:
        margin = task.beta * (chosen - rejected) + penalty(pairs, task)
        loss = _of_margin(margin, task)
    else:
        loss = _OF_RATIOS[task.loss_type](chosen, rejected, task.beta)
    return loss + task.sft_weight * pairs.nll_P if task.sft_weight else loss


def orpo(pairs: Pairs, task: OrpoConfig) -> torch.Tensor:
    """Return ORPO's loss (2403.07691, equations 6 and 7): nats a token, and the odds of the answers."""
    log_odds = _log_odds(pairs.chosen_P / pairs.chosen_tokens_P)
    log_odds = log_odds - _log_odds(pairs.rejected_P / pairs.rejected_tokens_P)
    return pairs.nll_P - task.beta * logsigmoid(log_odds + penalty(pairs, task))


def kto(rated: Rated, task: KtoConfig) -> torch.Tensor:
    """Return KTO's loss (2402.01306, equation 7), or APO-zero's of answers apart (2408.06266)."""
    over = rated_margin(rated, task)
    loss = 1 - torch.sigmoid(torch.where(rated.is_desirable_R, over, -over))
    return loss * torch.where(rated.is_desirable_R, task.desirable_weight, task.undesirable_weight)


def rated_margin(rated: Rated, task: KtoConfig) -> torch.Tensor:
    """Return by how much each reward lies over the point that the loss compares it with."""
    point = rated.divergence if needs_divergence(task) else 0.0
    return task.beta * (rated.log_prob_R - rated.reference_R - point)


def rewards(pairs: Pairs, task: PairConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the implicit rewards of both answers: DPO's over the reference, ORPO's a token, as in TRL."""
    if isinstance(task, DpoConfig):
        return (
            task.beta * (pairs.chosen_P - pairs.ref_chosen_P),
            task.beta * (pairs.rejected_P - pairs.ref_rejected_P),
        )
    return (
        task.beta * pairs.chosen_P / pairs.chosen_tokens_P,
        task.beta * pairs.rejected_P / pairs.rejected_tokens_P,
    )


def penalty(pairs: Pairs, task: PairConfig) -> torch.Tensor:
    """Return what the length adds to a margin (2403.19159, equation 9).

    A reward less alpha a token gives the implicit reward alpha a token more: what a longer answer wins by
    its length alone the model need not learn.
    """
    return task.length_penalty * (pairs.chosen_tokens_P - pairs.rejected_tokens_P)


def _of_margin(margin: torch.Tensor, task: DpoConfig) -> torch.Tensor:
    """Return the losses that read beta times a difference alone."""
    smoothing = task.label_smoothing
    if task.loss_type is DpoLoss.hinge:
        return torch.relu(1 - margin)
    if task.loss_type is DpoLoss.robust:  # 2403.00409
        wrong = smoothing * logsigmoid(-margin)
        return (wrong - (1 - smoothing) * logsigmoid(margin)) / (1 - 2 * smoothing)
    if task.loss_type is DpoLoss.exo_pair:  # 2402.00856, equation 16
        right, wrong = torch.log1p(-margin.new_tensor(smoothing)), margin.new_tensor(smoothing).log()
        return torch.sigmoid(margin) * (logsigmoid(margin) - right) + torch.sigmoid(-margin) * (
            logsigmoid(-margin) - wrong
        )
    return -logsigmoid(margin)


def _ipo(chosen: torch.Tensor, rejected: torch.Tensor, beta: float) -> torch.Tensor:
    return (chosen - rejected - 1 / (2 * beta)) ** 2  # 2310.12036, equation 17


def _nca(chosen: torch.Tensor, rejected: torch.Tensor, beta: float) -> torch.Tensor:
    away = logsigmoid(-beta * chosen) + logsigmoid(-beta * rejected)
    return -logsigmoid(beta * chosen) - 0.5 * away


def _bco(chosen: torch.Tensor, rejected: torch.Tensor, beta: float) -> torch.Tensor:
    return -logsigmoid(beta * chosen) - logsigmoid(-beta * rejected)


def _sppo(chosen: torch.Tensor, rejected: torch.Tensor, beta: float) -> torch.Tensor:
    return (chosen - 0.5 / beta) ** 2 + (rejected + 0.5 / beta) ** 2  # 2405.00675, equation 4.7


def _apo_zero(chosen: torch.Tensor, rejected: torch.Tensor, beta: float) -> torch.Tensor:
    return 1 - torch.sigmoid(beta * chosen) + torch.sigmoid(beta * rejected)  # 2408.06266, equation 7


def _apo_down(chosen: torch.Tensor, rejected: torch.Tensor, beta: float) -> torch.Tensor:
    return torch.sigmoid(beta * chosen) + 1 - torch.sigmoid(beta * (chosen - rejected))  # equation 8


def _discopop(chosen: torch.Tensor, rejected: torch.Tensor, beta: float) -> torch.Tensor:
    margin = beta * (chosen - rejected)
    share = torch.sigmoid(margin / _DISCOPOP_TAU)
    return -logsigmoid(margin) * (1 - share) + torch.exp(-margin) * share  # 2406.08414, equation 5


_OF_RATIOS = {
    DpoLoss.ipo: _ipo,
    DpoLoss.nca_pair: _nca,
    DpoLoss.bco_pair: _bco,
    DpoLoss.sppo_hard: _sppo,
    DpoLoss.apo_zero: _apo_zero,
    DpoLoss.apo_down: _apo_down,
    DpoLoss.discopop: _discopop,
}


def _log_odds(log_probability: torch.Tensor) -> torch.Tensor:
    """Return log(p / (1 - p)), of log p < 0."""
    p = log_probability.float()
    return p - torch.log(-torch.expm1(p))
