"""Forms that statements of an encyclopaedia have in Arabic, as patterns: what each says, and of whom."""

from __future__ import annotations

import re

from arabic_llm.text import normalize

# Verbs that open a statement; the subject comes behind them, so that a question can.
VERBS = (
    "تأسس|تأسست|أسس|أسست|أنشئ|أنشئت|أنشأ|أنشأت|افتتح|افتتحت|بني|بنيت|شيد|شيدت|صدر|صدرت|نشر|نشرت|ألف|كتب|كتبت"
    "|ظهر|ظهرت|فاز|فازت|حصل|حصلت|حاز|حازت|نال|نالت|تولى|تولت|عين|عينت|انتخب|انتخبت|شارك|شاركت|انضم|انضمت"
    "|استقل|استقلت|بدأ|بدأت|انتهى|انتهت|توج|توجت|أقيم|أقيمت|عقد|عقدت|وقع|وقعت|اندلع|اندلعت|نشب|نشبت|احتل|احتلت"
    "|فتح|سقط|سقطت|انتقل|انتقلت|أصبح|أصبحت|اعتزل|اعتزلت|تخرج|تخرجت|تزوج|تزوجت|أعلن|أعلنت|اكتشف|اكتشفت"
    "|اخترع|اخترعت|استضاف|استضافت|عاد|عادت|عاش|عاشت|قاد|قادت|ضم|ضمت|دخل|دخلت|انتصر|انتصرت|انتشر|انتشرت|حارب"
    "|حاربت|اتهم|حكم|حكمت|درس|درست|عمل|عملت|أصدر|أصدرت|وحد|اعتمد|اعتمدت|استلم|قتل|قتلت|توفي|توفيت|ولد|ولدت"
    "|سجل|سجلت|هزم|هزمت|انهار|انهارت|شكل|شكلت"
)
PRESENT = (
    "يحدث|تحدث|ينتج|تنتج|يزداد|تزداد|يعاني|تعاني|يعتبر|تعتبر|يعد|تعد|يعرف|تعرف|يستخدم|تستخدم|يتميز|تتميز"
    "|ارتفع|ارتفعت|انخفض|انخفضت|زاد|زادت|تراجع|تراجعت|توقف|توقفت|فشل|فشلت|اشتهر|اشتهرت|عرف|عرفت"
)
_TAKES_AN_OBJECT = (
    "قاد|قادت|واجه|واجهت|أسس|أسست|فتح|فتحت|احتل|احتلت|استضاف|استضافت|اكتشف|اكتشفت|كتب|كتبت|ألف|ألفت|حكم|حكمت|درس"
    "|درست|شهد|شهدت|يشهد|تشهد|يمتلك|تمتلك|يملك|تملك|يستخدم|تستخدم|يسبب|تسبب|هزم|هزمت|يضم|تضم|يشمل|تشمل|حقق|حققت|نشر"
    "|نشرت|اخترع|اخترعت|وحد|وحدت|يصيب|تصيب|ينتج|تنتج|سكن|سكنت"
)
_BEGINS_NO_NAME = (
    f"{VERBS}|{PRESENT}|{_TAKES_AN_OBJECT}|يعتقد|تقوم|يقوم|بقي|بقيت|ظل|ظلت|يوجد|توجد|يمكن|يبقى|تبقى|يرى|قال|قالت"
    "|في|من|إلى|على|عن|مع|حيث|كما|بعد|قبل|خلال|عند|إذا|لأن|أن|إن|كان|كانت|سياسيا|إداريا|جغرافيا|تاريخيا|حاليا|عادة|اثنين|اثنان"
)
_MONTHS = (
    "يناير|فبراير|مارس|أبريل|إبريل|مايو|يونيو|يوليو|أغسطس|سبتمبر|أكتوبر|نوفمبر|ديسمبر|كانون الثاني|شباط"
    "|آذار|نيسان|أيار|حزيران|تموز|آب|أيلول|تشرين الأول|تشرين الثاني|كانون الأول|محرم|صفر|ربيع الأول"
    "|ربيع الثاني|ربيع الآخر|جمادى الأولى|جمادى الآخرة|رجب|شعبان|رمضان|شوال"
    "|ذو القعدة|ذي القعدة|ذو الحجة|ذي الحجة"
)
_YEAR = r"(?:\d{3,4}|[\u0660-\u0669]{3,4})"
_ERA = r"(?:\s*(?:قبل الميلاد|ميلادي[ةا]?|هجري[ةا]?|ق\.م|هـ|م)(?!\w))?"
_DAY = rf"(?:\d{{1,2}}|[\u0660-\u0669]{{1,2}})\s+(?:{_MONTHS})\s+(?:عام |سنة )?{_YEAR}{_ERA}"
_WORD = r"(?:ال|[\u0621-\u064a])[\w\u064b-\u0652]{2,}"
_TOWARDS = r"في|على|إلى|ضمن|غرب|شرق|شمال|جنوب|بين|قرب|عند"
_NUMBER = r"(?:\d[\d.,\u066b\u066c]*|[\u0660-\u0669][\u0660-\u0669.,\u066b\u066c]*)"
_ROUGHLY = (
    r"(?:(?:ب|ل|إلى|حوالي|بحوالي|لحوالي|نحو|بنحو|لنحو|قرابة|بقرابة|زهاء|أكثر من|بأكثر من"
    r"|ما يقارب|ما يقرب من|بما يقارب|إلى حوالي|إلى نحو|إلى أكثر من)\s*)?"
)
_MEASURED = "عدد|مساحة|طول|ارتفاع|عرض|عمق|وزن|سرعة|كثافة|نسبة|درجة|متوسط|معدل|إجمالي|قيمة|عمر|حجم|كتلة"
_PERSON_NOUN = (
    "(?:كاتب|شاعر|أديب|ممثل|مغن|مطرب|لاعب|سياسي|عالم|ملك|أمير|رئيس|قائد|صحفي|إعلامي|مؤرخ|فيلسوف|مخرج|طبيب|مهندس"
    "|رسام|ملحن|موسيق|روائي|داعية|إمام|فقيه|محدث|خليفة|سلطان|نبي|رسول|مدرب|محام|مفكر|فنان|عالمة|ضابط|وزير|مستكشف"
    "|رحالة|مناضل|عسكري|أكاديمي|باحث|مخترع|فيزيائي|كيميائي|ناشط|إمبراطور|فرعون|شيخ)(?:ي|ة|ية|ا|ان)?"
)
KIND = (  # what an article says first that its subject is
    "دولة|مدينة|بلدة|قرية|قارة|نهر|بحر|بحيرة|جزيرة|جبل|محافظة|ولاية|إمارة|منطقة|إقليم|منظمة|شركة|جامعة|ناد|نادي"
    "|فريق|كتاب|رواية|فيلم|مسلسل|لغة|مرض|التهاب|عنصر|مادة|غاز|دواء|حيوان|طائر|نبات|فرع|نظام|حرب|معركة|ثورة"
    "|إمبراطورية|سلالة|قبيلة|مملكة|جمهورية|سورة|بطولة|عضو|أحد|إحدى|أول|أكبر|أصغر|أطول|أعلى|أشهر|عملة|رياضة|لعبة"
    "|قناة|صحيفة|مجلة|موقع|برنامج"
)
DEFINITION = re.compile(
    r"(?P<subject>[^.،؛:()\d]{3,60}?)\s*(?:\((?P<aside>[^()]{1,120})\))?\s*[،,]?\s+(?P<is>هو|هي|هم)\s+"
    r"(?P<what>\S.{15,})",
    re.DOTALL,
)
PERSON = re.compile(rf"(?:^|\s)(?!العالم\b)(?:ال)?{_PERSON_NOUN}(?=\s|،|$)")
PERSONS_NAME = re.compile(r"(?:ابن|أبو|عبد|محمد|أحمد|الشيخ|الإمام|الملك|السلطان)\s")
NOMINAL = re.compile(rf"(?P<what>(?:{_PERSON_NOUN}|{KIND})(?=\s|،).{{15,}})", re.DOTALL)
ASIDES = re.compile(r"^[\s،\u200e\u200f]*(?:\([^()]*\)[\s،\u200e\u200f]*)*")
LIFE = re.compile(
    rf"\((?:[^()]*?(?:ولدت? في|ولدت?|مواليد|ميلاد|ولادة)\s*:?\s*(?P<told>{_DAY})|\s*(?P<born>{_DAY}))"
    rf"(?:[^()]*?(?:وفاة|توفيت? في|\s[-–—])\s*:?\s*(?P<died>{_DAY}))?[^()]*\)"
)
BIRTHPLACE = re.compile(
    r"(?:^|[\s،])و?(?P<verb>ولدت?)\s+"
    r"(?P<subject>(?:(?!(?:في|عام|سنة|يوم|من|على|عن|لأ\w*|بعد|قبل)\s)[^\s،.]+\s+){0,4}?)في\s+"
    rf"(?P<place>(?!(?:عام|سنة|العام|يوم|شهر|أسرة|عائلة|بيت|ظل|نفس|القرن|{_MONTHS})\s|[\d\u0660-\u0669])[^،.؛()]+)"
)
ENDS_A_PLACE = re.compile(
    r"\s+(?:في|عام|سنة|يوم|قرابة|نحو|بتاريخ|الواقع\w*|التابع\w*|التي|الذي|ل\w+|من|عند|بعد|قبل|ثم|حيث"
    r"|و(?!ادي|لاية|هران|اشنطن)\w+)(?:\s|$)"
)
PLACE = re.compile(
    rf"(?:و|كما )?(?P<verb>تقع|يقع)\s+(?P<subject>(?!معظم|أغلب|بعض|البلاد){_WORD}"
    rf"(?:\s+(?!(?:{_TOWARDS})\b){_WORD}){{0,3}})\s+(?:(?:تحديدا|جغرافيا)\s+)?(?P<place>(?:{_TOWARDS})\s\S.*)",
    re.DOTALL,
)
BORDERS = re.compile(r"(?:^|.*?[\s،])و?(?P<said>[يت]حد(?:ها|ه)\s+\S.{20,})", re.DOTALL)
OPENING_VERB = re.compile(rf"(?:و|ثم |ف|وقد |قد |كما )?(?P<verb>{VERBS})\s+(?P<rest>\S.*)", re.DOTALL)
DATED = re.compile(
    rf"\s*(?:،\s*)?(?:(?:(?:في|وفي|منذ|يوم|بتاريخ)\s+)*(?P<day>{_DAY})"
    rf"|(?:(?:في|وفي|منذ)\s+)?(?:عام|سنة|العام|السنة)\s+(?P<year>{_YEAR}{_ERA})"
    rf"|(?:في|منذ)\s+(?P<bare>{_YEAR}{_ERA}))(?![\w\u066b]|\.\d|\s*[-–])"
)
FRONTED = re.compile(
    rf"(?:و|ف)?(?:(?:في|بحلول|خلال)\s+)?(?:(?:عام|سنة)\s+(?P<year>{_YEAR}{_ERA})|(?:يوم\s+)?(?P<day>{_DAY}))"
    r"\s*،?\s+(?P<rest>\S.*)",
    re.DOTALL,
)
MEASURE = re.compile(
    rf"(?:^|[\s،])و?(?P<verb>يبلغ|تبلغ|بلغ|بلغت|يقدر|تقدر|قدر|قدرت|يصل|تصل|وصل|وصلت)\s+"
    rf"(?P<what>(?:{_MEASURED})(?:\s+[^\s،.؛()]+){{0,8}}?)\s+"
    rf"(?P<value>{_ROUGHLY}{_NUMBER}(?!\d)[^،؛()]*)"
)
OWN = (  # what an article says that its subject has: how it is said, asked about, and answered
    (r"عاصمت(?:ها|ه)", "ما عاصمة {}؟", "عاصمة {} هي {}."),
    (r"أكبر مدن(?:ها|ه)", "ما أكبر مدن {}؟", "أكبر مدن {} هي {}."),
    (r"لغت(?:ها|ه) الرسمية", "ما اللغة الرسمية في {}؟", "اللغة الرسمية في {} هي {}."),
    (r"عملت(?:ها|ه)(?: الرسمية)?", "ما عملة {}؟", "عملة {} هي {}."),
    (r"مقر(?:ها|ه)(?: الرئيسي)?", "أين مقر {}؟", "مقر {} في {}."),
)
OWN_VALUE = r"\s+(?:(?:هي|هو|في|مدينة|الحالية|تقع في|يقع في)\s+)*(?P<value>[^،.؛()]+)"
ENDS_A_NAME = re.compile(r"\s+(?:و\w+|التي|الذي|حيث|منذ)(?=\s|$)")
NOTABLE = re.compile(
    r"(?:و|كما أن )?(?:من|تشمل|تتضمن)?\s*(?P<how>أشهر|أبرز|أهم)\s+"
    r"(?P<what>أعمال|مؤلفات|كتب|روايات|أفلام|أغاني|إنجازات|مدن|معالم|آثار|أعراض|أسباب|أنواع|صادرات|أنهار|جبال)(?:ه|ها)"
    r"\s*:?\s+\S"
)
MADE_OF = re.compile(
    r"(?:و|كما )?(?P<verb>يتكون|تتكون|يتألف|تتألف|يتركب|تتركب|ينقسم|تنقسم|يقسم|تقسم)\s+"
    rf"(?P<subject>{_WORD}(?:\s+(?!(?:من|إلى|في|على)\s){_WORD}){{0,4}})\s+(?P<of>من|إلى)\s+\S"
)
DEED = re.compile(rf"(?:و|وقد |كما |ثم )?(?P<verb>{_TAKES_AN_OBJECT})\s+(?P<rest>\S.*)", re.DOTALL)
BY_WHOM = re.compile(r"(?P<clause>[^،؛()]+?)\s+على يد\s+\S")
WHY = re.compile(
    r"(?P<clause>[^،؛()]+?)\s*،?\s+(?:وذلك\s+)?(?:بسبب|نتيجة|لأن|لأنه|لأنها|لكونه|لكونها|نظرا)\s+\S"
)
NAMED = re.compile(
    r"(?:و|وقد )?(?P<verb>سميت?)\s+"
    r"(?:بذلك|بهذا الاسم|بهذا|هكذا|(?P<subject>[^،؛()]+?)(?:\s+بهذا الاسم)?)\s+"
    r"(?=(?:نسبة|لأن|لأنه|لأنها|بسبب|تيمنا|نظرا)(?:\s|$))"
)
STATED = re.compile(rf"(?:و|وقد |كما |قد )?(?P<clause>(?:{VERBS}|{PRESENT})\s+\S.*)", re.DOTALL)
OF_SOMEBODY = re.compile(r"(?:ها|ه|هم|هما)(?=\s|$)")  # of whom, another sentence says
_NO_NAME = re.compile(rf"(?:و|ف)?(?:{_BEGINS_NO_NAME})\s")
_AND = re.compile(r"و(?!لاية|ادي|اشنطن|زارة|زير|حدة|كالة|باء|سط|رق|جه)")
_PRONOUN_FIRST = re.compile(
    r"(?:و|ف)?(?:هو|هي|هم|هذا|هذه|ذلك|تلك|هؤلاء|كما|لكن|لكنه|لكنها|إلا|حيث|لذلك|لذا|منها|منه|فيها|فيه|بها|به"
    r"|عنه|عنها|له|لها|لهم|وقد|التي|الذي|إنه|أنه)(?=\s|،)"
)
_OTHER_NAME = re.compile(
    r"\s+(?:أو|رسمي|ورسمي|المعروف|المعروفة|ويعرف|وتعرف|واسمه|واسمها|وترجم|وتترجم)\w*(?:\s|$)"
)
_WANTS_MORE = {
    *("في", "من", "إلى", "على", "عن", "مع", "بين", "حتى", "منذ", "خلال", "بعد", "قبل", "عند"),
    *(
        "لدى",
        "ضد",
        "هو",
        "هي",
        "كل",
        "أن",
        "إن",
        "قد",
        "لم",
        "لا",
        "ما",
        "عام",
        "لعام",
        "عامي",
        "سنة",
        "قرابة",
    ),
    *("نحو", "حوالي", "التي", "الذي", "نهاية", "بداية", "حدود"),
}
_NO_SUBJECT = {
    *("في", "من", "إلى", "على", "عن", "مع", "بين", "منذ"),
    *("خلال", "بعد", "قبل", "عند", "لدى", "ضد", "أن", "أيضا"),
}
_MOST_WORDS_OF_A_NAME = 7
_MOST_WORDS_OF_A_CLAUSE = 16
_FEWEST_WORDS_OF_A_CLAUSE = 3


