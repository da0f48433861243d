"""Classifiers, small and real: they learn what can be told apart, and carry on to the same bits."""

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bert
import torch
from conftest import compose_config
from lab import learned

from arabic_llm import files
from arabic_llm.data.preparing.mixing import Mix
from arabic_llm.data.rows import Row
from arabic_llm.data.tokens import chat, chat_template, token_rows
from arabic_llm.errors import CheckpointError, HardwareError, ModelError
from arabic_llm.models import adapter, bases, load, placement, tokenization
from arabic_llm.profiling import training_memory
from arabic_llm.profiling.training_memory import watch
from arabic_llm.tracking import NoTracker
from arabic_llm.training import callbacks, class_loss, sft
from arabic_llm.training.observer import Nobody

SHORT = (
    *("task=classify", "hw=cpu", "task.effective_batch_size=8", "task.max_steps=12", "task.eval_steps=6"),
    *("task.save_steps=2", "task.learning_rate=1e-3", "task.warmup_ratio=0", "task.max_length=32"),
)
ANIMALS, THINGS = ("قطة", "كلب", "جمل", "أسد"), ("كتاب", "قلم", "باب", "بيت")
PLACES = ("المدرسة", "الحديقة", "البيت", "السوق", "المكتبة")
LABELS = ("animal", "thing")


def rows() -> list[Row]:
    """Return texts whose first word decides the class; the rest, and how much of it, decides nothing."""
    return [
        Row(f"{word}/{n}", text=f"{word} {'كبير ' * n}في {place}", label=label)
        for label, words in zip(LABELS, (ANIMALS, THINGS), strict=True)
        for word in words
        for n, place in enumerate(PLACES)
    ]


@dataclass
class Lab:
    """The parts of a run on a toy set, so that a test can change one."""

    overrides: tuple[str, ...] = ()
    tracker: Any = field(default_factory=NoTracker)
    is_watched: bool = False  # for its memory: that takes longer than the steps

    def __post_init__(self) -> None:
        self.config = compose_config(*SHORT, *self.overrides)
        self.base = bases.locate(self.config.model, None)
        self.tokenizer = tokenization.load(self.base)
        if self.config.model.chat_template:
            self.tokenizer = chat_template.prepare(self.tokenizer, self.config.model).tokenizer
        self.rows = [
            chat.encode_labelled(self.tokenizer, row, LABELS.index(row.label), 32) for row in rows()
        ]
        self.place = placement.resolve(self.config.hw)
        self.head = load.Head(LABELS, self.tokenizer.pad_token_id, self.config.seed)
        model = load.base_model(self.config.model, self.base, self.config.adapter, self.place, self.head)
        self.model = adapter.attach(model, self.config.adapter, self.base, self.config.seed)

    def train(self, directory: Path):
        """Train and return (model, outcome)."""
        material = sft.Material(self.rows, self.rows[::4], token_rows.data_hash(self.rows), Mix())
        observer = watch(directory) if self.is_watched else Nobody()
        run = sft.Run(directory, self.config.seed, self.tracker, observer)
        return sft.train(self.model, self.tokenizer, material, self.config.task, self.place, run)

    def probabilities(self, model, numbers=None):
        """Return what a model says of the toy texts, or of some of them."""
        chosen = self.rows if numbers is None else [self.rows[n] for n in numbers]
        return class_loss.probabilities(model, chosen, self.place, self.tokenizer.pad_token_id)

    def accuracy(self, model) -> float:
        """Return the share of the toy texts that a model answers right."""
        wanted = [row.labels[-1] for row in self.rows]
        return float(np.mean(self.probabilities(model).argmax(1) == wanted))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> tuple[str, ...]:
    """Return what chooses a tiny BERT that is soon trained."""
    folder = tiny_bert.save(tmp_path_factory.mktemp("bert"), initializer_range=0.05)
    return (*tiny_bert.OVERRIDES, f"model.path={folder}", "task.learning_rate=5e-3")


def curve(directory: Path):
    keys = ("step", "loss", "dev_loss", "learning_rate", "grad_norm", "tokens_seen")
    lines = files.read_json_lines(directory / callbacks.METRICS)
    return [[line.get(key) for key in keys] for line in lines]


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_a_decoder_learns_what_can_be_told_apart(tmp_path, method):
    lab = Lab((f"adapter={method}", "task.max_steps=40", "task.save_steps=50", "task.eval_steps=20"))
    assert lab.accuracy(lab.model) < 0.8
    model, outcome = lab.train(tmp_path / "training")
    assert lab.accuracy(model) == 1.0
    assert outcome.dev_loss < 0.1 < np.log(2)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}


def test_a_classifier_whose_logits_are_not_finite_classifies_nothing(encoder):
    lab = Lab(encoder)
    with torch.no_grad():
        lab.model.get_input_embeddings().weight[lab.rows[7].input_ids[1]] = float("inf")
    with pytest.raises(ModelError, match=r"^\S+/\d: the classifier's logits are not finite there"):
        lab.probabilities(lab.model)


@pytest.mark.parametrize("kind", ["lora", "qlora", "lora of an encoder"])
def test_what_is_saved_says_the_same_when_it_is_read_again(tmp_path, encoder, kind):
    """A head, and the pooling layer that a masked model lacks, are drawn: the adapter must hold them."""
    of_encoder = encoder if kind.endswith("encoder") else ()
    lab = Lab((f"adapter={kind.split()[0]}", "task.max_steps=2", *of_encoder))
    model, _ = lab.train(tmp_path / "training")
    adapter.save(model, lab.tokenizer, tmp_path / "adapter", {})
    again = adapter.load_trained(
        *(lab.config.model, lab.base, lab.config.adapter, lab.place, tmp_path / "adapter"),
        load.Head(LABELS, lab.head.pad_token_id, seed=99),  # the head drawn from it is replaced
    )
    assert lab.probabilities(again) == pytest.approx(lab.probabilities(model), abs=1e-6)
    assert again.config.id2label == {0: "animal", 1: "thing"}


