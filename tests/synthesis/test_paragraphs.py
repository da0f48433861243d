"""Articles are cut into paragraphs: prose stays, and what is none has a reason."""

import pytest
from conftest import compose_config

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


@pytest.mark.parametrize(
    ("sentence", "question", "answer"),
    [
        ("الكعبة المشرفة هي قبلة المسلمين في صلواتهم.", "ما هي الكعبة المشرفة؟", "قبلة"),
        ("نجيب محفوظ (1911 - 2006) هو روائي مصري معروف.", "من هو نجيب محفوظ؟", "روائي"),
        ("تأسست جامعة القاهرة في عام 1908 في الجيزة.", "في أي عام تأسست جامعة القاهرة في الجيزة؟", "1908"),
        ("تقع مدينة فاس في شمال المغرب بين الجبال.", "أين تقع مدينة فاس؟", "في شمال المغرب"),
    ],
)
def test_rules_turn_a_statement_into_its_question(sentence, question, answer):
    (found,) = extractive.exchanges(sentence, "", "short", 3)
    assert found.question == question
    assert answer in found.answer
    assert found.made_by.startswith("extractive:")


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
