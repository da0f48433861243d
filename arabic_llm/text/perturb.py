"""Arabic as people really type it: seeded changes of a text, word by word, at a chosen rate."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from random import Random

from arabic_llm.text.normalize import DIACRITICS, TATWEEL
from arabic_llm.text.numbers import swap_digits

_L = "\u0620-\u063f\u0641-\u064a\u066e\u066f\u0671-\u06d3\u06d5"  # Arabic letters, Persian and Urdu too
_M = DIACRITICS + TATWEEL  # what a letter carries
_UNIT = re.compile(f"[{_L}][{_M}]*")
_GLYPH = re.compile(
    f"(?P<letter>\u0644[\u0622\u0623\u0625\u0627]|[{_L}])(?P<marks>[{_M}]*)"
)  # lam + alef: one

# Words of two letters or more: one alone is a choice (أ, ب), a variable (س + ص) or the number
# of a list, and stays. What touches Latin letters or digits is no word of running text either.
_ALONE = (f"(?<![\\w{_M}])", f"(?![\\w{_M}])")
_WORD = re.compile(f"[{_L}](?:[{_M}]*[{_L}])+[{_M}]*".join(_ALONE))
_MARKED = re.compile(f"[{_L}][{_L}{_M}]*[{DIACRITICS}][{_L}{_M}]*")
_LOOSE = re.compile(f"{_ALONE[0]}(?:و|ما|لا|يا) (?=[{_L}][{_M}]*[{_L}])")
# Between Arabic words, a stretch with a Latin or Greek letter or an operator: a formula, code, an address.
_FORMULA = f"[^{_L}\n]*[A-Za-z\u00c0-\u024f\u0370-\u03ff=+*^<>_\\\\$\u00d7\u00f7\u221a][^{_L}\n]*"
_NUMBER = re.compile(f"{_FORMULA}|(?P<number>[0-9\u0660-\u0669]+)")

_NO_HAMZA = str.maketrans("أإآٱؤئ", "ااااوي")
_OTHER_ALEFS = {"أ": "إ", "إ": "أ", "آ": "أ", "ا": "أإ"}
# By whether it is joined to the letter before, and to the one after.
_POSITIONS = {(0, 0): "isolated", (0, 1): "initial", (1, 1): "medial", (1, 0): "final"}
# Arabic (101), as Windows and X11 have it; "-" is the key of lam with alef. With shift, alef's key is أ.
_KEYS = ("ضصثقفغعهخحجد", "شسيبلاتنمكط", "ئءؤر-ىةوزظ")
_SHIFTED = {"أ": "ا", "إ": "غ", "آ": "ى"}
_PREFIXES = [
    re.compile(f"{prefix}(?={start})")
    for prefix, start in (
        ("[وف]", f"[بك]?ال[{_L}]..|لل[{_L}].|[أإ][{_L}]."),
        ("[وف]?[بك]", f"ال[{_L}].."),
        ("[وف]?لل", f"[{_L}].."),
        ("ال", f"[{_L}].."),
    )
]
_NO_PREFIX = re.compile("الله|الذ[يى]|الت[يى]$|اللات|اللوات|الآن|الان$|والد[^و]|بالغ|بالون|كالسيوم|كالور")


@dataclass(frozen=True)
class Perturbation:
    """Where a text can be changed, and all the ways in which a site can be written instead.

    Called with (text, rng, rate), it returns the text with that share of its sites changed. Each site has
    its own draws, whatever the rate: what changes at 0.1 changes in the same way at 0.3, nothing changes
    at 0, and at 1 all that can be changed.
    """

    sites: re.Pattern[str]
    options: Callable[[re.Match[str]], Sequence[str]]  # none: this site stays as it is

    def __call__(self, text: str, rng: Random, rate: float) -> str:
        """Return the text as this perturbation writes it."""

        def written(site: re.Match[str]) -> str:
            drawn, which = rng.random(), rng.random()
            options = self.options(site) if drawn < rate else ()
            return options[int(which * len(options))] if options else site.group()

        return self.sites.sub(written, text)


def _stripped(site: re.Match[str]) -> Sequence[str]:
    """كِتَابٌ: كتاب, without its diacritics."""
    return [re.sub(f"[{DIACRITICS}]", "", site.group())]


def _hamza_dropped(site: re.Match[str]) -> Sequence[str]:
    """أحمد, مؤمن, بئر: احمد, مومن, بير, as they are typed in haste."""
    return _if_other(site, site.group().translate(_NO_HAMZA))


def _alef_wrong(site: re.Match[str]) -> Sequence[str]:
    """أحمد, اسم: إحمد, إسم: the first alef in another form; the article stays."""
    first, rest = site.group()[0], site.group()[1:]
    return [] if site.group().startswith("ال") else [form + rest for form in _OTHER_ALEFS.get(first, "")]


def _yeh(site: re.Match[str]) -> Sequence[str]:
    """علي, على: على, علي: final yeh and alef maqsura in each other's place."""
    return _if_other(site, _final(site.group(), {"ي": "ى", "ى": "ي"}))


