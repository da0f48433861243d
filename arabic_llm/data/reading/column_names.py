"""The names that columns go by, in English and Arabic, and what each column is for."""

from __future__ import annotations

from arabic_llm.text.normalize import normalize

ALIASES = {
    "messages": (
        *("messages", "conversation", "conversations"),
        *("المحادثة", "المحادثات", "محادثة", "الرسائل", "الحوار"),
    ),
    "prompt": (
        *("prompt", "question", "query", "instruction"),
        *("السؤال", "سؤال", "الاسئلة", "التعليمة", "التعليمات", "تعليمات", "الأمر", "الطلب"),
    ),
    "response": (
        *("completion", "response", "answer", "output"),
        *("الجواب", "جواب", "الإجابة", "إجابة", "الأجوبة", "الإجابات", "الرد", "المخرجات", "الناتج"),
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
    "text": ("text", "content", "النص", "نص", "المحتوى"),
    "context": ("input", "context", "السياق", "المدخل", "المدخلات"),
    "history": ("history",),
    "system": ("system", "system_prompt", "النظام"),
    "rating": (
        *("desirable", "is_desirable", "thumb", "thumbs", "thumbs_up", "thumb_up", "kto_tag", "kto_label"),
        *("liked", "feedback", "label", "الحكم", "الإعجاب", "إعجاب", "مقبول", "مفيد"),
    ),  # where its values are ratings
    "label": ("label", "التصنيف", "الفئة", "الصنف", "التسمية"),
}


def spelling(name: str) -> str:
    """Return the form under which two names of columns are the same: spelling of Arabic is folded."""
    name = name.strip()
    return name.casefold() if name.isascii() else normalize(name, "matching")


KEYS = {role: frozenset(map(spelling, names)) for role, names in ALIASES.items()}
KNOWN_NAMES = frozenset().union(*KEYS.values())
