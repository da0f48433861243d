"""The names that columns go by, in English and Arabic, and what each column is for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from arabic_llm.text.normalize import normalize

ALIASES = {
    "messages": (
        *("messages", "conversation", "conversations"),
        *("المحادثة", "المحادثات", "محادثة", "الرسائل", "الحوار"),
    ),
    "prompt": (
        *("prompt", "question", "query", "instruction"),
        *("السؤال", "سؤال", "الاسئلة", "التعليمة", "التعليمات", "تعليمات", "الأمر", "الطلب"),
        *("پرسش", "问题", "問題", "提问", "指令", "题目"),
    ),
    "response": (
        *("completion", "response", "answer", "output"),
        *("الجواب", "جواب", "الإجابة", "إجابة", "الأجوبة", "الإجابات", "الرد", "المخرجات", "الناتج"),
        *("پاسخ", "答案", "回答", "输出", "回复"),
    ),
    "chosen": (
        *("chosen", "chosen_response", "response_chosen", "chosen_answer", "accepted", "preferred"),
        *("المختار", "الجواب المختار", "الإجابة المختارة", "الرد المختار"),
        *("المفضل", "الجواب المفضل", "الإجابة المفضلة", "الرد المفضل"),
        *("الأفضل", "الجواب الأفضل", "الإجابة الأفضل", "الرد الأفضل"),
    ),
    "rejected": (
        *("rejected", "rejected_response", "response_rejected", "rejected_answer", "dispreferred"),
        *("المرفوض", "الجواب المرفوض", "الإجابة المرفوضة", "الرد المرفوض"),
        *("الأسوأ", "الجواب الأسوأ", "الإجابة الأسوأ", "الرد الأسوأ"),
    ),
    "text": ("text", "content", "النص", "نص", "المحتوى", "متن", "文本", "内容"),
    "context": ("input", "context", "السياق", "المدخل", "المدخلات", "输入"),
    "history": ("history",),
    "system": ("system", "system_prompt", "النظام", "系统"),
    "rating": (
        *("desirable", "is_desirable", "thumb", "thumbs", "thumbs_up", "thumb_up", "kto_tag", "kto_label"),
        *("liked", "feedback", "label", "الحكم", "الإعجاب", "إعجاب", "مقبول", "مفيد"),
    ),  # where its values are ratings
    "label": ("label", "التصنيف", "الفئة", "الصنف", "التسمية", "برچسب", "标签", "类别"),
}


@lru_cache(maxsize=1024)  # a header is looked at once for each delimiter, and is the same in many files
def spelling(name: str) -> str:
    """Return the form under which two names of columns are the same: spelling of Arabic is folded."""
    name = name.strip()
    return name.casefold() if name.isascii() else normalize(name, "matching")


KEYS = {role: frozenset(map(spelling, names)) for role, names in ALIASES.items()}
KNOWN_NAMES = frozenset().union(*KEYS.values())
_LONGEST_NAME = 64  # characters, of a header that comes again
SECOND_HEADER = "a second header, its columns in another order or called otherwise"


def is_header(cells: Sequence[str], names: Sequence[str]) -> bool:
    """Return whether a row names columns: the header's `names`, as spelled, in any order, or their like."""
    if max(map(len, cells)) > _LONGEST_NAME:
        return False
    first = spelling(cells[0])
    if first not in names and not _are_alike(first, names[0]):  # of most rows, and spelling takes its time
        return False
    said = list(map(spelling, cells))
    return sorted(said) == sorted(names) or (len(said) > 1 and all(map(_are_alike, said, names)))


def _are_alike(one: str, other: str) -> bool:
    """Return whether two names are the same, or stand for the same."""
    is_known = one in KNOWN_NAMES and other in KNOWN_NAMES
    return one == other or (is_known and any(one in names and other in names for names in KEYS.values()))