def test_an_encoder_learns_what_can_be_told_apart(tmp_path, encoder):
    lab = Lab((*encoder, "adapter=full", "task.max_steps=60", "task.save_steps=50", "task.eval_steps=20"))
    model, _ = lab.train(tmp_path)
    assert lab.accuracy(model) == 1.0


def test_the_first_loss_is_the_mean_cross_entropy_of_its_rows(tmp_path):
    lab = Lab(("task.max_steps=1", "hw.micro_batch_size=2", "task.effective_batch_size=40"))
    said = lab.probabilities(lab.model)
    wanted = np.mean([-np.log(each[row.labels[-1]]) for row, each in zip(lab.rows, said, strict=True)])
    lab.train(tmp_path)
    assert [line[1] for line in curve(tmp_path) if line[1]] == pytest.approx([wanted], rel=1e-5)


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_hw_does_not_change_what_is_learned(tmp_path, encoder, kind):
    curves = []
    fixed = () if kind == "decoder" else (*encoder, "adapter=full")
    # BERT's own dropout draws other masks for other batches.
    for micro in (8, 2):
        lab = Lab((*fixed, f"hw.micro_batch_size={micro}", "task.max_steps=4"))
        for module in lab.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        lab.train(tmp_path / str(micro))
        curves.append([line[1] for line in curve(tmp_path / str(micro)) if line[1]])
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)


def test_what_stands_beside_a_text_in_its_batch_does_not_change_its_class():
    lab = Lab()
    torch.nn.init.normal_(lab.model.base_model.model.score.modules_to_save["default"].weight)
    together = lab.probabilities(lab.model)
    assert together.std(0).min() > 0.01
    alone = np.concatenate([lab.probabilities(lab.model, [n]) for n in range(len(lab.rows))])
    assert together == pytest.approx(alone, abs=1e-5)


def test_qlora_quantises_the_body_and_not_the_head():
    lab = Lab(("adapter=qlora",))
    kinds = {name.rpartition(".")[2]: type(m).__name__ for name, m in lab.model.named_modules()}
    assert kinds["base_layer"] == "Linear4bit"
    head = lab.model.base_model.model.score.modules_to_save["default"]
    assert (type(head).__name__, head.weight.dtype) == ("Linear", torch.float32)


@pytest.mark.parametrize("kind", ["lora", "full of an encoder", "qlora of an encoder"])
def test_what_a_step_of_a_classifier_takes_is_predicted_within_five_percent(tmp_path, encoder, kind):
    of_encoder = encoder if kind.endswith("encoder") else ()
    typed = (f"adapter={kind.split()[0]}", "task.max_steps=1", "task.eval_steps=9", *of_encoder)
    lab = Lab(typed, is_watched=True)
    lab.train(tmp_path)
    found = files.read_json(tmp_path / training_memory.MEMORY)
    assert found["predicted"] == pytest.approx(found["measured"], rel=0.05)
    assert found["measured"] > sum(p.nbytes for p in lab.model.parameters())


class Interrupt(NoTracker):
    """A tracker that sends this process a signal after a step."""

    def __init__(self, step):
        self.step = step

    def log(self, values):
        if values["step"] == self.step and "loss" in values:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("kind", ["lora", "full", "encoder"])
def test_a_run_that_was_stopped_carries_on_to_the_same_bits(tmp_path, encoder, kind):
    overrides = (*encoder, "adapter=full") if kind == "encoder" else (f"adapter={kind}",)
    whole, _ = Lab(overrides).train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt, match="the same command carries on"):
        Lab(overrides, tracker=Interrupt(5)).train(tmp_path / "cut")
    again, outcome = Lab(overrides).train(tmp_path / "cut")
    assert outcome.resumed_from == 6
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    assert learned(again) == learned(whole)


def test_a_classifier_is_refused_where_a_causal_model_is_needed(tmp_path):
    lab = Lab()
    adapter.save(lab.model, lab.tokenizer, tmp_path / "adapter", {})
    causal = load.base_model(lab.config.model, lab.base, lab.config.adapter, lab.place)
    with pytest.raises(CheckpointError, match="was trained for SEQ_CLS, not for CAUSAL_LM"):
        adapter.with_adapter(causal, tmp_path / "adapter", lab.base)


def test_where_memory_runs_out_in_training_a_classifier_the_line_says_what_carries_on(tmp_path):
    lab, calls = Lab(("hw.micro_batch_size=4",), is_watched=True), []

    def absurd(module, *_):
        calls.extend([1] * module.training)
        return torch.empty(2**47) if len(calls) == 6 and module.training else None  # of two a step

    lab.model.get_input_embeddings().register_forward_hook(absurd)
    expected = r"^step 3: out of memory: .* With hw.micro_batch_size=2 or .* carries on from step 2"
    with pytest.raises(HardwareError, match=expected):
        lab.train(tmp_path)
    _, outcome = Lab(("hw.micro_batch_size=2",)).train(tmp_path)
    assert (outcome.resumed_from, outcome.steps) == (2, 12)


def test_where_memory_runs_out_in_classifying_it_is_one_line():
    lab = Lab()
    lab.model.get_input_embeddings().register_forward_hook(lambda *_: torch.empty(2**47))
    expected = r"^classifying texts: out of memory: .*; set hw.eval_batch_size=\d+, or take a smaller model"
    with pytest.raises(HardwareError, match=expected):
        lab.probabilities(lab.model)
