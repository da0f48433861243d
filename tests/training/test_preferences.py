"""Pairs of answers: TRL's losses, hand-computed ones, what is learned of them, and killed runs."""

import math
from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import compose_config
from lab import learned
from preference_lab import Lab, ending, metrics, rows
from trl import DPOTrainer
from trl.experimental.orpo import ORPOTrainer

from arabic_llm import files
from arabic_llm.config.complaints import did_you_mean
from arabic_llm.config.preference_task import DpoLoss
from arabic_llm.config.task import Form
from arabic_llm.data.preparing.mixing import Mix
from arabic_llm.data.rows import Message, Row, question_answer
from arabic_llm.data.tokens import chat, lint, preference_rows, token_rows
from arabic_llm.errors import ConfigError
from arabic_llm.profiling import training_memory
from arabic_llm.training import preference_losses, reference_log_probs
from arabic_llm.training.preference_losses import Pairs


def task(*overrides: str):
    return compose_config(*overrides).task


def pairs(count: int = 4) -> Pairs:
    """Return pairs whose answers have one length each side, so that TRL's means of tokens are ours."""
    draw = torch.Generator().manual_seed(5)
    chosen, rejected, ref_chosen, ref_rejected = (
        -torch.rand(count, generator=draw, dtype=torch.float64) * 20 - 1 for _ in range(4)
    )
    lengths = torch.full((count,), 7), torch.full((count,), 4)
    return Pairs(chosen, rejected, ref_chosen, ref_rejected, *lengths, -chosen / 7)


def of_trl(
    found: Pairs, loss_type: list[str], weights: list[float], beta: float, smoothing: float
) -> float:
    """Return the loss that TRL's trainer computes where a model gives these log-probabilities."""
    tokens = 8  # positions that predict; a side's log-probability lies evenly on its answer
    mask = torch.zeros(2 * len(found.chosen_P), tokens + 1, dtype=torch.long)
    log_probs = torch.zeros(len(mask), tokens, dtype=torch.float64)
    sides = [
        *zip(found.chosen_P, found.chosen_tokens_P, strict=True),
        *zip(found.rejected_P, found.rejected_tokens_P, strict=True),
    ]
    for row, (value, length) in enumerate(sides):
        mask[row, 1 : 1 + length] = 1
        log_probs[row, :length] = value / length
    nothing = torch.zeros_like(log_probs)
    trainer = object.__new__(DPOTrainer)
    alone = SimpleNamespace(
        device="cpu", gather=lambda value: value, gather_for_metrics=lambda value: value
    )
    vars(trainer).update(
        model=SimpleNamespace(training=True),
        accelerator=alone,
        args=SimpleNamespace(discopop_tau=0.05),
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        use_weighting=False,
        ld_alpha=None,
        f_divergence_type="reverse_kl",
        loss_types=loss_type,
        loss_weights=weights,
        beta=beta,
        label_smoothing=smoothing,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {
        "input_ids": mask,
        "attention_mask": mask,
        "completion_mask": mask,
        "ref_chosen_logps": found.ref_chosen_P,
        "ref_rejected_logps": found.ref_rejected_P,
    }
    outputs = SimpleNamespace(
        log_probs=log_probs, entropy=nothing, mean_logits=nothing, is_top1=nothing > 0
    )
    return float(trainer._compute_loss(lambda **_: outputs, inputs, False))


@pytest.mark.parametrize("loss_type", DpoLoss, ids=lambda one: one.value)
def test_every_loss_is_trls(loss_type):
    smoothing = 0.1 if loss_type.value in ("exo_pair", "robust") else 0.0
    smoothed = (f"task.label_smoothing={smoothing}",) if smoothing else ()
    ours = task("task=dpo", f"task.loss_type={loss_type.value}", "task.sft_weight=0.3", *smoothed)
    found = float(preference_losses.dpo(pairs(), ours).mean())
    assert found == pytest.approx(
        of_trl(pairs(), [loss_type.value, "sft"], [1.0, 0.3], ours.beta, smoothing), abs=1e-5
    )


def test_orpo_is_trls_but_for_the_tokens_of_its_likelihood():
    found = pairs()
    trainer = SimpleNamespace(beta=0.2, accelerator=SimpleNamespace(device="cpu"))
    odds = ORPOTrainer.odds_ratio_loss(
        trainer, found.chosen_P / found.chosen_tokens_P, found.rejected_P / found.rejected_tokens_P
    )[0]
    ours = preference_losses.orpo(found, task("task=orpo"))
    assert torch.allclose(ours, found.nll_P - odds, atol=1e-6)


def test_without_a_reference_and_with_a_penalty_it_is_what_is_computed_by_hand():
    values = (torch.tensor([value]) for value in (-3.0, -5.0, 0.0, 0.0, 6, 4, 0.5))
    free = task("task=dpo", "task.reference_free=true", "task.length_penalty=0.02")
    found = float(preference_losses.dpo(Pairs(*values), free))
    assert found == pytest.approx(math.log(1 + math.exp(-(0.2 * 2 + 0.02 * 2))))


def test_of_a_longer_better_answer_less_is_learned_with_a_penalty():
    def slope(*overrides: str) -> float:
        chosen = torch.tensor([-9.0], requires_grad=True)
        others = (torch.tensor([value]) for value in (-5.0, -9.0, -5.0, 30, 5, 0.3))
        preference_losses.dpo(Pairs(chosen, *others), task("task=dpo", *overrides)).sum().backward()
        return float(-chosen.grad)

    assert 0 < slope("task.length_penalty=0.05") < slope()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("task.loss_type=sppo_hard", "task.reference_free=true"), "sppo_hard reads the reference"),
        (("task.loss_type=bco_pair", "task.length_penalty=0.1"), "bco_pair has no margin"),
        (("task.loss_type=exo_pair",), "exo_pair needs task.label_smoothing above 0 and below 1"),
        (("task.loss_type=robust", "task.label_smoothing=0.5"), "robust needs task.label_smoothing from 0"),
        (("task.beta=0.0",), "task.beta must be positive, not 0"),
    ],
)
def test_what_has_no_meaning_is_refused(overrides, said):
    with pytest.raises(Exception, match=said):
        task("task=dpo", *overrides)


