"""The three Arabic normalisation profiles, each a tuple of named steps that can be left out one by one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection

from arabic_llm.text.numbers import to_european

# Short vowels, tanwin, shadda, sukun; superscript alef; maddah and hamza marks (Unicode chart U+0600).
DIACRITICS = re.compile("[\u064b-\u0655\u0670]")
TATWEEL = "\u0640"
ZWNJ = "\u200c"

_PRESENTATION_FORMS = re.compile("[\ufb50-\ufdff\ufe70-\ufefc]+")
BIDI_CONTROLS = re.compile("[\u202a-\u202e\u2066-\u2069]")  # embeddings, overrides, isolates
_BIDI_MARKS = re.compile("[\u200e\u200f\u061c]")  # left-to-right, right-to-left, Arabic letter mark
_URL = re.compile(r"(?:https?://|www\.)\S+")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_MENTION = re.compile(r"(?<!\w)@\w+")
_SPACES = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r" ?\n(?:\s*\n)+ ?")
_MINUS = re.compile(r"(?<![\w.])-(?=\d)")  # a hyphen that makes a number negative
_THOUSANDS = re.compile(r"(?<=\d)[,\u066c](?=\d{3}(?!\d))")
_LETTER_FOLDS = str.maketrans(
    {
        "\u0622": "\u0627",  # alef with madda -> alef
        "\u0623": "\u0627",  # alef with hamza above -> alef
        "\u0625": "\u0627",  # alef with hamza below -> alef
        "\u0671": "\u0627",  # alef wasla -> alef
        "\u0649": "\u064a",  # alef maqsura -> yeh
        "\u0629": "\u0647",  # teh marbuta -> heh
        "\u0624": "\u0648",  # waw with hamza -> waw
        "\u0626": "\u064a",  # yeh with hamza -> yeh
    }
)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _presentation_forms(text: str) -> str:
    # NFKC in these blocks only: elsewhere it would change superscripts, full-width Chinese and more.
    return _PRESENTATION_FORMS.sub(lambda m: unicodedata.normalize("NFKC", m.group()), text)


def _tatweel(text: str) -> str:
    return text.replace(TATWEEL, "")


def _bidi_controls(text: str) -> str:
    return BIDI_CONTROLS.sub("", text)


def _bidi_marks(text: str) -> str:
    return _BIDI_MARKS.sub("", text)


def _bom(text: str) -> str:
    return text.replace("\ufeff", "")


def _whitespace(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _BLANK_LINES.sub("\n\n", _SPACES.sub(" ", text)).strip()


def _diacritics(text: str) -> str:
    return DIACRITICS.sub("", text)


def _contacts(text: str) -> str:
    # The replacement tokens of AraBERT's preprocessing: link, e-mail, user.
    text = _URL.sub("[رابط]", text)
    text = _EMAIL.sub("[بريد]", text)
    return _MENTION.sub("[مستخدم]", text)


def _letters(text: str) -> str:
    return text.translate(_LETTER_FOLDS)


def _punctuation(text: str) -> str:
    text = _MINUS.sub("\u2212", _THOUSANDS.sub("", text.replace("\u066b", ".")))
    kept = (c if _is_said(c, text[i - 1 : i], text[i + 1 : i + 2]) else " " for i, c in enumerate(text))
    return " ".join("".join(kept).split())


def _is_said(character: str, before: str, after: str) -> bool:
    """Return whether a character means something: 4 + 3 is not 4 x 3, and 3.5 is one number."""
    if character == ".":
        return before.isdigit() and after.isdigit()
    category = unicodedata.category(character)
    return category[0] in "LMN" or category in ("Sm", "Sc")  # letters, marks, numbers; + = $ but not & %


STEPS: dict[str, Callable[[str], str]] = {
    "nfc": _nfc,
    "nfkc": lambda text: unicodedata.normalize("NFKC", text),
    "presentation_forms": _presentation_forms,
    "bom": _bom,
    "tatweel": _tatweel,
    "bidi_controls": _bidi_controls,
    "bidi_marks": _bidi_marks,
    "zwnj": lambda text: text.replace(ZWNJ, ""),
    "diacritics": _diacritics,
    "contacts": _contacts,
    "letters": _letters,
    "digits": to_european,
    "case": str.casefold,
    "punctuation": _punctuation,
    "whitespace": _whitespace,
}

# decoder: what a causal model reads and writes. Spelling is kept: folding alef, yeh or teh marbuta
# in targets destroys it; U+200C and U+200E/F are legitimate in running text.
DECODER = ("nfc", "presentation_forms", "bom", "tatweel", "bidi_controls", "whitespace")
# encoder: AraBERT v02, CAMeLBERT and QARiB were trained without diacritics.
ENCODER = (*DECODER[:-1], "diacritics", "contacts", "whitespace")
# matching: two texts are the same answer, or the same row.
MATCHING = (
    *("nfkc", "bom", "tatweel", "bidi_controls", "bidi_marks", "zwnj"),
    *("diacritics", "letters", "digits", "case", "punctuation", "whitespace"),
)
PROFILES: dict[str, tuple[str, ...]] = {
    "decoder": DECODER,
    "encoder": ENCODER,
    "matching": MATCHING,
    "none": (),
}


def normalize(text: str, profile: str = "decoder", without: Collection[str] = ()) -> str:
    """Return the text after the profile's steps, in order, but for those named in `without`.

    Raises KeyError for a profile that PROFILES lacks.
    """
    for step in PROFILES[profile]:
        if step not in without:
            text = STEPS[step](text)
    return text
