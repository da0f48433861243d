"""Translations are made sentence by sentence, each once; what must not change is there afterwards."""

from collections import Counter
from dataclasses import replace

import pytest
import tiny_nllb
from conftest import compose_config

from arabic_llm.config.synthesize_task import Translator
from arabic_llm.errors import ConfigError
from arabic_llm.evaluation.answers import Answers
from arabic_llm.synthesis import protection, translation
from arabic_llm.synthesis.local_model import by_length

HARD = (
    "Run `pip install x` first. See https://example.org/a?b=1 for 3 of 12 cases.\n\n"
    "```python\nprint('do not touch 7')\n```\nThe area is $a^2 + 1$ and {name} has 50%."
    " Write to me@example.org!"
)
PARTS = (
    *("`pip install x`", "https://example.org/a?b=1", "```python\nprint('do not touch 7')\n```"),
    *("$a^2 + 1$", "{name}", "me@example.org"),
)


class Copying:
    """Copies sentences, as a good translator copies signs; it remembers what it was asked."""

    def __init__(self, loses=""):
        self.asked, self.loses = [], loses

    def num_tokens(self, text):
        return len(text.split())

    def translate(self, batch):
        self.asked += batch
        return [text.replace(self.loses, "") if self.loses else text for text in batch]


@pytest.fixture(scope="module")
def settings():
    return compose_config("task=synthesize", "task.translation.max_tokens=24").task.translation


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny_nllb.save(tmp_path_factory.mktemp("nllb"))


@pytest.fixture(scope="module")
def converted(weights, tmp_path_factory):
    converters = pytest.importorskip("ctranslate2.converters")
    folder = tmp_path_factory.mktemp("ct2") / "model"
    beside = ["tokenizer.json", "tokenizer_config.json"]
    converters.TransformersConverter(str(weights), copy_files=beside).convert(
        str(folder), quantization="int8"
    )
    return folder


@pytest.mark.parametrize("engine", [Translator.nllb, Translator.ctranslate2])
def test_a_random_model_loses_nothing_that_is_protected(engine, settings, weights, converted):
    folder = converted if engine is Translator.ctranslate2 else weights
    made = translation.engine(replace(settings, engine=engine, path=str(folder)), "cpu")
    said = translation.translate([HARD], made, settings, Answers())[HARD]
    assert all(part in said for part in PARTS)
    assert protection.is_kept(HARD, said)
    assert not set("Run first. See for cases".split()) & set(said.split())  # noqa: SIM905
    assert said.count("\n\n") == 1


def test_weights_that_are_not_there_are_named_with_what_brings_them(settings, tmp_path):
    with pytest.raises(ConfigError, match=r"task\.translation\.path is not set.*facebook/nllb-200"):
        translation.engine(settings, "cpu")
    with pytest.raises(ConfigError, match=r"no config\.json there"):
        translation.engine(replace(settings, path=str(tmp_path)), "cpu")


def test_a_language_that_the_tokenizer_has_not_got_is_refused(settings, weights):
    with pytest.raises(ConfigError, match=r"task\.translation\.target=xyz_Abcd"):
        translation.engine(replace(settings, path=str(weights), target="xyz_Abcd"), "cpu")


def test_a_sentence_is_translated_once_and_kept_on_the_disk(settings, tmp_path):
    texts = ["One is here. Two is there.", "Two is there.", "One is here."]
    first, again = Copying(), Copying()
    said = translation.translate(texts, first, settings, Answers(tmp_path / "kept.jsonl"))
    assert said == {text: text for text in texts}
    assert sorted(first.asked) == ["One is here.", "Two is there."]
    assert translation.translate(texts, again, settings, Answers(tmp_path / "kept.jsonl")) == said
    assert again.asked == []


def test_a_translator_sees_signs_and_not_what_they_stand_for(settings):
    asks = Copying()
    assert translation.translate([HARD], asks, settings, Answers())[HARD] == HARD
    assert not any(part in asked for part in PARTS for asked in asks.asked)


def test_what_is_lost_with_its_sentence_is_kept_piece_by_piece(settings):
    asks = Copying(loses="[0]")
    said = translation.translate([HARD], asks, settings, Answers())[HARD]
    assert all(part in said for part in PARTS)
    assert "See" in asks.asked  # a piece of its own
    numbers = Copying(loses="12")
    text = "It has 12 rooms."
    assert translation.translate([text], numbers, settings, Answers())[text] == text


def test_a_sentence_longer_than_the_model_sees_is_cut_and_nothing_is_lost(settings):
    long = ", ".join(f"part number{n} of this long sentence" for n in range(12)) + "."
    asks = Copying()
    said = translation.translate([long], asks, settings, Answers())[long]
    assert " ".join(said.split()) == long
    assert len(asks.asked) > 1
    assert all(asks.num_tokens(one) <= 24 for one in asks.asked)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a `b` c", ["`b`"]),
        ("H2O and C6H12O6 are", ["H2O", "C6H12O6"]),
        ("CO2 and MgSO4, not DNA or Co", ["CO2", "MgSO4"]),
        ("E = mc^2 and \\frac{a}{b} of \\alpha", ["mc^2", "\\frac{a}{b}", "\\alpha"]),
        ("in /usr/bin/env, ./a/b.sh or C:\\x\\y.txt and/or", ["/usr/bin/env", "./a/b.sh", "C:\\x\\y.txt"]),
        ("see https://a.org/x_(y)?z=(1)&b, then", ["https://a.org/x_(y)?z=(1)&b"]),
        ("(see http://a.org/x)، ثم ftp://b.org/y؟", ["http://a.org/x", "ftp://b.org/y"]),
        ("use %s and %(name)s, <b>bold</b>", ["%s", "%(name)s", "<b>", "</b>"]),
        ("{{user}} said {0}", ["{{user}}", "{0}"]),
        ("see www.a.org/x. Then", ["www.a.org/x"]),
        ("from \\(x+1\\) to [NAME]", ["\\(x+1\\)", "[NAME]"]),
        ("from $5 to $6, or $7", []),  # money
        ("nothing here", []),
    ],
)
def test_what_is_protected(text, parts):
    shielded = protection.shield(text)
    assert list(shielded.parts) == parts
    assert protection.restored(shielded.text, shielded) == text


@pytest.mark.parametrize("said", ["lost", "[0] twice [0]", "[0] [7]", "[0] and 3"])
def test_a_translation_that_changed_a_sign_or_a_number_is_none(said):
    assert protection.restored(said, protection.shield("see `x`")) is None


def test_numbers_are_the_same_in_other_digits():
    assert protection.restored("له ١٢ غرفة", protection.shield("It has 12 rooms")) == "له ١٢ غرفة"


def test_batches_hold_every_sentence_once_and_like_lengths_together():
    lengths = [3, 30, 4, 29, 5, 100, 1]
    batches = list(by_length(lengths, 60))
    assert Counter(place for batch in batches for place in batch) == Counter(range(7))
    assert batches == [[5], [1, 3], [4, 2, 0, 6]]
    assert all(len(b) == 1 or len(b) * max(lengths[n] for n in b) <= 60 for b in batches)
