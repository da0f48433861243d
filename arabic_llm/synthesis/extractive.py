"""Questions without a model: rules that turn statements of a paragraph into questions, the same each time.

They are few and plain, and each is named in its rows: they run the whole path anywhere, and are no
match for questions that a person or a model would ask.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from arabic_llm.synthesis import sentences
from arabic_llm.synthesis.exchanges import TURNS, Exchange
from arabic_llm.text import normalize

# Verbs that open a statement of Wikipedia; the subject comes behind them, so that a question can.
_VERBS = (
    "تأسس|تأسست|أسس|أسست|تأسس|أنشئ|أنشئت|أنشأ|أنشأت|افتتح|افتتحت|بني|بنيت|شيد|شيدت|صدر|صدرت|نشر|نشرت|ألف|كتب|ظهر|ظهرت"
    "|فاز|فازت|حصل|حصلت|حاز|حازت|نال|نالت|تولى|تولت|عين|عينت|انتخب|انتخبت|شارك|شاركت|انضم|انضمت|استقل|استقلت"
    "|بدأ|بدأت|انتهى|انتهت|توج|توجت|أقيم|أقيمت|عقد|عقدت|وقع|وقعت|اندلع|اندلعت|احتل|احتلت|فتح|سقط|سقطت|انتقل|انتقلت"
    "|أصبح|أصبحت|اعتزل|اعتزلت|تخرج|تخرجت|تزوج|تزوجت|أعلن|أعلنت|اكتشف|اكتشفت|اخترع|اخترعت|استضاف|استضافت|عاد|عادت"
)
_SUBJECT = r"(?:ال|[\u0621-\u064a])[\w\u064b-\u0652]{2,}"
_YEAR = re.compile(
    r"\s*(?:،\s*)?(?:(?:في|وفي|منذ)\s+)?(?:عام|سنة|العام|السنة)\s+(?P<year>\d{3,4}|[\u0660-\u0669]{3,4})\s*(?P<era>م|هـ|ميلادي[ةا]?|هجري[ةا]?|ق\.م)?(?![\w.])"
)
_OPENING_VERB = re.compile(rf"(?:و|ثم |ف|وقد |قد |كما )?(?P<verb>{_VERBS})\s+(?P<rest>\S.*)", re.DOTALL)
_PLACE = re.compile(
    rf"(?:و|كما )?(?P<verb>تقع|يقع)\s+(?P<subject>{_SUBJECT}"
    rf"(?:\s+(?!(?:في|على|إلى|ضمن|غرب|شرق|شمال|جنوب|بين|قرب|عند)\b){_SUBJECT}){{0,3}})"
    r"\s+(?:(?:تحديدا|جغرافيا)\s+)?(?P<place>(?:في|على|ضمن|غرب|شرق|شمال|جنوب|بين|قرب|عند)\s\S.*)",
    re.DOTALL,
)
_DEFINITION = re.compile(
    r"(?P<subject>[^.،؛:()\d]{3,60}?)\s*(?:\((?P<aside>[^()]{1,120})\))?\s*[،,]?\s+(?P<is>هو|هي|هم)\s+(?P<what>\S.{15,})",
    re.DOTALL,
)
_PERSON = re.compile(
    r"(?:^|\s)(?:ال)?(?:كاتب|شاعر|أديب|ممثل|مغن|مطرب|لاعب|سياسي|عالم|ملك|أمير|رئيس|قائد|صحفي|إعلامي|مؤرخ|فيلسوف|مخرج|طبيب|مهندس"
    r"|رسام|ملحن|موسيق|روائي|داعية|إمام|فقيه|محدث|خليفة|سلطان|نبي|رسول|مدرب|محام|مفكر|فنان|عالمة|ضابط|وزير|مستكشف|رحالة)(?:ي|ة|ية|ا|ان)?(?=\s|،|$)"
)
_NUMBER = re.compile(
    r"(?<![\w.,/\-–])(?:\d{1,3}(?:[.,]\d{3})+|\d+(?:[.,]\d+)?|[\u0660-\u0669]+(?:[.,٫٬][\u0660-\u0669]+)?)(?![\w/\-–]|[.,]\d)"
)
_QUOTED = re.compile(r"[«\"“](?P<name>[^«»\"“”\n]{3,60})[»\"”]")
_PRONOUN_FIRST = re.compile(
    r"(?:و|ف)?(?:هو|هي|هم|هذا|هذه|ذلك|تلك|هؤلاء|كما|لكن|لكنه|لكنها|إلا|حيث|لذلك|لذا|منها|منه|فيها|فيه|بها|به|عنه|عنها|له|لها|لهم|وقد|التي|الذي|إنه|أنه)(?=\s|،)"
)
_BLANK = "____"
_SHORTEST, _LONGEST = 4, 80  # words of a sentence that is asked about
_SHORTEST_HALVED = 10  # of one that is asked to be completed
_OTHER_NAME = re.compile(r"\s+(?:أو|رسمي|ورسمي|المعروف|المعروفة|ويعرف|وتعرف|واسمه|واسمها)\w*(?:\s|$)")
_MOST_WORDS_OF_A_NAME = 7

Rule = Callable[[str, str], Exchange | None]


def exchanges(text: str, title: str, kind: str, num_pairs: int) -> list[Exchange]:
    """Return the questions that rules find in a paragraph, the telling ones first; of a long one, three.

    Three are a conversation: with fewer of them, there is none.
    """
    title = title.strip()
    found = list(_found([_plain(sentence) for sentence in sentences.split(text)], title))
    if kind != "long":
        return found[:num_pairs]
    return found[:TURNS] if len(found) >= TURNS else []


def _found(said: Sequence[str], title: str) -> Iterator[Exchange]:
    """Yield one question a sentence, rule after rule; no question comes twice."""
    asked: set[str] = set()
    used: set[int] = set()
    for rule in (definition, place, year, quoted, number, what_follows, continuation):
        for place_, sentence in enumerate(said):
            if place_ in used or not _SHORTEST <= len(sentence.split()) <= _LONGEST:
                continue
            one = rule(sentence, title)
            key = normalize.normalize(one.question, "matching") if one else ""
            if one is not None and key not in asked:
                asked.add(key)
                used.add(place_)
                yield one


def definition(sentence: str, title: str) -> Exchange | None:
    """Return who or what something is, where a sentence says that it is."""
    found = _DEFINITION.match(sentence)
    if found is None or _is_vague(found["subject"]):
        return None
    subject = _OTHER_NAME.split(found["subject"].strip())[0]
    if len(subject.split()) > _MOST_WORDS_OF_A_NAME or sentence.split(maxsplit=1)[0] in _STARTS_NO_NAME:
        return None
    opening = " ".join(found["what"].split()[:3])
    asked = "من" if _PERSON.search(opening) else "ما"
    return Exchange(f"{asked} {found['is']} {subject}؟", sentence, "extractive:definition")


def place(sentence: str, title: str) -> Exchange | None:
    """Return where something lies."""
    found = _PLACE.match(sentence)
    if found is None or _is_vague(found["subject"]):
        return None
    answer = f"{found['verb']} {found['subject']} {found['place']}"
    return Exchange(f"أين {found['verb']} {found['subject']}؟", answer, "extractive:place")


def year(sentence: str, title: str) -> Exchange | None:
    """Return in which year something was, where a sentence opens with its verb and names the year."""
    verb, dated = _OPENING_VERB.match(sentence), _YEAR.search(sentence)
    if verb is None or dated is None or len(_YEAR.findall(sentence)) > 1:
        return None
    rest = _end(_YEAR.sub("", verb["rest"], count=1))
    clause = re.split(r"[،؛;]", rest)[0].strip()
    first = clause.split()[0] if clause.split() else ""
    if len(clause.split()) < 2 or first in _PREPOSITIONS or _ends_open(clause):  # noqa: PLR2004 (a subject and more)
        return None
    era = f" {dated['era']}" if dated["era"] else ""
    answer = f"{verb['verb']} {clause} في عام {dated['year']}{era}."
    return Exchange(f"في أي عام {verb['verb']} {clause}؟", answer, "extractive:year")


def number(sentence: str, title: str) -> Exchange | None:
    """Return a sentence without one of its numbers, which is asked for."""
    numbers = list(_NUMBER.finditer(sentence))
    if not numbers or not _stands_alone(sentence, title):
        return None
    wanted = numbers[-1]
    gap = f"{sentence[: wanted.start()]}{_BLANK}{sentence[wanted.end() :]}"
    question = f"أكمل الجملة الآتية{_about(title, sentence)} بالعدد الناقص: {gap}"
    return Exchange(question, f"العدد الناقص هو {wanted[0]}: {sentence}", "extractive:number")


def quoted(sentence: str, title: str) -> Exchange | None:
    """Return a sentence without a name that it quotes, which is asked for."""
    found = _QUOTED.search(sentence)
    if found is None or not _stands_alone(sentence, title):
        return None
    gap = f"{sentence[: found.start('name')]}{_BLANK}{sentence[found.end('name') :]}"
    question = f"أكمل الجملة الآتية{_about(title, sentence)} بالكلمات الناقصة: {gap}"
    return Exchange(question, f"الكلمات الناقصة هي «{found['name']}»: {sentence}", "extractive:quotation")


def what_follows(sentence: str, title: str) -> Exchange | None:
    """Return a sentence about what the article is on, asked for by its title."""
    if not title or not _names(sentence, title):
        return None
    head = " ".join(sentence.split()[:4]).rstrip("،؛:,(")
    if _ends_open(head) or _is_vague(head):
        return None
    question = f"ماذا تعرف عن {title}؟ ابدأ جوابك بقولك: {head}"
    return Exchange(question, sentence, "extractive:title")


def continuation(sentence: str, title: str) -> Exchange | None:
    """Return a sentence that is to be completed, of which the first half is given."""
    said = sentence.split()
    if not title or len(said) < _SHORTEST_HALVED:
        return None
    half = " ".join(said[: len(said) // 2])
    question = f"أكمل الجملة الآتية{_about(title, half)}: {half} ..."
    return Exchange(question, sentence, "extractive:continuation")


_PREPOSITIONS = {
    *("في", "من", "إلى", "على", "عن", "مع", "بين", "حتى", "منذ", "خلال", "بعد", "قبل", "عند"),
    *("لدى", "ضد", "هو", "هي", "كل", "أن", "إن", "قد", "لم", "لا", "ما"),
}
_STARTS_NO_NAME = {
    *("في", "من", "إلى", "على", "عن", "مع", "وفي", "ومن", "حيث", "كما", "بعد", "قبل", "خلال"),
    *("عند", "إذا", "لأن", "أن", "إن", "كان", "كانت", "وكان", "وكانت"),
}


def _plain(sentence: str) -> str:
    """Return a sentence on one line, without the marks of notes and without diacritics."""
    bare = normalize.STEPS["diacritics"](sentence)
    return " ".join(re.sub(r"\[\d{1,3}\]|\(\d{1,2}\)", " ", bare).split())


def _end(text: str) -> str:
    return text.strip().rstrip(".!؟?،؛ ")


def _is_vague(words: str) -> bool:
    """Return whether words begin by pointing at what was said before."""
    return bool(_PRONOUN_FIRST.match(words.strip() + " "))


def _stands_alone(sentence: str, title: str) -> bool:
    """Return whether a sentence says of what it speaks, or its title does."""
    return not _is_vague(sentence) or bool(title)


def _about(title: str, sentence: str) -> str:
    return f" عن {title}" if title and not _names(sentence, title) else ""


def _names(sentence: str, title: str) -> bool:
    matched = normalize.normalize(title, "matching")
    return bool(matched) and f" {matched} " in f" {normalize.normalize(sentence, 'matching')} "


def _ends_open(words: str) -> bool:
    return words.rsplit(maxsplit=1)[-1] in _PREPOSITIONS
