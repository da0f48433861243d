"""Whether an answer begins with a refusal: in Arabic, English or Chinese, as assistants say it."""

from __future__ import annotations

import re

from arabic_llm.text.normalize import normalize

_OPENING = 200  # characters: who refuses says so at once
# As matching leaves a text: no signs ("I can't" is "i can t"), Arabic letters folded, Chinese ones apart.
_NOT = r"(?:can ?not|can t|could not|won t|will not|a?m (?:not able|unable|not allowed) to|must decline to)"
_DO = r"(?:help|assist|answer|provide|comply|fulfill?|do (?:that|this)|continue|support|create|offer)"
_ENGLISH = (
    rf"\bi {_NOT} {_DO}\b",
    rf"\b(?:sorry|apologi[sz]e|afraid)\b.{{0,60}}\b(?:{_NOT}|unable to)",
    rf"\bas an? (?:ai|language model|assistant)\b.{{0,60}}\b{_NOT}",
    r"\bi (?:must|have to) (?:decline|refuse)\b",
)
_ARABIC = (
    "لا (?:استطيع|يمكنني|يمكننا|اقدر)",
    "(?:لست|غير) قادر",
    "ليس (?:بامكاني|بوسعي|في وسعي)",
    "لا (?:بامكاني|بوسعي|يسعني|يسعنا|استطاعه لي|يجوز لي|يسمح لي)",
    "لم (?:اتمكن|استطع) من (?:مساعد|الاجاب|تلبي|تنفيذ)",
    "(?:اسف|اعتذر|عذرا|معذره|للاسف).{0,40} لن ",
    "(?:ارفض|اعتذر عن) ",
    "(?:اسف|اعتذر|عذرا|معذره).{0,60}(?:مخالف|يخالف|ينتهك|غير مسموح|ممنوع|خارج نطاق)",
)
_CHINESE = ("(?:我|抱 歉|对 不 起|很 遗 憾|助 手|模 型).{0,16}(?:不 能|无 法|没 法|没 有 办 法|不 可 以)",)
_REFUSES = re.compile("|".join((*_ENGLISH, *_ARABIC, *_CHINESE)))


def refuses(answer: str) -> bool:
    """Return whether an answer refuses, in its first words, to do what was asked."""
    return _REFUSES.search(normalize(answer[:_OPENING], "matching")) is not None
