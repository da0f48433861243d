"""Articles are cut into paragraphs: prose stays, and what is none has a reason."""

import json
from collections import Counter

import pytest
from conftest import DATA, compose_config, needs_data

from arabic_llm.data.ledger import Ledger
from arabic_llm.synthesis import articles, extractive, paragraphs, sentences
from arabic_llm.synthesis.articles import Article
from arabic_llm.synthesis.selection_of_paragraphs import kinds

PROSE = (
    "تأسست جامعة القاهرة في عام 1908 في مدينة الجيزة، وهي من أقدم الجامعات العربية الحديثة. "
    "تضم الجامعة اليوم عشرين كلية، ويدرس فيها مئات الآلاف من الطلاب القادمين من بلاد كثيرة."
)
ARTICLE = f"""{PROSE}

== كليات ==
* كلية الآداب
* كلية العلوم
* كلية الطب

{{| class="wikitable"
| الكلية | السنة | العدد
| الآداب | 1908 | 20

قصير.

{PROSE} {PROSE}

== مراجع ==
{PROSE}
"""


@pytest.fixture(scope="module")
def settings():
    return compose_config("task=synthesize").task.paragraphs


def split(text, settings):
    return [(p.text, why) for p, why in paragraphs.split(Article("a", text, "جامعة القاهرة"), settings)]


def test_prose_stays_and_what_is_none_has_a_reason(settings):
    found = split(ARTICLE, settings)
    assert [why for _, why in found] == [
        *(None, "heading", "list", "table", "paragraph too short", None),
        *("heading", "section without prose"),
    ]
    assert found[0][0] == PROSE


def test_a_long_paragraph_is_cut_between_sentences_and_nothing_is_lost(settings):
    from dataclasses import replace

    text = " ".join([PROSE] * 6)
    found = split(text, replace(settings, max_chars=400))
    assert len(found) > 2
    assert all(len(piece) <= 400 for piece, _ in found)
    assert " ".join(piece for piece, _ in found) == text
    assert {why for _, why in found} == {None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ولد د. أحمد في القاهرة. درس الطب.", ["ولد د. أحمد في القاهرة. ", "درس الطب."]),
        ("طوله 20 كم. يقع في الشمال.", ["طوله 20 كم. ", "يقع في الشمال."]),
        ("من أين؟ من هنا! نعم.", ["من أين؟ ", "من هنا! ", "نعم."]),
        ("كتب وأقلام إلخ. في الحقيبة", ["كتب وأقلام إلخ. في الحقيبة"]),
        ("", []),
    ],
)
def test_sentences_end_where_they_end(text, expected):
    assert sentences.split(text) == expected


@pytest.mark.parametrize("text", ["أ. ب\n\nج؟ د. هـ", "  x. y ", "١٢. ٣", "a" * 50, "\n"])
def test_sentences_joined_are_the_text(text):
    assert "".join(sentences.split(text)) == text


def test_shares_of_short_and_long_are_those_asked_for(settings):
    found = kinds([10, 40, 20, 30, 50, 60, 80, 70], settings)
    assert found == ["short", "short", "short", "short", "short", "short", "long", "long"]
    from dataclasses import replace

    half = replace(settings, short_share=0.5, long_share=0.25)
    assert kinds([1, 2, 3, 4], half) == ["short", "short", None, "long"]
    assert kinds([], half) == []


@needs_data
def test_the_rules_find_many_kinds_of_questions_in_real_paragraphs():
    """There were 7 kinds once, and 61% of all had a number or the rest of a sentence completed."""
    texts = {
        (article["title"], paragraph["context"])
        for article in json.loads((DATA / "arcd" / "arcd-train.json").read_text())["data"]
        for paragraph in article["paragraphs"]
    }
    by_rule = Counter(
        one.made_by.removeprefix("extractive:")
        for title, text in sorted(texts)
        for one in extractive.exchanges(text, title, "long" if len(text) > 700 else "short", 3)
    )
    assert len(by_rule) >= 15
    assert (by_rule["number"] + by_rule["continuation"]) < 0.45 * by_rule.total()
    assert by_rule["definition"] > 60


