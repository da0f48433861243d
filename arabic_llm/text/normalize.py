"""The three Arabic normalisation profiles, each a tuple of named steps that can be left out one by one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection
from functools import cache, partial
from typing import Literal

from arabic_llm.text.numbers import to_european

# Short vowels, tanwin, shadda, sukun; superscript alef; maddah and hamza marks (Unicode chart U+0600).
DIACRITICS = "".join(map(chr, (*range(0x064B, 0x0656), 0x0670)))
TATWEEL = "\u0640"
ZWNJ = "\u200c"
BOM = "\ufeff"

# A letter of Arabic, Persian or Urdu; and what it carries: diacritics, and the signs of the Quran.
_L = "\u0620-\u063f\u0641-\u064a\u066e\u066f\u0671-\u06d3\u06d5\u06ee\u06ef\u06fa-\u06fc\u06ff"
_M = "\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed"

# The patterns below begin with one class or one literal: only such a beginning is searched for fast.
_PRESENTATION_FORMS = re.compile("[\ufb50-\ufdff\ufe70-\ufefc][\ufb50-\ufdff\ufe70-\ufefc]*")
# What NFC and NFKC find most often to change: shadda typed before its vowel, full-width forms, ellipses.
_OFTEN_CHANGED = re.compile("[\u0651\u2025\u2026\u3000\uff01-\uff5e][\u064b-\u0650]?")
_PHRASES = "\ufdfa\ufdfb"  # the blessing of the prophet, the glory of God
_BEFORE_PHRASE = re.compile(f"(?<=[^\\W_])(?=[{_PHRASES}])|(?<=[{_M}])(?=[{_PHRASES}])")
_AFTER_PHRASE = re.compile(f"(?<=[{_PHRASES}])(?=[^\\W_{_PHRASES}])")
_BIDI_CONTROLS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # embeddings, overrides, isolates
BIDI_CONTROLS = re.compile(f"[{_BIDI_CONTROLS}]")
_BIDI_MARKS = "\u200e\u200f\u061c"  # left-to-right, right-to-left, Arabic letter mark
# Within a word tatweel only stretches it. At its edge it shows the shape of a letter, which is read: of heh
# after a year of the hijra, of a preposition or a pronoun that stands alone, of the article before "PDF".
_STRETCH = re.compile(f"(?<=[{_L}{_M}\u0300-\u036f]){TATWEEL}+(?=[{_M}{TATWEEL}]*[{_L}])")
_URL = re.compile(r"(?:https?://|www\.)\S+")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_MENTION = re.compile(r"(?<!\w)@\w+")
# All that str.isspace knows, but a space and line ends; as [^\S\n\r ] it is searched for half as fast.
_OTHER_SPACE = re.compile("[\t\v\f\x1c-\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
# Han and kana: no space stands between their words, so each character is read as one.
_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
UNSPACED = re.compile(f"[{_HAN}\u3041-\u3096\u30a1-\u30fa]")
_SPACES = re.compile("   *")
_OPENING = re.compile(r"(?:\s*\n)?(?:[^\S\t](?=\S))?")  # blank lines; one space, which is no indentation
_BLANK_LINES = re.compile(r"\n\s*\n ?")
_POINT = re.compile(r"\.")
# Marks and signs, but those that end a sentence, part its words or quote them, and what is not seen.
_ENDS = "\u060c\u061b\u061f\u06d4\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f\u00ab\u00bb\u2018-\u201f"
_UNSEEN = f"{_BIDI_CONTROLS}{_BIDI_MARKS}{ZWNJ}{BOM}"
_MEANT = re.compile(f"[^\\w\\s.,;:!?\"'`{_ENDS}{_UNSEEN}]")
_HYPHEN = "[-\u2010\u2012\u2013]"  # and the short dashes that text programs put in its place
_MINUS = re.compile(_HYPHEN + r"(?<![\w.].)(?=\.?\d)")  # a hyphen that makes a number negative
# Of a grade, a blood group; not of an option.
_MINUS_BEHIND = re.compile(rf"\b([a-z]{{1,2}}){_HYPHEN}(?=\W*$)")
_POWER = re.compile(r"[\xb2\xb3\xb9\u2070\u2074-\u207b](?<=\d.)")  # raised: 5\xb2 is not 52
# Signs of recitation, and vowels of the Quran's spelling: no word differs in them.
_QURAN = re.compile(
    "[\u0610-\u061a\u0656-\u065f\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u08d3-\u08e1\u08e3-\u08ff]"
)
_THOUSANDS = re.compile(r",(?<=\d,)(?=\d{3}(?!\d))")
_PERCENT = re.compile(r"(\d) ?%|% ?(\d+(?:\.\d+)?)(?![\d.]* ?%)")  # 50%, also typed 50 % and %50
_PERCENT_OF_NOTHING = re.compile(r"%(?<!\d%)")
# Of a variant of the character before them; joiners of graphemes.
_SELECTORS = re.compile("[\u034f\u17b4\u17b5\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_HASH_BEFORE = re.compile(r"#(?<![^\W_]#)")  # of a hashtag; the one of C# stays
_NO_LETTER_OR_NUMBER = re.compile(r"[^\w ]")
_LETTER_FOLDS = {
    "\u0622": "\u0627",  # alef with madda -> alef
    "\u0623": "\u0627",  # alef with hamza above -> alef
    "\u0625": "\u0627",  # alef with hamza below -> alef
    "\u0671": "\u0627",  # alef wasla -> alef
    "\u0672": "\u0627",  # alef with wavy hamza above -> alef
    "\u0673": "\u0627",  # alef with wavy hamza below -> alef
    "\u0674": "",  # high hamza
    "\u0649": "\u064a",  # alef maqsura -> yeh
    "\u0629": "\u0647",  # teh marbuta -> heh
    "\u0624": "\u0648",  # waw with hamza -> waw
    "\u0626": "\u064a",  # yeh with hamza -> yeh
    # Letters of Persian and Urdu that keyboards, phones and old pages put into Arabic words.
    "\u06cc": "\u064a",  # Farsi yeh -> yeh
    "\u06cd": "\u064a",  # yeh with tail -> yeh
    "\u06d2": "\u064a",  # yeh barree -> yeh
    "\u06d3": "\u064a",  # yeh barree with hamza -> yeh
    "\u06a9": "\u0643",  # keheh -> kaf
    "\u06aa": "\u0643",  # swash kaf -> kaf
    "\u06c1": "\u0647",  # heh goal -> heh
    "\u06be": "\u0647",  # heh doachashmee -> heh
    "\u06c0": "\u0647",  # heh with yeh above -> heh
    "\u06c2": "\u0647",  # heh goal with hamza above -> heh
    "\u06c3": "\u0647",  # teh marbuta goal -> heh
    "\u06d5": "\u0647",  # ae -> heh
}


def _nfc(text: str) -> str:
    return _unicode_form("NFC", text)


def _nfkc(text: str) -> str:
    if unicodedata.is_normalized("NFKC", text):  # so without a presentation form
        return text
    return _unicode_form("NFKC", _presentation_forms(text))


def _unicode_form(form: Literal["NFC", "NFKC"], text: str) -> str:
    if unicodedata.is_normalized(form, text):
        return text
    # A part may be normalised before the whole, which is only looked over where that mends all there is.
    for part in set(_OFTEN_CHANGED.findall(text)):
        text = text.replace(part, unicodedata.normalize(form, part))
    return unicodedata.normalize(form, text)


def _presentation_forms(text: str) -> str:
    # NFKC in these blocks only: elsewhere it would change superscripts, full-width Chinese and more.
    if not _PRESENTATION_FORMS.search(text):
        return text
    # A phrase in one sign is no part of the word beside it.
    return _PRESENTATION_FORMS.sub(_letters_of_forms, _BEFORE_PHRASE.sub(" ", _AFTER_PHRASE.sub(" ", text)))


def _letters_of_forms(found: re.Match[str]) -> str:
    return "".join(map(_letters_of_form, found.group()))


@cache
def _letters_of_form(form: str) -> str:
    """Return what a form says: a mark without the space or tatweel that carries it there."""
    letters = unicodedata.normalize("NFKC", form)
    marks = letters[1:] if letters[:1] in (" ", TATWEEL) else ""
    return marks if marks and all(map(unicodedata.combining, marks)) else letters


def _without(characters: str, text: str) -> str:
    for character in characters:
        if character in text:  # asked first: str.replace counts before it looks, seven times as long
            text = text.replace(character, "")
    return text


def _tatweel(text: str) -> str:
    return _STRETCH.sub("", text) if TATWEEL in text else text


def _line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _whitespace(text: str) -> str:
    """Return the text with line feeds for line ends, and nothing around it but its first indentation."""
    text = _line_ends(text).rstrip()
    return _OPENING.sub("", text, count=1) if text[:1].isspace() else text


def _single_spaces(text: str) -> str:
    text = _line_ends(text)
    text = _SPACES.sub(" ", _OTHER_SPACE.sub(" ", text))
    return _BLANK_LINES.sub("\n\n", text).replace(" \n\n", "\n\n").strip()


def _contacts(text: str) -> str:
    # The replacement tokens of AraBERT's preprocessing: link, e-mail, user.
    if "://" in text or "www." in text:
        text = _URL.sub("[رابط]", text)
    if "@" in text:
        text = _MENTION.sub("[مستخدم]", _EMAIL.sub("[بريد]", text))
    return text


def _letters(text: str) -> str:
    for letter, folded in _LETTER_FOLDS.items():  # so many searches take a tenth of one str.translate
        if letter in text:
            text = text.replace(letter, folded)
    return text


def _han_words(text: str) -> str:
    return UNSPACED.sub(r" \g<0> ", text)


def _punctuation(text: str) -> str:
    text = text.replace("\u066b", ".").replace("\u066c", ",")
    if "%" in text or "\u066a" in text:
        text = _PERCENT.sub(r"\1\2% ", text.replace("\u066a", "%"))
        text = _PERCENT_OF_NOTHING.sub(" ", text)
    if "#" in text:
        text = _HASH_BEFORE.sub(" ", text)
    text = _MINUS.sub("\u2212", _THOUSANDS.sub("", text)).replace("_", " ")
    text = _MINUS_BEHIND.sub("\\1\u2212", text)
    text = _POINT.sub(_decimal_point, text)
    for sign in set(_NO_LETTER_OR_NUMBER.findall(text)):  # few signs, many times
        if not _is_said(sign):
            text = text.replace(sign, "" if _is_invisible(sign) else " ")
    return " ".join(text.split())


def _decimal_point(found: re.Match[str]) -> str:
    """Return a point between digits, else a space: 3.5 is one number; and so is .5, which is 0.5."""
    text, place = found.string, found.start()
    before = text[place - 1 : place]
    if not text[place + 1 : place + 2].isdigit() or before == "." or before.isalpha():
        return " "
    return "." if before.isdigit() else "0."


@cache
def _is_said(sign: str) -> bool:
    """Return whether what is no letter or number means something: 4 + 3 is not 4 x 3."""
    category = unicodedata.category(sign)  # marks; + = $ but not &
    is_mark = category[0] == "M" and not _is_invisible(sign)
    return sign in ".%#\u2030" or is_mark or category in ("Sm", "Sc")


@cache
def _is_invisible(sign: str) -> bool:
    """Return whether a sign only formats what stands beside it: soft hyphens and joiners part no word."""
    is_arabic = "\u0600" <= sign <= "\u06ff"  # those are seen: a year's sign, the end of a verse
    return bool(_SELECTORS.match(sign)) or (unicodedata.category(sign) == "Cf" and not is_arabic)


STEPS: dict[str, Callable[[str], str]] = {
    "nfc": _nfc,
    "nfkc": _nfkc,
    "presentation_forms": _presentation_forms,
    "bom": partial(_without, BOM),
    "tatweel": _tatweel,
    "every_tatweel": partial(_without, TATWEEL),
    "bidi_controls": partial(_without, _BIDI_CONTROLS),
    "bidi_marks": partial(_without, _BIDI_MARKS),
    "zwnj": partial(_without, ZWNJ),
    "diacritics": partial(_without, DIACRITICS),
    "quran_marks": partial(_QURAN.sub, ""),
    "powers": partial(_POWER.sub, r"^\g<0>"),
    "contacts": _contacts,
    "letters": _letters,
    "digits": to_european,
    "case": str.casefold,
    "han_words": _han_words,
    "punctuation": _punctuation,
    "whitespace": _whitespace,
    "single_spaces": _single_spaces,
}
_CHANGE_ASCII = {
    "contacts",
    "case",
    "punctuation",
    "whitespace",
    "single_spaces",
}  # the other steps leave it as it is

# decoder: what a causal model reads and writes. Spelling is kept: folding alef, yeh or teh marbuta
# in targets destroys it; U+200C and U+200E/F are legitimate in running text; space inside is code, verse,
# a list. NFC comes after all that removes what stands between a letter and its mark.
DECODER = ("bom", "bidi_controls", "presentation_forms", "tatweel", "nfc", "whitespace")
# encoder: AraBERT v02, CAMeLBERT and QARiB were trained without diacritics.
ENCODER = (
    *("bom", "bidi_controls", "presentation_forms", "every_tatweel", "nfc"),
    *("diacritics", "nfc", "contacts", "single_spaces"),
)
# matching: two texts are the same answer, or the same row.
MATCHING = (
    *("powers", "nfkc", "bom", "every_tatweel", "bidi_controls", "bidi_marks", "zwnj"),
    # The last one leaves single spaces.
    *("diacritics", "quran_marks", "letters", "digits", "case", "han_words", "punctuation"),
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
    for step in _steps(profile, tuple(without), text.isascii()):
        text = step(text)
    return text


def changes(text: str, profile: str = "decoder", without: Collection[str] = ()) -> list[str]:
    """Return the steps of the profile that change the text, in order."""
    changing: dict[str, None] = {}
    for name in PROFILES[profile]:
        before, text = text, text if name in without else STEPS[name](text)
        if text != before:
            changing[name] = None
    return list(changing)


def signs(text: str) -> str:
    """Return what matching folds and an answer still means: its diacritics, and signs beside its words.

    What ends a sentence, parts or quotes its words is none of them.
    """
    return "".join(_MEANT.findall(text))


@cache
def _steps(profile: str, without: tuple[str, ...], is_ascii: bool) -> tuple[Callable[[str], str], ...]:
    names = (step for step in PROFILES[profile] if step not in without)
    return tuple(STEPS[step] for step in names if step in _CHANGE_ASCII or not is_ascii)