def _teh_marbuta(site: re.Match[str]) -> Sequence[str]:
    """مدرسة: مدرسه, with a final heh."""
    return _if_other(site, _final(site.group(), {"ة": "ه"}))


def _tatweel(site: re.Match[str]) -> Sequence[str]:
    """كتاب: كتـــاب, one letter drawn out by one to three U+0640."""
    units = _UNIT.findall(site.group())
    return [
        "".join(units[:place]) + length * TATWEEL + "".join(units[place:])
        for place in range(1, len(units))
        if "initial" in _shapes().get(units[place - 1][0], {})  # it joins the letter after it
        for length in (1, 2, 3)
    ]


def _keyboard(site: re.Match[str]) -> Sequence[str]:
    """كتاب: متاب, one letter taken for a key beside it."""
    return list(
        _with_one_changed(
            site, lambda unit: [near + unit[1:] for near in sorted(_neighbours().get(unit[0], ()))]
        )
    )


def _swap(site: re.Match[str]) -> Sequence[str]:
    """كتاب: كاتب, two letters beside each other in the wrong order."""
    units = _UNIT.findall(site.group())
    return [
        "".join([*units[:place], second, first, *units[place + 2 :]])
        for place, (first, second) in enumerate(pairwise(units))
        if first != second
    ]


def _drop(site: re.Match[str]) -> Sequence[str]:
    """كتاب: كتب, one letter missing; words of two letters stay."""
    units = _UNIT.findall(site.group())
    return list(_with_one_changed(site, lambda _: [""])) if len(units) > 2 else []  # noqa: PLR2004


def _digits(site: re.Match[str]) -> Sequence[str]:
    """1990, ١٩٩٠: ١٩٩٠, 1990; formulas stay."""
    return [swap_digits(site["number"])] if site["number"] else []


def _presentation_forms(site: re.Match[str]) -> Sequence[str]:
    """كتاب: the same word in the glyphs of U+FE70..FEFC, as text copied out of old PDF files has it."""
    shapes, written, is_joined = _shapes(), [], False
    units = [(found["letter"], found["marks"]) for found in _GLYPH.finditer(site.group())]
    for (letter, marks), (following, _) in pairwise([*units, ("", "")]):
        forms = shapes.get(letter, {})
        joins = "initial" in forms and (TATWEEL in marks or "final" in shapes.get(following[:1], {}))
        position = _POSITIONS[is_joined and "final" in forms, joins]
        written.append(forms.get(position, letter) + marks)
        is_joined = joins
    return _if_other(site, "".join(written))


def _detached(site: re.Match[str]) -> Sequence[str]:
    """والكتاب, بالقلم, الباب: و الكتاب, ب القلم, ال باب.

    Without a dictionary only what stands before the article, and wa- before a hamza, is surely a prefix:
    وقت and بلد stay. Words that only look like it are named, the commonest of them.
    """
    word = site.group()
    if _NO_PREFIX.match(re.sub(f"[{_M}]", "", word)):
        return []
    return [f"{word[: found.end()]} {word[found.end() :]}" for p in _PREFIXES if (found := p.match(word))]


def _attached(site: re.Match[str]) -> Sequence[str]:
    """و كتب, ما زال, لا بد, يا رب: وكتب, مازال, لابد, يارب."""
    return [site.group().rstrip(" ")]


def words(table: Mapping[str, str]) -> Perturbation:
    """Return the perturbation that writes each word of a table as the table has it."""
    return Perturbation(_WORD, lambda site: _if_other(site, table.get(site.group(), site.group())))


def phrases(table: Mapping[str, str]) -> Perturbation:
    """Return the perturbation that says words or pairs of words as a table does, after wa- and fa- too."""
    # Longest first: "ما هو" before "ما".
    known = "|".join(re.escape(phrase) for phrase in sorted(table, key=len, reverse=True))
    sites = re.compile(f"(?P<prefix>[وف]?)(?P<phrase>{known})".join(_ALONE))
    return Perturbation(sites, lambda site: _if_other(site, site["prefix"] + table[site["phrase"]]))