def test_both_answers_follow_one_prompt_and_end_with_the_stop_token():
    lab = Lab()
    for pair in (*lab.train_rows, *lab.dev_rows):
        (ids, labels), (other_ids, other_labels) = pair.sides()
        start = next(n for n, label in enumerate(labels) if label != chat.IGNORED)
        assert ids[:start] == other_ids[:start]
        assert other_labels[:start] == [chat.IGNORED] * start
        assert [label for label in labels if label != chat.IGNORED] == ids[
            start : ids.index(lab.codec.stop_id, start) + 1
        ]
        assert lab.codec.stop_id in other_labels
    told = lint.lint(
        lab.codec,
        rows(),
        token_rows.encode(lab.codec, rows(), lab.config.data, 128, None, form=Form.pairs),
        set(),
    )
    assert told.without_stop == 0
    assert told.tokens == sum(
        len(ids) for pair in (*lab.train_rows, *lab.dev_rows) for ids, _ in pair.sides()
    )


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (replace(rows()[0], rejected=""), preference_rows.NO_PAIR),
        (replace(rows()[0], rejected="القاهرة"), "chosen and rejected are the same tokens"),
        (replace(rows()[0], rejected="<|im_end|>"), "control token <|im_end|> in the text"),
        (
            replace(rows()[0], messages=(rows()[0].messages[0], Message("assistant", "القاهرة", False))),
            "its better answer is not to be learned",
        ),
        (replace(rows()[0], rejected="لا " * 200), "a side longer than task.max_length=128"),
    ],
)
def test_what_is_no_pair_is_left_out_and_counted(row, why):
    assert preference_rows.as_pair(Lab().codec, row, 128) == why


