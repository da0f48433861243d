"""Numbers as Arabic writes them: Arabic-Indic digits, European digits, and words."""

from __future__ import annotations

import re

_ARABIC_INDIC = "٠١٢٣٤٥٦٧٨٩"
_EASTERN = "۰۱۲۳۴۵۶۷۸۹"  # Persian and Urdu
_EUROPEAN = "0123456789"
_NO_EUROPEAN = re.compile(f"[{_ARABIC_INDIC}{_EASTERN}]")
_TO_EUROPEAN = str.maketrans(_ARABIC_INDIC + _EASTERN, _EUROPEAN * 2)
_TO_ARABIC_INDIC = str.maketrans(_EUROPEAN, _ARABIC_INDIC)
_SWAPPED = str.maketrans(_EUROPEAN + _ARABIC_INDIC, _ARABIC_INDIC + _EUROPEAN)

_UNITS = ["صفر", "واحد", "اثنان", "ثلاثة", "أربعة", "خمسة", "ستة", "سبعة", "ثمانية", "تسعة", "عشرة"]
_TEENS = {11: "أحد عشر", 12: "اثنا عشر"}
_TENS = ["عشرون", "ثلاثون", "أربعون", "خمسون", "ستون", "سبعون", "ثمانون", "تسعون"]
_HUNDREDS = ["مئة", "مئتان", "ثلاثمئة", "أربعمئة", "خمسمئة", "ستمئة", "سبعمئة", "ثمانمئة", "تسعمئة"]
_LARGEST = 999


def to_european(text: str) -> str:
    """Return the text with Arabic-Indic and Eastern digits as 0-9."""
    # Searched first: few characters are digits, and str.translate asks its table about each.
    return _NO_EUROPEAN.sub(lambda digit: digit.group().translate(_TO_EUROPEAN), text)


def to_arabic_indic(text: str) -> str:
    """Return the text with 0-9 as Arabic-Indic digits."""
    return text.translate(_TO_ARABIC_INDIC)


def swap_digits(text: str) -> str:
    """Return the text with 0-9 as Arabic-Indic digits, and Arabic-Indic digits as 0-9."""
    return text.translate(_SWAPPED)


def in_words(number: int) -> str:
    """Return the number in Arabic words, as one counts aloud (nominative, masculine counted noun).

    Raises ValueError outside 0..999.
    """
    if not 0 <= number <= _LARGEST:
        raise ValueError(f"in_words knows 0 to {_LARGEST}, not {number}")
    hundreds, rest = divmod(number, 100)
    if not hundreds:
        return _below_hundred(number)
    head = _HUNDREDS[hundreds - 1]
    return f"{head} و{_below_hundred(rest)}" if rest else head


def _below_hundred(number: int) -> str:
    if number < len(_UNITS):
        return _UNITS[number]
    tens, unit = divmod(number, 10)
    if tens == 1:
        return _TEENS.get(number, f"{_UNITS[unit]} عشر")
    return f"{_UNITS[unit]} و{_TENS[tens - 2]}" if unit else _TENS[tens - 2]