def common_forms(texts: Iterable[str], least_share: float = 0.9) -> dict[str, str]:
    """Return plain word -> its diacritised form, learned from diacritised text.

    The vowel of the last letter is left off: the sentence decides it, not the word. A word is known where
    at least such a share of its occurrences is marked in one way (كتب, read in many, is not).
    """
    counts: dict[str, dict[str, int]] = {}
    for text in texts:
        for word in _WORD.findall(unicodedata.normalize("NFC", text)):
            *first, last = _UNIT.findall(word.replace(TATWEEL, ""))
            form = "".join(first) + re.sub("[\u064b-\u0650\u0652]", "", last)
            forms = counts.setdefault(re.sub(f"[{_M}]", "", form), {})
            forms[form] = forms.get(form, 0) + 1
    likeliest = {plain: max(forms, key=lambda f: (forms[f], f)) for plain, forms in counts.items()}
    return {
        plain: form
        for plain, form in sorted(likeliest.items())
        if form != plain and counts[plain][form] >= least_share * sum(counts[plain].values())
    }


def _if_other(site: re.Match[str], written: str) -> Sequence[str]:
    return [written] if written != site.group() else []


def _final(word: str, letters: Mapping[str, str]) -> str:
    """Return the word with its last letter in another form; marks on it stay."""
    bare = word.rstrip(_M)
    return bare[:-1] + letters.get(bare[-1], bare[-1]) + word[len(bare) :]


def _with_one_changed(site: re.Match[str], forms: Callable[[str], Iterable[str]]) -> Iterable[str]:
    """Yield the word with one of its letters in each of the forms that the letter can take."""
    units = _UNIT.findall(site.group())
    for place, unit in enumerate(units):
        for form in forms(unit):
            yield "".join([*units[:place], form, *units[place + 1 :]])


@cache
def _shapes() -> dict[str, dict[str, str]]:
    """Return letter (or lam with alef) -> position -> glyph, as Unicode decomposes U+FE80..FEFC."""
    shapes: dict[str, dict[str, str]] = {}
    for glyph in map(chr, range(0xFE80, 0xFEFD)):
        position, *points = unicodedata.decomposition(glyph).split()
        letters = "".join(chr(int(point, 16)) for point in points)
        shapes.setdefault(letters, {})[position.strip("<>")] = glyph
    return shapes


@cache
def _neighbours() -> dict[str, frozenset[str]]:
    """Return letter -> letters of the keys around it; each row stands half a key to the right."""
    at = {letter: (row, column) for row, keys in enumerate(_KEYS) for column, letter in enumerate(keys)}
    around = ((0, -1), (0, 1), (-1, 0), (-1, 1), (1, -1), (1, 0))
    key_at = {place: letter for letter, place in at.items() if letter != "-"}
    near = {
        letter: frozenset(
            key_at[row + down, column + right]
            for down, right in around
            if (row + down, column + right) in key_at
        )
        for (row, column), letter in key_at.items()
    }
    return near | {shifted: near[key] for shifted, key in _SHIFTED.items()}


# Each does one thing to each word it changes. What needs a table of words is made by the caller.
PERTURBATIONS: dict[str, Perturbation] = {
    "diacritics_stripped": Perturbation(_MARKED, _stripped),
    "hamza_dropped": Perturbation(_WORD, _hamza_dropped),
    "alef_wrong": Perturbation(_WORD, _alef_wrong),
    "yeh": Perturbation(_WORD, _yeh),
    "teh_marbuta": Perturbation(_WORD, _teh_marbuta),
    "tatweel": Perturbation(_WORD, _tatweel),
    "keyboard": Perturbation(_WORD, _keyboard),
    "swap": Perturbation(_WORD, _swap),
    "drop": Perturbation(_WORD, _drop),
    "digits": Perturbation(_NUMBER, _digits),
    "presentation_forms": Perturbation(_WORD, _presentation_forms),
    "clitics_detached": Perturbation(_WORD, _detached),
    "clitics_attached": Perturbation(_LOOSE, _attached),
}
VARIETIES = ("egyptian", "levantine", "gulf", "maghrebi")
DIACRITICS_ADDED = "diacritics_added"
NAMES = (DIACRITICS_ADDED, *PERTURBATIONS, *(f"dialect_{variety}" for variety in VARIETIES))
