"""What somebody thought of an answer, in the words and signs people have for it: up, or down."""

from __future__ import annotations

import re
from typing import Any

from arabic_llm.data.reading.column_names import spelling
from arabic_llm.data.rows import DOWN, UP

_WORDS = {
    UP: (
        *("true", "yes", "y", "up", "thumb up", "thumbs up", "like", "liked", "upvote", "good", "positive"),
        *("desirable", "chosen", "accepted", "correct", "right", "helpful", "+1"),
        *("نعم", "أجل", "صح", "صحيح", "صحيحة", "صواب", "جيد", "جيدة", "أعجبني", "إعجاب", "مفيد", "مفيدة"),
        *("مقبول", "مقبولة", "إيجابي", "ممتاز"),
        *("是", "对", "好", "赞", "喜欢", "正确"),
        *("\N{THUMBS UP SIGN}", "\N{WHITE HEAVY CHECK MARK}", "\N{HEAVY CHECK MARK}"),
        *("\N{HEAVY BLACK HEART}", "\N{SMILING FACE WITH SMILING EYES}"),
    ),
    DOWN: (
        *(
            "false",
            "no",
            "n",
            "down",
            "thumb down",
            "thumbs down",
            "dislike",
            "disliked",
            "downvote",
            "bad",
        ),
        *("negative", "undesirable", "rejected", "incorrect", "wrong", "unhelpful"),
        *("لا", "كلا", "خطأ", "خاطئ", "خاطئة", "غلط", "سيئ", "سيئة", "لم يعجبني", "عدم إعجاب", "مرفوض"),
        *("غير صحيح", "غير صحيحة", "غير مفيد", "غير مفيدة", "غير مقبول", "غير مقبولة", "سلبي", "رديء"),
        *("否", "不是", "错", "差", "踩", "不喜欢", "错误"),
        *("\N{THUMBS DOWN SIGN}", "\N{CROSS MARK}", "\N{HEAVY BALLOT X}"),
    ),
}
# How an emoji is drawn: its colour, its variation selector.
_DRAWN = re.compile(
    "[\N{EMOJI MODIFIER FITZPATRICK TYPE-1-2}-\N{EMOJI MODIFIER FITZPATRICK TYPE-6}\ufe0e\ufe0f]"
)
_NUMBERS = {1.0: UP, 0.0: DOWN}


def rating_of(value: Any) -> str | None:
    """Return up or down, or None for what is neither: a number of stars, a word that may mean both."""
    if isinstance(value, str):
        said = _folded(value)
        return _SAID.get(said) or _NUMBERS.get(_number(said))
    return _NUMBERS.get(float(value)) if isinstance(value, bool | int | float) else None


def _folded(text: str) -> str:
    plain = _DRAWN.sub("", text)
    return re.sub(r"[\s_-]+", " ", spelling(plain) or plain).strip()


def _number(text: str) -> float:
    return float(text) if re.fullmatch(r"[01](\.0+)?", text) else float("nan")


_SAID = {_folded(word): rating for rating, words in _WORDS.items() for word in words}
