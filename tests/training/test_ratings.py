"""Rated answers: TRL's losses, which answers a step is compared with, what is learned, and killed runs."""

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import compose_config
from lab import learned
from preference_lab import Lab, ending, metrics, rows
from trl.trainer.kto_trainer import KTOTrainer

from arabic_llm.config.preference_task import KtoLoss
from arabic_llm.config.task import Form
from arabic_llm.data.tokens import chat, lint, preference_rows, token_rows
from arabic_llm.profiling import training_memory
from arabic_llm.training import preference_losses
from arabic_llm.training.preference_losses import Rated
from arabic_llm.training.ratings import mismatched

SHORT = ("task=kto", "task.max_steps=12", "task.eval_steps=12", "task.beta=0.5")


def task(*overrides: str):
    return compose_config("task=kto", *overrides).task


def of_trl(log_prob, reference, is_up, others, settings) -> float:
    """Return the loss that TRL's trainer computes where a model gives these log-probabilities."""
    mask = torch.ones(len(log_prob), 2, dtype=torch.long)
    mask[:, 0] = 0
    given = iter([others[0], log_prob])  # of the mismatched answers first

    def model(**_):
        values = next(given)[:, None]
        return SimpleNamespace(log_probs=values, entropy=values, mean_logits=values)

    trainer = object.__new__(KTOTrainer)
    vars(trainer).update(
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(device=torch.device("cpu"), gather_for_metrics=lambda value: value),
        calculate_KL=settings.loss_type is KtoLoss.kto,
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        beta=settings.beta,
        loss_type=settings.loss_type.value,
        desirable_weight=settings.desirable_weight,
        undesirable_weight=settings.undesirable_weight,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {
        **{f"{of}input_ids": mask for of in ("", "KL_")},
        **{f"{of}attention_mask": mask for of in ("", "KL_")},
        **{f"{of}completion_mask": mask for of in ("", "KL_")},
        **{"label": is_up, "ref_logps": reference, "ref_KL_logps": others[1]},
    }
    if settings.loss_type is not KtoLoss.kto:
        next(given)
    return float(trainer._compute_loss(model, inputs, False))


@pytest.mark.parametrize("loss_type", KtoLoss, ids=lambda one: one.value)
@pytest.mark.parametrize("moved", [1.5, -1.5])  # towards the other answers, and away from them
def test_every_loss_is_trls(loss_type, moved):
    draw = torch.Generator().manual_seed(7)
    log_prob, reference, other = (
        -torch.rand(5, generator=draw, dtype=torch.float64) * 9 - 1 for _ in range(3)
    )
    is_up = torch.tensor([True, False, True, True, False])
    settings = task(f"task.loss_type={loss_type.value}", "task.desirable_weight=0.7")
    others = other + moved, other
    divergence = max(0.0, float((others[0] - others[1]).mean()))
    rated = Rated(log_prob, reference, is_up, divergence, torch.ones(5))
    found = float(preference_losses.kto(rated, settings).mean())
    assert found == pytest.approx(of_trl(log_prob, reference, is_up, others, settings), abs=1e-5)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("task.effective_batch_size=1",), "task.effective_batch_size above 1"),
        (("task.desirable_weight=-1.0",), "task.desirable_weight must not be negative"),
        (("task.desirable_weight=0.0", "task.undesirable_weight=0.0"), "nothing is learned"),
        (("task.length_penalty=0.1",), "length_penalty"),
    ],
)
def test_what_has_no_meaning_is_refused(overrides, said):
    with pytest.raises(Exception, match=said):
        task(*overrides)


def thumbs():
    """Return the questions of the pairs, with one answer each, that is rated."""
    up, down = rows()[::2], rows()[1::2]
    return [
        *(replace(row, rejected="", rating="up") for row in up),
        *(
            replace(
                row,
                messages=(row.messages[0], replace(row.messages[1], content=row.rejected)),
                rejected="",
                rating="down",
            )
            for row in down
        ),
    ]


@pytest.fixture(scope="module")
def codec():
    return Lab("task=kto").codec


def encoded(codec, of, length=128):
    return token_rows.encode(codec, of, compose_config().data, length, None, form=Form.ratings)


def test_a_pair_is_one_answer_up_and_one_down_and_a_thumb_is_one_answer(codec):
    found = encoded(codec, rows()).rows
    assert [row.is_desirable for row in found] == [True, False] * len(rows())
    assert preference_rows.num_sequences(task(), [*rows(), *thumbs()]) == len(found) + len(thumbs())
    assert preference_rows.num_sequences(compose_config("task=dpo").task, rows()) == len(rows())
    alone = {(tuple(row.input_ids), row.is_desirable) for row in encoded(codec, thumbs()).rows}
    assert len(alone) == len(thumbs())
    assert alone < {(tuple(row.input_ids), row.is_desirable) for row in found}
    told = lint.lint(codec, rows(), encoded(codec, rows()), set())
    assert (told.rows, told.duplicates, told.without_stop) == (len(found), 0, 0)


def test_the_weight_that_balances_the_ratings_is_told(codec):
    of = encoded(codec, [*thumbs()[:9], *thumbs()[-3:]]).rows
    (said,) = preference_rows.told(task(), of)
    assert said == (
        "rated answers: 9 up, 3 down: one side weighs more; task.desirable_weight=0.33 would balance them"
    )
    (said,) = preference_rows.told(task("task.desirable_weight=0.33"), of)
    assert said == "rated answers: 9 up, 3 down"
    (said,) = preference_rows.told(task(), of[:9])
    assert said.endswith("9 up, 0 down: of one kind alone, all are learned as the same")