@pytest.mark.parametrize(
    ("rule", "title", "sentence", "question", "answer"),
    [
        ("definition", "", "الكعبة المشرفة هي قبلة المسلمين في صلواتهم.", "ما هي الكعبة المشرفة؟", "قبلة"),
        ("definition", "", "نجيب محفوظ (1911 - 2006) هو روائي مصري معروف.", "من هو نجيب محفوظ؟", "روائي"),
        ("definition", "الهلال", "الهلال هو ناد رياضي سعودي أسس في الرياض.", "ما هو الهلال؟", "رياضي"),
        ("definition", "محمد نجيب", "محمد نجيب سياسي مصري، هو أول رئيس لمصر.", "من هو محمد نجيب؟", "سياسي"),
        ("definition", "آسيا", "آسيا أكبر قارة في الأرض وأكثرها سكانا.", "ما هي آسيا؟", "أكبر قارة"),
        (
            *("born", "تامر حسني", "تامر حسني (16 أغسطس 1977 -) هو مغن وملحن وممثل مصري."),
            *("متى ولد تامر حسني؟", "ولد تامر حسني في 16 أغسطس 1977."),
        ),
        (
            *("died", "نجيب محفوظ", "نجيب محفوظ (11 ديسمبر 1911 - 30 أغسطس 2006) روائي مصري."),
            *("متى توفي نجيب محفوظ؟", "توفي نجيب محفوظ في 30 أغسطس 2006."),
        ),
        (
            *("born", "شيرين", "شيرين عبد الوهاب (ولدت في ٨ أكتوبر ١٩٨٠) مغنية وممثلة مصرية."),
            *("متى ولدت شيرين عبد الوهاب؟", "ولدت شيرين عبد الوهاب في ٨ أكتوبر ١٩٨٠."),
        ),
        (
            *("birthplace", "", "ولد الإسكندر في مدينة بيلا قرابة سنة 356 ق.م، وتتلمذ على يد أرسطو."),
            *("أين ولد الإسكندر؟", "ولد الإسكندر في مدينة بيلا."),
        ),
        (
            *("date", "", "تأسست جامعة القاهرة في عام 1908 في الجيزة."),
            *("في أي عام تأسست جامعة القاهرة في الجيزة؟", "1908"),
        ),
        ("date", "", "اندلعت الحرب الكبرى في 28 يوليو 1914.", "متى اندلعت الحرب الكبرى؟", "28 يوليو 1914"),
        ("place", "", "تقع مدينة فاس في شمال المغرب بين الجبال.", "أين تقع مدينة فاس؟", "في شمال المغرب"),
        (
            *("own", "المغرب", "المغرب بلد في غرب شمال أفريقيا عاصمته الرباط وأكبر مدنه الدار البيضاء."),
            *("ما عاصمة المغرب؟", "عاصمة المغرب هي الرباط."),
        ),
        (
            *("borders", "إيران", "يحدها من الشمال أرمينيا وأذربيجان وتركمانستان."),
            *("ما الذي يحد إيران؟", "أرمينيا وأذربيجان"),
        ),
        (
            *("measure", "", "يبلغ عدد سكان اليابان نحو ١٢٨ مليون نسمة."),
            *("كم يبلغ عدد سكان اليابان؟", "نحو ١٢٨ مليون نسمة"),
        ),
        ("parts", "", "تتألف اليابان من 47 محافظة كبيرة.", "مم تتألف اليابان؟", "47 محافظة"),
        ("parts", "", "تقسم مصر إداريا إلى 27 محافظة.", "إلام تقسم مصر إداريا؟", "27 محافظة"),
        (
            *("by_whom", "", "تأسست الدولة الأموية على يد معاوية بن أبي سفيان."),
            *("على يد من تأسست الدولة الأموية؟", "معاوية"),
        ),
        ("why", "", "سقطت دولة الأندلس بسبب تفرق ملوكها.", "لماذا سقطت دولة الأندلس؟", "تفرق ملوكها"),
        (
            *("why", "داون", "سميت متلازمة داون نسبة إلى الطبيب جون داون."),
            *("لماذا سميت متلازمة داون بهذا الاسم؟", "الطبيب"),
        ),
        (
            "notable",
            "محفوظ",
            "ومن أشهر أعماله: الثلاثية وأولاد حارتنا.",
            "ما أشهر أعمال محفوظ؟",
            "الثلاثية",
        ),
        ("deed", "لبنان", "واجه لبنان تعدد الحضارات التي عبرت فيه.", "ماذا واجه لبنان؟", "تعدد الحضارات"),
        (
            *("event", "أينشتاين", "في عام 1905، حصل على درجة الدكتوراه من جامعة زيورخ."),
            *("ماذا حدث في عام 1905 في ما يخص أينشتاين؟", "الدكتوراه"),
        ),
    ],
)
def test_rules_turn_a_statement_into_its_question(rule, title, sentence, question, answer):
    found = {one.question: one for one in extractive.exchanges(sentence, title, "short", 3)}
    assert answer in found[question].answer
    assert found[question].made_by == f"extractive:{rule}"


