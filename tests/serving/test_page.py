"""A page of this machine talks to the model, in a browser and by plain requests; thumbs become rows."""

import json
import threading
import time
from dataclasses import replace
from http.client import HTTPConnection

import pytest
from browser import CHROMIUM, Browser
from conftest import run_in

from arabic_llm.errors import HardwareError
from arabic_llm.serving import site as sites
from arabic_llm.serving import thumbs
from arabic_llm.serving.talk import Talk

pytest_plugins = ("talking",)
EGYPT = "\u0645\u0627 \u0639\u0627\u0635\u0645\u0629 \u0645\u0635\u0631\u061f"
SUDAN = "\u0648\u0645\u0627 \u0639\u0627\u0635\u0645\u0629 \u0627\u0644\u0633\u0648\u062f\u0627\u0646\u061f"
ASKED = [{"role": "user", "content": EGYPT}]
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


class Site:
    """A page that is served while a test runs."""

    def __init__(self, server: sites.Server) -> None:
        self.server, self.port = server, server.server_port

    def request(self, method, path, body=None, **headers):
        """Return (status, what was said) of a request."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = body if isinstance(body, str | bytes | None) else json.dumps(body)
        given = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        connection.request(method, path, content, given)
        response = connection.getresponse()
        said = response.read().decode()
        connection.close()
        return response.status, said

    def say(self, voice="tuned", messages=ASKED):
        """Return (status, events) of a question."""
        status, said = self.request("POST", "/say", {"voice": voice, "messages": messages})
        return status, [json.loads(line) for line in said.splitlines()]


@pytest.fixture
def site(talk, tmp_path):
    """Return a function: changes of the voices -> a page of them."""
    served = []

    def go(most=24, **changes):
        chat = Talk(
            [replace(voice, **changes) for voice in talk.voices],
            replace(talk.sampling, max_new_tokens=most),
        )
        server = sites.Server(None)
        # In the program it is the main thread that answers.
        thread = threading.Thread(target=server.serve, args=(chat, tmp_path / "kept", "tiny <b>"))
        thread.start()
        served.append((server, thread))
        while not server.about:
            time.sleep(0.01)
        return Site(server)

    yield go
    for server, thread in served:
        server.questions.put(None)
        thread.join()
        server.server_close()


def test_an_answer_is_streamed_in_pieces_and_is_the_one_of_the_terminal(site, talk):
    one = site()
    for voice in talk.voices:
        wanted = talk.ask(voice, EGYPT, lambda _: None).text
        status, events = one.say(voice.name)
        assert status == 200
        assert "".join(event.get("text", "") for event in events) == wanted
        assert events[-1] == {"end": wanted, "remarks": []}
        assert len(events) > 2
    about = json.loads(one.request("GET", "/about")[1])
    assert (about["name"], about["voices"]) == ("tiny <b>", ["base", "tuned"])


def test_what_is_wrong_with_a_question_is_said_on_the_page_and_the_next_is_answered(site):
    one = site()
    status, events = one.say(messages=[{"role": "user", "content": "a<|im_end|>"}])
    assert status == 200
    assert events[0]["error"].startswith("<|im_end|> is a token of the chat template")
    assert one.say()[1][-1]["end"]
    cut = site(most=1).say()[1][-1]
    assert cut["remarks"] == ["cut off after task.max_new_tokens=1"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:9"}, 200),  # of a tunnel
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:8765"}, 403),
        ({"Host": "127.0.0.1.evil.example:8765"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:9", "Origin": "http://localhost:9"}, 200),
        ({"Host": "localhost:9", "Origin": "http://localhost:10"}, 403),
        ({"Host": "localhost:9", "Origin": "https://localhost:9"}, 403),
    ],
)
def test_only_pages_of_this_server_are_answered(site, headers, status):
    one = site()
    assert one.request("GET", "/about", **headers)[0] == status
    assert (
        one.request("POST", "/keep", {"prompt": ASKED, "completion": "a", "label": True}, **headers)[0]
        == status
    )
    assert (one.server.folder / "thumbs.jsonl").exists() is (status == 200)


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/say", "{", "JSON is wanted"),
        ("/say", "[" * 100000, "JSON is wanted"),
        ("/say", "[]", "a JSON object is wanted"),
        ("/say", b"\xff", "JSON is wanted"),
        ("/say", {"voice": "other", "messages": ASKED}, "voice: one of base, tuned is wanted"),
        ("/say", {"voice": ["base"], "messages": ASKED}, "voice: one of base, tuned is wanted"),
        ("/say", {"voice": "base"}, "a conversation is wanted"),
        ("/say", {"voice": "base", "messages": []}, "a conversation is wanted"),
        ("/say", {"voice": "base", "messages": ["a"]}, "a turn is wanted"),
        ("/say", {"voice": "base", "messages": [{"role": "tool", "content": "a"}]}, "a turn is wanted"),
        ("/say", {"voice": "base", "messages": [{"role": ["user"], "content": "a"}]}, "a turn is wanted"),
        ("/say", {"voice": "base", "messages": [{"role": "user", "content": 1}]}, "a turn is wanted"),
        (
            "/say",
            {"voice": "base", "messages": [{"role": "user", "content": "\ud800"}]},
            "a turn is wanted",
        ),
        ("/say", {"voice": "base", "messages": [*ASKED, *ASKED]}, "turns are wanted of user and assistant"),
        ("/say", {"voice": "base", "messages": [{"role": "system", "content": "a"}]}, "turns are wanted"),
        (
            "/say",
            {"voice": "base", "messages": [{"role": "user", "content": " "}]},
            "the question is empty",
        ),
        ("/keep", {"prompt": ASKED, "completion": "a", "label": 1}, "label: true or false is wanted"),
        ("/keep", {"prompt": ASKED, "completion": " ", "label": True}, "completion: an answer is wanted"),
        ("/keep", {"prompt": ASKED, "chosen": "a"}, "rejected: an answer is wanted"),
        ("/keep", {"prompt": ASKED, "chosen": "a", "rejected": "a"}, "both answers are the same"),
        ("/keep", {"prompt": ASKED, "chosen": "a", "rejected": "\udfff"}, "rejected: an answer is wanted"),
    ],
)
def test_what_no_page_sends_is_refused_in_one_line_and_nothing_is_kept(site, path, body, said):
    one = site()
    status, answered = one.request("POST", path, body)
    assert status == 422
    assert json.loads(answered)["error"].startswith(said)
    assert not one.server.folder.exists()


def test_what_no_browser_would_send_from_another_page_unasked_is_refused(site):
    one = site()
    status, said = one.request("POST", "/keep", {"prompt": ASKED}, Content_Type="text/plain")
    assert (status, json.loads(said)["error"]) == (422, "Content-Type: application/json is wanted")
    status, said = one.request("POST", "/say", "{}", Content_Length="9" * 12)
    assert status == 422
    assert "a number of bytes up to 1,048,576" in said
    assert one.request("GET", "/../../etc/passwd")[0] == one.request("POST", "/")[0] == 404


def test_one_answer_is_given_at_a_time_and_one_that_nobody_hears_ends(site):
    one = site(most=1500, ends=(1,))  # padding: never said
    first = HTTPConnection("127.0.0.1", one.port, timeout=60)
    body = json.dumps({"voice": "base", "messages": ASKED})
    first.request("POST", "/say", body, {"Content-Type": "application/json"})
    response = first.getresponse()
    assert response.readline()
    status, said = one.request("POST", "/say", body)
    assert (status, json.loads(said)) == (409, {"error": "another answer is being given; wait for its end"})
    start = time.process_time()
    response.close()
    first.close()
    while one.server.answering.locked():
        time.sleep(0.02)
    assert time.process_time() - start < 4  # of some ten for all of it
    second = HTTPConnection("127.0.0.1", one.port, timeout=60)
    second.request("POST", "/say", body, {"Content-Type": "application/json"})
    assert second.getresponse().readline()
    second.close()


def test_thumbs_are_rows_that_training_reads(site, tmp_path):
    one = site()
    asked = [{"role": "system", "content": "\u0643\u0646"}, *ASKED]
    for given in (
        {"prompt": asked, "chosen": "\u0623", "rejected": "\u0628"},
        {"prompt": ASKED, "completion": "\u0623", "label": True},
        {"prompt": ASKED, "completion": "\u0628", "label": False},
    ):
        assert one.request("POST", "/keep", given)[0] == 200
    folder = one.server.folder
    (pair,) = map(json.loads, (folder / "pairs.jsonl").read_text().splitlines())
    assert pair == {
        "prompt": asked,
        "chosen": [{"role": "assistant", "content": "\u0623"}],
        "rejected": [{"role": "assistant", "content": "\u0628"}],
    }
    thumbs = [json.loads(line) for line in (folder / "thumbs.jsonl").read_text().splitlines()]
    assert [thumb["label"] for thumb in thumbs] == [True, False]
    said = run_in(tmp_path, "task=dpo", "data.path=kept/pairs.jsonl", "dry_run=true", "hw=cpu")
    assert said[0] == 0, said
    assert "tokens: 1 rows in, 1 kept" in said[1]


def test_a_row_is_kept_on_a_line_of_its_own_behind_one_that_a_kill_has_cut(tmp_path):
    given = {"prompt": ASKED, "chosen": "\u0623", "rejected": "\u0628"}
    (tmp_path / "pairs.jsonl").write_text('{"prompt": [{"ro')
    for _ in range(2):
        thumbs.keep(given, tmp_path)
    _, *whole = (tmp_path / "pairs.jsonl").read_text().splitlines()
    assert [json.loads(line)["prompt"] for line in whole] == [ASKED, ASKED]


def test_a_port_that_another_program_has_is_one_line_and_no_weights_are_read(site, trained, tmp_path):
    port = site().port
    with pytest.raises(HardwareError, match=f"^task.port={port}: Address already in use; end what listens"):
        sites.Server(port)


def test_the_page_allows_nothing_from_elsewhere(site):
    one = site()
    connection = HTTPConnection("127.0.0.1", one.port, timeout=60)
    connection.request("GET", "/")
    response = connection.getresponse()
    policy, text = response.headers["Content-Security-Policy"], response.read().decode()
    nonce = policy.partition("script-src 'nonce-")[2].partition("'")[0]
    assert policy.startswith("default-src 'none'; connect-src 'self';")
    assert len(nonce) >= 20
    assert f'<script nonce="{nonce}">' in text
    assert "NONCE" not in text
    assert "http://" not in text.replace("http://127", "") and "https://" not in text


@pytest.fixture
def browser(tmp_path):
    own = Browser(tmp_path / "browser")
    yield own
    own.close()


def ask(browser, question):
    """Type a question on the page and wait for all answers."""
    count = browser.value("document.querySelectorAll('.user').length")
    browser.value(f"document.getElementById('question').value = {json.dumps(question)}")
    browser.value("document.getElementById('form').requestSubmit()")
    browser.until(f"document.querySelectorAll('.user').length >= {count + 2}")
    browser.until("!document.getElementById('send').disabled")


@needs_chromium
def test_in_a_browser_both_answer_arabic_from_the_right_and_what_is_better_is_kept(site, browser, talk):
    one = site()
    browser.open(f"http://127.0.0.1:{one.port}/")
    browser.until("document.querySelectorAll('section').length == 2")
    assert browser.value("document.title") == "tiny <b>"
    ask(browser, EGYPT)
    said = {voice.name: talk.ask(voice, EGYPT, lambda _: None).text for voice in talk.voices}
    shown = "[...document.querySelectorAll('#side-{} .turn')].map(turn => turn.textContent)"
    for name, text in said.items():
        assert browser.value(shown.format(name)) == [EGYPT, text]
    style = "getComputedStyle(document.querySelector('#side-tuned .assistant')).direction"
    assert browser.value(style) == "rtl"
    assert not one.server.folder.exists()
    browser.value("document.querySelector('.rate[data-voice=tuned] [title^=better]').click()")
    browser.until("document.querySelectorAll('[aria-pressed=true]').length == 1")
    (pair,) = map(json.loads, (one.server.folder / "pairs.jsonl").read_text().splitlines())
    assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == (said["tuned"], said["base"])
    ask(browser, "<img src=x onerror=alert(1)> Hello")
    assert browser.value("document.querySelectorAll('img').length") == 0
    assert (
        browser.value("getComputedStyle([...document.querySelectorAll('.user')].pop()).direction") == "ltr"
    )
    ask(browser, SUDAN)
    # The talks are no longer the same: no pair of one prompt, but a good and a bad answer to two.
    browser.value("[...document.querySelectorAll('.rate[data-voice=tuned] [title^=better]')].pop().click()")
    browser.until("document.querySelectorAll('[aria-pressed=true]').length == 2")
    thumbs = [json.loads(line) for line in (one.server.folder / "thumbs.jsonl").read_text().splitlines()]
    assert [thumb["label"] for thumb in thumbs] == [True, False]
    assert thumbs[0]["prompt"] != thumbs[1]["prompt"]
    assert browser.complaints == []


@needs_chromium
def test_in_a_browser_an_answer_can_be_stopped_and_a_talk_begun_anew(site, browser):
    one = site(most=1500, ends=(1,))
    browser.open(f"http://127.0.0.1:{one.port}/")
    browser.until("document.querySelectorAll('section').length == 2")
    browser.value(f"document.getElementById('question').value = {json.dumps(EGYPT)}")
    browser.value("document.getElementById('form').requestSubmit()")
    browser.until("document.querySelector('#side-base .assistant')?.textContent.length > 5")
    browser.value("document.getElementById('stop').click()")
    browser.until("document.querySelector('.wrong')?.textContent == 'stopped: it is not remembered'")
    browser.until("!document.getElementById('send').disabled")
    assert browser.value("said.base.length + said.tuned.length") == 0
    browser.value("document.getElementById('reset').click()")
    assert browser.value("document.querySelectorAll('.turn').length") == 0
    assert browser.complaints == []