def test_the_rating_is_part_of_what_is_trained_on(codec):
    row = thumbs()[0]
    other = replace(row, rating="down")
    hashes = [token_rows.data_hash(encoded(codec, [one]).rows) for one in (row, other)]
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (replace(thumbs()[0], rating=""), preference_rows.NO_RATING),
        (replace(rows()[0], rejected="القاهرة"), "chosen and rejected are the same tokens"),
        (
            replace(
                thumbs()[0],
                messages=(rows()[0].messages[0], replace(rows()[0].messages[1], supervised=False)),
            ),
            "its answer is not to be learned",
        ),
    ],
)
def test_what_is_not_rated_is_left_out_and_counted(codec, row, why):
    assert preference_rows.as_rated(codec, row, 128) == why
    assert "longer than task.max_length=8" in preference_rows.as_rated(codec, thumbs()[0], 8)


def test_fine_tuning_learns_no_answer_that_is_rated_down(codec):
    found = token_rows.encode(codec, thumbs(), compose_config().data, 128, None)
    assert found.ledger.dropped == {chat.RATED_DOWN: 10}
    assert len(found.rows) == 10


def test_a_steps_prompts_meet_each_answer_of_it_once_and_never_their_own(codec):
    found = encoded(codec, rows()[:5]).rows
    made = mismatched(found, 128)
    assert len(made) == len(found)
    own = {tuple(row.input_ids) for row in found}
    assert not own & {tuple(row.input_ids) for row in made}
    answers = [[label for label in row.labels if label != chat.IGNORED] for row in (*found, *made)]
    assert sorted(answers[: len(found)]) == sorted(answers[len(found) :])
    for row, other in zip(found, made, strict=True):
        start = chat.prompt_length(row)
        assert (other.input_ids[:start], chat.prompt_length(other)) == (
            row.input_ids[:start],
            start,
        )
    short = mismatched(found, 20)
    assert {len(row.input_ids) for row in short} == {20} and all(len(row.labels) == 20 for row in short)


def test_answers_to_one_prompt_alone_are_no_others(codec):
    assert mismatched(encoded(codec, rows()[:1]).rows, 128) == []
    both = encoded(codec, [*rows()[:1], *thumbs()[1:2]]).rows
    assert len(mismatched(both, 128)) == 2  # an answer to its own prompt is left out


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    """Return the folder of a run of KTO, and what it has learned."""
    folder = tmp_path_factory.mktemp("kto")
    model, outcome = Lab(*SHORT).train(folder)
    return folder, learned(model), outcome


def test_planted_ratings_are_learned_and_told(rated):
    folder, _, outcome = rated
    lines = metrics(folder)
    dev = [line for line in lines if "dev_loss" in line]
    assert dev[0]["dev_loss"] == pytest.approx(0.5, abs=1e-3)  # nothing has moved
    assert (dev[0]["dev_reward_accuracy"], dev[0]["dev_kl"]) == (0.5, pytest.approx(0, abs=1e-3))
    assert outcome.dev_loss < 0.3
    assert dev[-1]["dev_reward_accuracy"] > 0.9
    steps = [line for line in lines if "loss" in line]
    assert all(line["kl"] >= 0 for line in steps)
    assert all(
        line["reward_margin"] == pytest.approx(line["reward_chosen"] - line["reward_rejected"], abs=1e-6)
        for line in steps
        if "reward_margin" in line
    )
    assert steps[-1]["reward_chosen"] > steps[-1]["reward_rejected"]


def test_micro_batches_change_nothing_and_the_references_are_read_again(rated, tmp_path):
    folder, _, _ = rated
    before = {file: file.read_bytes() for file in folder.glob("reference/*.json")}
    assert len(before) == 2
    kept = next(file for file in before if len(Lab(*SHORT).train_rows) + 10 == file.read_text().count("["))
    Lab(*SHORT, "hw.tokens_per_micro_batch=90", "hw.eval_batch_size=3").train(tmp_path, kept)
    assert {file: file.read_bytes() for file in folder.glob("reference/*.json")} == before
    for figure in ("loss", "kl"):
        theirs, ours = (
            [line[figure] for line in metrics(one) if "loss" in line] for one in (folder, tmp_path)
        )
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_a_run_that_was_cut_goes_on_to_the_same_bits(rated, tmp_path):
    folder, weights, _ = rated
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preference_losses, "kto", ending(preference_losses.kto, 9))
        with pytest.raises(KeyboardInterrupt):
            Lab(*SHORT).train(tmp_path)
    model, outcome = Lab(*SHORT).train(tmp_path)
    assert outcome.resumed_from > 0
    assert learned(model) == weights
    figures = [
        [(line["loss"], line["kl"]) for line in metrics(one) if "loss" in line]
        for one in (folder, tmp_path)
    ]
    assert figures[0] == figures[1]


def test_without_other_answers_it_learns_too_and_a_step_takes_the_memory_of_its_rows(tmp_path):
    lab = Lab(*SHORT, "task.max_steps=2", "task.loss_type=apo_zero_unpaired", of=thumbs())
    lab.train(tmp_path, None, training_memory.watch(tmp_path / "training"))
    assert len(list(tmp_path.glob("reference/*.json"))) == 1
    lines = [line for line in metrics(tmp_path) if "loss" in line]
    assert all("kl" not in line for line in lines)
    assert lines[1]["measured_mib"] == pytest.approx(lines[1]["predicted_mib"], rel=0.02)
