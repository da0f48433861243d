"""A wiki is asked as it wants to be: who we are, one thing at a time, patiently, and nothing twice."""

import json
from dataclasses import replace

import pytest
import wiki_server
from conftest import compose_config

from arabic_llm.data.ledger import Ledger
from arabic_llm.errors import ConfigError, DataError
from arabic_llm.synthesis import mediawiki
from arabic_llm.synthesis.articles import Article

TEXTS = {"نهر": "النيل نهر.", "بحر": "البحر كبير.", "جبل": "الجبل عال.", "فراغ": " ", "غائب": None}
CATEGORIES = {"Category:طبيعة": list(TEXTS), "تصنيف:علوم": ["جبل", "نهر"]}
MAXLAG = json.dumps(
    {"error": {"code": "maxlag", "info": "Waiting for a database server: 6 seconds lagged."}}
)


@pytest.fixture
def found(tmp_path):
    """Return a function: the wiki, settings -> its articles, and the ledger."""
    settings = compose_config("task=synthesize").task.mediawiki

    def find(wiki, **changes):
        given = {"api": wiki.url, "contact": "me@example.org", "seconds_between": 0.0, **changes}
        ledger = Ledger("articles")
        return list(mediawiki.articles(replace(settings, **given), tmp_path / "cache", ledger)), ledger

    return find


def test_articles_come_with_their_title_address_revision_and_licence(found):
    with wiki_server.serving(texts=TEXTS, categories=CATEGORIES) as wiki:
        articles, ledger = found(wiki, categories=["طبيعة", "تصنيف:علوم"])
    host = wiki.url.split("/")[2]
    assert articles[0] == Article(
        f"{host}/نهر", "النيل نهر.", "نهر", "https://wiki.example/نهر", "900", "CC BY-SA 4.0"
    )
    assert [one.title for one in articles] == ["نهر", "بحر", "جبل"]
    assert ledger.as_dict()["dropped"] == {"page is missing": 1, "page without text": 1}


def test_it_says_who_asks_one_request_at_a_time_with_titles_in_batches(found):
    with wiki_server.serving(texts=TEXTS, categories=CATEGORIES) as wiki:
        found(wiki, categories=["طبيعة"])
    assert all("me@example.org" in agent and agent.startswith("arabic-llm/") for agent in wiki.agents)
    assert wiki.most_at_once == 1
    assert all(asked["maxlag"] == "5" for asked in wiki.asked)
    assert len(wiki.asked) == 3 + 3  # 5 titles in lists of 2; their texts, 2 an answer
    assert {asked["titles"] for asked in wiki.asked if "titles" in asked} == {"|".join(TEXTS)}


def test_what_it_answered_is_not_asked_again(found):
    with wiki_server.serving(texts=TEXTS, categories=CATEGORIES) as wiki:
        first, _ = found(wiki, search=["ر"])
        num = len(wiki.asked)
        again, _ = found(wiki, search=["ر"])
    assert first == again
    assert [one.title for one in first] == ["نهر", "بحر"]
    assert len(wiki.asked) == num


@pytest.mark.parametrize(
    "answer",
    [
        (200, {"Retry-After": "0"}, MAXLAG.encode()),
        (429, {"Retry-After": "0"}, b"slow down"),
        (503, {"Retry-After": "0"}, b"<html>"),
    ],
)
def test_a_wiki_that_is_busy_is_asked_again_and_at_last_given_up(found, answer):
    with wiki_server.serving(texts=TEXTS, categories=CATEGORIES, first=[answer] * 2) as wiki:
        articles, _ = found(wiki, categories=["تصنيف:علوم"])
        assert len(articles) == 2
    with wiki_server.serving(texts=TEXTS, categories=CATEGORIES, first=[answer] * 9) as wiki:
        with pytest.raises(DataError, match=r"3 times; the same command carries on.*data\.path"):
            found(wiki, categories=["تصنيف:علوم"], max_tries=3)
        assert len(wiki.asked) == 3


def test_an_error_of_the_wiki_is_one_line(found):
    with wiki_server.serving(texts=TEXTS, categories=CATEGORIES) as wiki:
        with pytest.raises(DataError, match=r"invalidcategory: The category name you entered is not valid"):
            found(wiki, categories=["لا شيء"])
        with pytest.raises(DataError, match="no article in these categories"):
            found(wiki, search=["xyz"])
    said = r"answered 404 and no JSON of a wiki.*api\.php"
    with wiki_server.serving(first=[(404, {}, b"<html>")]) as wiki, pytest.raises(DataError, match=said):
        found(wiki, search=["x"])


def test_without_a_network_one_line_says_what_to_do(found):
    with wiki_server.serving() as gone:
        pass
    with pytest.raises(DataError, match=r"no answer \(ConnectError\), 1 times.*task\.articles=data"):
        found(gone, search=["x"], max_tries=1)


def test_nobody_asks_without_a_contact(found):
    with wiki_server.serving() as wiki:
        with pytest.raises(ConfigError, match=r"task\.mediawiki\.contact is not set"):
            found(wiki, contact=None, search=["x"])
        assert wiki.asked == []
    with pytest.raises(ConfigError, match="no e-mail address and no page"):
        compose_config("task=synthesize", "task.mediawiki.contact=me")


def test_no_more_articles_are_asked_for_than_are_wanted(found):
    with wiki_server.serving(texts=TEXTS, categories=CATEGORIES) as wiki:
        articles, _ = found(wiki, categories=["طبيعة"], max_articles=2)
    assert [one.title for one in articles] == ["نهر", "بحر"]
    assert len(wiki.asked) == 2