def subject(said: str, title: str) -> str | None:
    """Return the name in what stands before a verb or a bracket; None where that is none.

    Without other names, and where it begins with the title, without what the bearer is called besides.
    """
    name = _OTHER_NAME.split(said.strip())[0]
    if title and name.startswith(f"{title} ") and NOMINAL.match(name[len(title) + 1 :] + " " * 16):
        return title
    is_another = _NO_NAME.match(name) or (_AND.match(name) and not title.startswith("و"))
    if is_another or OF_SOMEBODY.search(name.split(maxsplit=1)[0] if name else "") or not is_name(name):
        return None
    return name


def is_name(words: str) -> bool:
    """Return whether words may name somebody: few of them, none that points back, no number."""
    return (
        0 < len(words.split()) <= _MOST_WORDS_OF_A_NAME
        and not is_vague(words)
        and not ends_open(words)
        and not any(sign.isdecimal() for sign in words)
    )


def is_clause(said: str) -> bool:
    """Return whether a verb and its subject say enough to be asked about."""
    words = said.split()
    return (
        _FEWEST_WORDS_OF_A_CLAUSE <= len(words) <= _MOST_WORDS_OF_A_CLAUSE
        and words[1] not in _NO_SUBJECT
        and not is_vague(" ".join(words[1:]))
        and not OF_SOMEBODY.search(" ".join(words[1:4]))
        and not re.search(r"[\"«»\d]|\s[.]", said)
        and not ends_open(said)
    )


def begins_with_a_preposition(words: str) -> bool:
    """Return whether words say where, when or of what, and not whom."""
    return words.split(maxsplit=1)[0] in _NO_SUBJECT


def is_vague(words: str) -> bool:
    """Return whether words begin by pointing at what was said before."""
    return bool(_PRONOUN_FIRST.match(words.strip() + " "))


def names(sentence: str, title: str) -> bool:
    """Return whether a sentence names the article's subject, as matching reads it."""
    matched = normalize.normalize(title, "matching")
    return bool(matched) and f" {matched} " in f" {normalize.normalize(sentence, 'matching')} "


def ends_open(words: str) -> bool:
    """Return whether words end with one that wants another."""
    return words.rsplit(maxsplit=1)[-1] in _WANTS_MORE


def end(text: str) -> str:
    """Return a text without what ends a sentence."""
    return text.strip().rstrip(".!؟?،؛ ")