def test_only_the_last_answer_of_a_conversation_is_compared():
    first = (Message("user", "مرحبا"), Message("assistant", "أهلا"))
    row = rows()[0]
    codec = Lab().codec
    (alone,) = preference_rows.as_pair(codec, row, 512)
    (longer,) = preference_rows.as_pair(codec, replace(row, messages=(*first, *row.messages)), 512)
    for labels, others in ((alone.labels, longer.labels), (alone.rejected_labels, longer.rejected_labels)):
        assert [one for one in labels if one != -100] == [one for one in others if one != -100]


@pytest.fixture(scope="module")
def preferred(tmp_path_factory):
    """Return the folder of a run of DPO, and what it has learned."""
    folder = tmp_path_factory.mktemp("dpo")
    model, outcome = Lab("task.max_steps=12", "task.eval_steps=12").train(folder)
    return folder, learned(model), outcome


def test_a_planted_preference_is_learned_and_told(preferred):
    folder, _, outcome = preferred
    lines = metrics(folder)
    dev = [line for line in lines if "dev_loss" in line]
    assert dev[0]["dev_loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert dev[0]["dev_reward_margin"] == pytest.approx(0, abs=1e-3)
    assert dev[0]["dev_kl"] == pytest.approx(0, abs=1e-3)
    rewards = dev[-1]["dev_reward_chosen"] + dev[-1]["dev_reward_rejected"]
    assert dev[-1]["dev_kl"] == pytest.approx(rewards / 2 / 0.2, abs=1e-4)  # beta
    assert dev[0]["dev_reward_accuracy"] == 0.5  # the reference is the model itself: no pair is won
    assert outcome.dev_loss < 0.3
    assert dev[-1]["dev_reward_accuracy"] == 1
    steps = [line for line in lines if "loss" in line]
    assert steps[0]["tokens_chosen"] == pytest.approx(
        sum(sum(label != -100 for label in row.labels) for row in Lab().train_rows) / 15, rel=0.5
    )
    assert all(
        line["reward_margin"] == pytest.approx(line["reward_chosen"] - line["reward_rejected"], abs=1e-6)
        for line in steps
    )


def test_micro_batches_change_nothing_and_the_reference_is_read_again(preferred, tmp_path):
    folder, _, _ = preferred
    kept = next(folder.glob("reference/*.json"))
    before = kept.read_bytes()
    Lab("task.max_steps=12", "task.eval_steps=12", "hw.micro_batch_size=2").train(tmp_path, kept)
    assert kept.read_bytes() == before
    theirs = [line["loss"] for line in metrics(folder) if "loss" in line]
    ours = [line["loss"] for line in metrics(tmp_path) if "loss" in line]
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_the_reference_knows_nothing_of_what_is_trained(preferred):
    folder, _, _ = preferred
    one, other = Lab(), Lab("adapter.rank=4", "adapter.alpha=8", "seed=3")
    every = [[*lab.train_rows, *lab.dev_rows] for lab in (one, other)]
    assert reference_log_probs.path(folder, {}, every[0]) == reference_log_probs.path(
        folder, {}, every[1][::-1]
    )
    assert reference_log_probs.path(folder, {}, every[0]) != reference_log_probs.path(
        folder, {"base": "x"}, every[0]
    )
    assert reference_log_probs.path(folder, {}, every[0]) != reference_log_probs.path(
        folder, {}, every[0][1:]
    )


def test_a_run_that_was_cut_goes_on_to_the_same_bits(preferred, tmp_path):
    folder, weights, _ = preferred
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preference_losses, "rewards", ending(preference_losses.rewards, 9))
        with pytest.raises(KeyboardInterrupt):
            Lab("task.max_steps=12", "task.eval_steps=12").train(tmp_path)
    model, outcome = Lab("task.max_steps=12", "task.eval_steps=12").train(tmp_path)
    assert outcome.resumed_from > 0
    assert learned(model) == weights
    losses = [[line["loss"] for line in metrics(one) if "loss" in line] for one in (folder, tmp_path)]
    assert losses[0] == losses[1]


