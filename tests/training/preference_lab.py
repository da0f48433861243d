"""A small real run on preferences: what was asked in Arabic is answered in Arabic, or in English."""

from collections.abc import Sequence
from pathlib import Path

from conftest import compose_config
from lab import SHORT

from arabic_llm import files
from arabic_llm.data.preparing.mixing import Mix
from arabic_llm.data.rows import Message, Row
from arabic_llm.data.tokens import chat_template, preference_rows, token_rows
from arabic_llm.models import adapter, bases, load, placement, streaming, tokenization
from arabic_llm.tracking import NoTracker
from arabic_llm.training import preference_losses, reference_log_probs, sft
from arabic_llm.training.observer import Nobody, Observer

CAPITALS = {
    "مصر": "القاهرة",
    "فرنسا": "باريس",
    "اليابان": "طوكيو",
    "الأردن": "عمان",
    "تونس": "تونس العاصمة",
}
IN_ENGLISH = ("Cairo", "Paris", "Tokyo", "Amman", "The city of Tunis")
ASKED = ("ما عاصمة {}؟", "أخبرني: ما هي عاصمة {}؟", "عاصمة {} ما هي؟", "اذكر عاصمة {}.")


def rows() -> list[Row]:
    """Return questions whose better answer is in Arabic and whose worse one is in English."""
    return [
        Row(f"{land}/{n}", (Message("user", how.format(land)), Message("assistant", city)), rejected=other)
        for n, how in enumerate(ASKED)
        for (land, city), other in zip(CAPITALS.items(), IN_ENGLISH, strict=True)
    ]


class Lab:
    """A small real run on pairs: three ways to ask are learned from, the fourth is dev."""

    def __init__(self, *overrides: str, of: Sequence[Row] = ()) -> None:
        self.config = compose_config("task=dpo", *SHORT, *overrides)
        self.base = bases.locate(self.config.model, None)
        self.codec = chat_template.prepare(tokenization.load(self.base), self.config.model)
        self.place = placement.resolve(self.config.hw)
        form = preference_rows.form_of(self.config.task)
        self.train_rows, self.dev_rows = (
            token_rows.encode(self.codec, part, self.config.data, 128, None, form=form).rows
            for part in ((of or rows())[:15], (of or rows())[15:])
        )
        self.mix = Mix()
        model = load.base_model(self.config.model, self.base, self.config.adapter, self.place)
        self.model = adapter.attach(model, self.config.adapter, self.base, self.config.seed)
        streaming.settle(self.model, self.place)

    def train(self, directory: Path, kept: Path | None = None, observer: Observer | None = None):
        rows_hash = token_rows.data_hash(self.train_rows)
        if preference_losses.needs_reference(self.config.task):
            kept = kept or reference_log_probs.path(directory, {}, [*self.train_rows, *self.dev_rows])
        material = sft.Material(self.train_rows, self.dev_rows, rows_hash, self.mix, reference=kept)
        run = sft.Run(directory / "training", self.config.seed, NoTracker(), observer or Nobody())
        return sft.train(self.model, self.codec.tokenizer, material, self.config.task, self.place, run)


def metrics(directory: Path) -> list[dict[str, float]]:
    return files.read_json_lines(directory / "training" / "metrics.jsonl")


def ending(work, after: int):
    """Return work that is cut off in its so many-th call, as by a kill."""
    calls = iter(range(after))

    def cut(*args):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return work(*args)

    return cut