@pytest.mark.parametrize(
    "sentence",
    [
        "الحرب العالمية الأولى (28 يوليو 1914 - 11 نوفمبر 1918) صراع بين دول كثيرة.",  # nobody was born
        "يعتقد المسلمون أن من بنى الكعبة أول مرة هم الملائكة قبل آدم.",
        "تقوم عليها اليوم عدة كيانات سياسية متراكبة هي دولة وسلطة.",
        "وأبوه خليل هو الزوج الثالث لها بعد وفاة زوجها الأول.",
        "عاصمتها هي ريكيافيك وهي أكبر مدن البلاد.",
        "أصبحت تؤهل بطلها إلى مباراة كأس السوبر التي بدأت في عام 1993.",
        "عاش أينشتاين في سويسرا بين عامي 1895 و1914.",
        "تصل مساحتها إلى 10 ملايين كيلومتر مربع.",
    ],
)
def test_what_a_rule_would_ask_wrongly_it_does_not_ask(sentence):
    found = extractive.exchanges(sentence, "", "short", 3)
    assert [
        one for one in found if one.made_by not in ("extractive:number", "extractive:continuation")
    ] == []


@pytest.mark.parametrize("sentence", ["وهي من أكبر المدن في البلاد كلها.", "هذا هو أهم ما في الأمر كله."])
def test_a_statement_about_nobody_named_is_not_asked_about(sentence):
    assert extractive.exchanges(sentence, "", "short", 3) == []


def test_a_conversation_has_three_turns_or_is_none():
    whole = " ".join([PROSE, "تقع مدينة فاس في شمال المغرب بين الجبال العالية."])
    assert len(extractive.exchanges(whole, "جامعة القاهرة", "long", 1)) == 3
    assert extractive.exchanges(PROSE.split(". ", maxsplit=1)[0] + ".", "", "long", 3) == []


def test_questions_are_the_same_each_time():
    assert extractive.exchanges(PROSE, "مصر", "short", 9) == extractive.exchanges(PROSE, "مصر", "short", 9)


def test_titles_addresses_revisions_and_licences_come_with_their_article(tmp_path):
    rows = '{"title": "نهر", "text": "نص", "url": "u", "revid": 7, "license": "CC BY-SA 4.0"}\n'
    rows += '{"title": "بحر", "text": "نص آخر", "url": "v", "revid": 8, "license": null}\n'
    (tmp_path / "wiki.jsonl").write_text(rows, encoding="utf-8")
    place = f"data.path={tmp_path / 'wiki.jsonl'}"
    config = compose_config("task=synthesize", "data=local", place, "data.license=mit")
    first, second = articles.of_data(config.data, tmp_path, Ledger("articles"))
    assert first == Article("wiki.jsonl:1", "نص", "نهر", "u", "7", "CC BY-SA 4.0")
    assert second.license == "mit"
