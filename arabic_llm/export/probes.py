"""What exports are asked to show that they still are the model: prompts, and texts for tokenizers."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from itertools import islice
from random import Random

from arabic_llm.data.rows import Message
from arabic_llm.data.sample import corpus
from arabic_llm.data.tokens import chat_template
from arabic_llm.data.tokens.chat_template import Codec

NUM_PROMPTS, NUM_TEXTS = 64, 1000
_LONGEST = 160  # characters of a question
_SEED = 15
_MARKS = "\u064b\u064c\u064d\u064e\u064f\u0650\u0651\u0652"  # fathatan to sukun
_OTHERS = (  # what tokenizers split otherwise than words of one script
    "Hello, world! It's the model's 1st answer; they'll say: don't.",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01"
    "\u4e2d\u534e\u4eba\u6c11\u5171\u548c\u56fd\u6210\u7acb\u4e8e1949\u5e74\u3002",
    "123 4567 89,012.345 \u0661\u0662\u0663\u0664 \u06f4\u06f5\u06f6 50% 3/4 2\u00d73=6",
    "a\tb\n\n\n  c   d\r\n  e \n f    ",
    "\u0645\u0631\u062d\u0628\u0627\u061f! "
    "\u00ab\u0646\u0639\u0645\u00bb\u060c \u0644\u0627\u2026 (\u0661) \u2014 \u0623/\u0628",
    "\u0644\u0640\u0640\u0640\u0640\u0627 \u0645\u064a\u200c\u0631\u0648\u0645 "
    "\u200fabc\u200f \ufef7\ufefc \ufdfa",
    "\U0001f600\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467 "
    "\u2764\ufe0f caf\u00e9 cafe\u0301 na\u00efve"
    " \ud55c\uad6d\uc5b4 \u0939\u093f\u0928\u094d\u0926\u0940",
    "def f(x):\n    return {'a': [x ** 2, x // 3]}  # comment\n<b>tag</b> http://example.org/?q=1&r=\u0645",
)


def prompts(codec: Codec) -> list[str]:
    """Return questions as the model is asked them, up to where its answer begins."""
    asked = islice(_documents(), NUM_PROMPTS)
    return [
        chat_template.render(codec, [Message("user", text[:_LONGEST].strip())], add_generation_prompt=True)
        for text in asked
    ]


def texts() -> list[str]:
    """Return texts of many kinds; half of the Arabic ones have marks, in any order, as people type them."""
    draw = Random(_SEED)  # noqa: S311 (which words get marks)
    found = [*_OTHERS]
    for number, text in enumerate(islice(_documents(), NUM_TEXTS - len(_OTHERS))):
        found.append(_marked(text, draw) if number % 2 else text)
    return found


def composed(text: str) -> str:
    """Return a text as tokenizers with an NFC step see it; llama.cpp takes it as it comes."""
    return unicodedata.normalize("NFC", text)


def _documents() -> Iterator[str]:
    for row in corpus.documents(2 * NUM_TEXTS, _SEED):
        yield row.words()


def _marked(text: str, draw: Random) -> str:
    """Return the text with one to three marks behind some of its Arabic letters."""
    return "".join(
        letter + "".join(draw.sample(_MARKS, draw.randint(1, 3)))
        if "\u0621" <= letter <= "\u064a" and draw.random() < 1 / 4
        else letter
        for letter in text
    )