def test_a_step_takes_the_memory_that_twice_as_many_rows_take(preferred, tmp_path):
    folder, _, _ = preferred
    kept = next(folder.glob("reference/*.json"))
    Lab("task.max_steps=2").train(tmp_path, kept, training_memory.watch(tmp_path / "training"))
    (line,) = [line for line in metrics(tmp_path) if line["step"] == 2 and "loss" in line]
    assert line["measured_mib"] == pytest.approx(line["predicted_mib"], rel=0.02)


def test_orpo_learns_it_too_and_its_likelihood_may_be_of_the_prompt(tmp_path):
    lab = Lab("task=orpo", "task.max_steps=6", "task.eval_steps=6", "task.nll_on=all", "task.beta=2.0")
    lab.train(tmp_path)
    lines = [line for line in metrics(tmp_path) if "loss" in line]
    assert lines[-1]["loss"] < lines[0]["loss"]
    dev = [line["dev_reward_margin"] for line in metrics(tmp_path) if "dev_loss" in line]
    assert dev[-1] > dev[0]
    assert not (tmp_path / "reference").exists()
    answers = Lab("task=orpo", "task.max_steps=1", "task.eval_steps=6", "task.beta=2.0")
    answers.train(tmp_path / "answers")
    first = [line["loss"] for line in metrics(tmp_path / "answers") if "loss" in line]
    assert first[0] != pytest.approx(lines[0]["loss"], abs=1e-2)


def of_languages(zh: int, en: int) -> list[Row]:
    """Return pairs of two sources, of two languages."""
    asked = [("zh", "{}的首都是什么？", "北京", "Cairo")] * zh + [
        ("en", "Capital of {}?", "Cairo", "Peking")
    ] * en
    return [
        replace(question_answer(f"{lang}/{n}", how.format(n), better), rejected=worse, source=lang)
        for n, (lang, how, better, worse) in enumerate(asked)
    ]


def test_orpo_reaches_the_quota_of_chinese_pairs_however_it_is_spelled(tmp_path):
    mix = ("data=llamafactory_dpo", "task=orpo")
    spelled = [
        compose_config(*mix, f"{key}=0.7")
        for key in ("data.prefer_chinese_ratio", "+data.language_quotas.zh")
    ]
    assert spelled[0] == spelled[1]
    lab = Lab("task=orpo", "task.max_steps=2", "task.effective_batch_size=10", "task.eval_steps=9")
    lab.train_rows = token_rows.encode(
        lab.codec, of_languages(4, 16), lab.config.data, 128, None, form=Form.pairs
    ).rows
    quotas = spelled[0].data.language_quotas
    lab.mix = Mix(languages={"zh": "zh", "en": "en"}, quotas=quotas)
    lab.train(tmp_path)
    drawn = {one["name"]: one for one in files.read_json(tmp_path / "training" / "mix.json")["languages"]}
    assert drawn["zh"]["sequences"] == pytest.approx(0.7)  # of 20 draws, where 4 of 20 pairs are Chinese
    assert drawn["zh"]["times_seen"] == pytest.approx(3.5)
    with pytest.raises(
        ConfigError, match=r"data.prefer_chinese_ratio=0.7 is data.language_quotas.zh, which is"
    ):
        compose_config(*mix, "data.prefer_chinese_ratio=0.7", "+data.language_quotas.zh=0.5")
    assert (
        did_you_mean("task.prefer_chinese_ratio", ["beta"]) == "; did you mean 'data.prefer_chinese_ratio'?"
    )


def test_what_a_length_penalty_does_to_the_margins_is_told_before_the_first_step():
    (row,) = Lab("task=orpo").train_rows[:1]
    longer = replace(row, labels=[*row.labels, *[7] * 100])
    settings = task("task=orpo", "task.length_penalty=0.02")
    gap = sum(label != -100 for label in row.labels) - sum(label != -100 for label in row.rejected_labels)
    (said,) = preference_rows.told(settings, [row, longer])
    assert said == (
        f"task.length_penalty=0.02 moves the margin by {0.02 * (gap + 50):+.2f} on average"
        f" ({0.02 * gap:+.2f} to {0.02 * (gap + 100):+.2f})"
    )
    assert preference_rows.told(task("task=dpo"), [row]) == []
