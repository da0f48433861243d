"""task=synthesize as a whole: a data set like any other; killed and carried on, the same rows."""

import contextlib
import json
import os
import random
import shutil
import signal
import time
from importlib.util import find_spec

import pytest
from conftest import compose_config, finished, run_in
from generator_server import serving

from arabic_llm import files
from arabic_llm.data.preparing import sources
from arabic_llm.synthesis import asking

needs_datatrove = pytest.mark.skipif(find_spec("datatrove") is None, reason="datatrove is not installed")
NOUNS = "النهر الجبل المسجد السوق المتحف القصر الحصن الميناء الوادي البستان".split()  # noqa: SIM905
PLACES = "دمشق بغداد فاس تونس صنعاء مسقط حلب الكوفة سبتة غرناطة".split()  # noqa: SIM905
COMMON = (
    "task.server.wait_seconds=0.01",
    "task.server.model=m",
    "task.backend=openai",
    "task.sampling.max_tries=2",
    "task.server.in_flight=4",
)


def articles(folder, count=24):
    """Write articles of two paragraphs; later ones are longer."""
    rows = []
    for number in range(count):
        noun, place = NOUNS[number % 10], PLACES[number // 10 % 10]
        first = (
            f"تقع مدينة {place} رقم {number} في شمال البلاد قرب {noun} القديم. {noun} القديم في {place} هو"
            f" بناء مشهور زاره {1000 + number} رجل من أهلها. تأسست مدينة {place} الحديثة في عام"
            f" {1500 + number} على يد أميرها. سماها أهلها «مدينة {noun}»{' وأحبوها كثيرا' * (number % 5)}."
        )
        rows.append(
            {"title": f"{place} {number}", "text": f"{first}\n\n== مراجع ==\n{first}", "revid": number}
        )
    files.write_json_lines(folder / "wiki.jsonl", rows)


def rows_of(folder):
    found = [files.read_json_lines(folder / f"{split}.jsonl") for split in ("train", "dev", "test")]
    return {row["id"]: row for split in found for row in split}


def run(folder, *settings):
    articles(folder)
    return finished(
        folder, "task=synthesize", "data=local", "data.path=wiki.jsonl", "data.license=cc0", *settings
    )


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    """Return what a run with rules said, and its directory."""
    return run(tmp_path_factory.mktemp("extracted"))


def test_every_count_closes_and_both_shares_are_told(extracted):
    said, folder = extracted
    assert "paragraphs: short 18 (75.0%, asked 75.0%), long 6 (25.0%, asked 25.0%)" in said
    assert "wiki.jsonl: read as raw text (text)\n" in said  # title and revid are read too
    assert "train on them: python -m arabic_llm.run tracking=none data.path=mine\n" in said
    ledgers = files.read_json(folder / "ledger.json")
    assert [one["stage"] for one in ledgers] == [
        "articles",
        "paragraphs",
        "selected",
        "made",
        "checked",
        "mine",
    ]
    for one in ledgers:
        assert one["rows_in"] == one["kept"] + sum(one["dropped"].values())
    assert ledgers[1]["dropped"] == {"section without prose": 24, "heading": 24}
    kinds = [len(row["messages"]) // 2 for row in rows_of(folder).values()]
    assert set(kinds) == {1, 3}


TROVE = ("data.engine=datatrove", "hw.num_processes=2", "hw.executor.num_tasks=3")


@needs_datatrove
def test_tasks_of_datatrove_make_the_same_rows_of_parts_of_a_stage(extracted, tmp_path):
    said, folder = run(tmp_path, *TROVE)
    for stage in ("paragraphs", "made", "checked"):
        assert f"datatrove: {stage} of 3 parts by its local executor" in said
    assert rows_of(folder) == rows_of(extracted[1])
    made, other = (files.read_json(place / "ledger.json") for place in (folder, extracted[1]))
    assert made[:-1] == other[:-1]
    assert made[-1]["dropped"] == other[-1]["dropped"]  # its examples name the folder
    assert not list(folder.rglob("*.parts"))


def test_every_row_says_where_it_is_from_and_that_rules_made_it(extracted):
    _, folder = extracted
    for name, row in rows_of(folder).items():
        origin = row["origin"]
        number = int(origin["revision"])
        assert name.startswith(f"{origin['paragraph']}/")
        assert origin["paragraph"] == f"wiki.jsonl:{number + 1}#1"
        assert origin["title"].endswith(f" {number}")
        assert origin["license"] == "cc0"
        assert origin["backend"] == "extractive"
        assert all(one.startswith("extractive:") for one in origin["made_by"])


def test_it_is_a_data_set_like_any_other(extracted, tmp_path):
    _, folder = extracted
    config = compose_config("data=local", f"data.path={folder}")
    found = sources.load(config.data, tmp_path, 17)
    assert {row.id for row in [*found.train, *found.dev, *found.test]} == set(rows_of(folder))
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| source | instruction tokens | answer tokens | total |" in card
    assert "How these rows were made" in card
    (folder / "train.jsonl").write_text("{}", encoding="utf-8")
    from arabic_llm.errors import DataError

    with pytest.raises(DataError, match=r"not what task=prepare wrote"):
        sources.load(config.data, tmp_path, 17)


def test_a_server_makes_the_rows_and_no_secret_is_in_any_file(tmp_path, monkeypatch):
    canary = "sk-canary-7f3a9"
    monkeypatch.setenv(asking.KEY, canary)
    bad = {
        " 3\n": ["429", "ok"],
        " 4\n": ["500"],
        " 5\n": ["english"],
        " 6\n": ["cut", "ok"],
        " 7\n": ["refuse"],
    }
    with serving(script=bad) as server:
        said, folder = run(tmp_path, *COMMON, f"task.server.endpoint={server.url}")
        assert server.keys[0] == f"Bearer {canary}"
        num = len(server.asked)
        again, other = run_in(
            tmp_path,
            *("task=synthesize", "data=local", "data.path=wiki.jsonl", "hydra.run.dir=other", *COMMON),
            f"task.server.endpoint={server.url}",
        )
        assert again == 0, other
        assert len(server.asked) == num + 2  # the one that failed to the last
    made = next(one for one in files.read_json(folder / "ledger.json") if one["stage"] == "made")
    assert made["dropped"] == {"model refused": 1, "reply in another language": 1, "server answered 500": 1}
    assert "tried again: " in said
    assert canary not in said + other
    holds = [p for p in tmp_path.rglob("*") if p.is_file() and canary.encode() in p.read_bytes()]
    assert holds == []
    row = next(iter(rows_of(folder).values()))
    assert row["origin"]["prompt"].startswith(("pairs.ar@", "conversation.ar@"))
    assert row["origin"]["model"] == "m"


def test_a_key_in_an_address_is_refused_and_not_said(tmp_path):
    status, said = run_in(
        tmp_path, "task=synthesize", "task.server.endpoint=http://me:sk-canary@x/v1", "task.server.model=m"
    )
    assert status == 2
    assert "ARABIC_LLM_SYNTHESIS_KEY" in said
    assert "canary" not in said
    assert not any(
        "canary" in path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()
    )


def test_the_page_shows_rows_right_to_left_and_its_marks_are_read_back(extracted, tmp_path):
    _, folder = extracted
    page = (folder / "review.html").read_text(encoding="utf-8")
    assert '<html lang="ar" dir="rtl">' in page
    known = rows_of_made(page)
    assert 0 < len(known) <= 50
    marks = {"marks": {known[0]: "drop", known[1]: "keep"}}
    (tmp_path / "marks.json").write_text(json.dumps(marks), encoding="utf-8")
    said, again = run(tmp_path, "task.marks=marks.json", "task.review=0")
    assert "1 dropped by a reader" in said
    assert known[0] not in rows_of(again)
    assert known[1] in rows_of(again)
    assert not (again / "review.html").exists()


def rows_of_made(page):
    return [part.split('"')[0] for part in page.split('data-id="')[1:]]


KILLS = 3


def test_killed_and_typed_again_it_is_the_same_rows_and_what_was_answered_is_not_asked_again(
    nursery, tmp_path
):
    """Campaigns of 50 kills are typed by hand: docs/synthesis.md."""
    kills = int(os.environ.get("ARABIC_LLM_KILLS", KILLS))
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        articles(tmp_path / name)
    command = ("task=synthesize", "data=local", "data.path=wiki.jsonl", "tracking=none", *COMMON)
    draw, killed = random.Random(17), 0
    with serving(wait=0.05) as server:
        command = (*command, f"task.server.endpoint={server.url}")
        nursery.finish(tmp_path / "whole", command)
        assert len(server.asked) == 24
        while True:
            before, in_this_life = len(server.asked), 0
            while killed < kills and kill_at(nursery, tmp_path / "killed", command, server, draw):
                killed, in_this_life = killed + 1, in_this_life + 1
            nursery.finish(tmp_path / "killed", command)
            check(*(tmp_path / name / "data_proc" / "wiki_synthetic" for name in ("whole", "killed")))
            # What was under way at a kill has an answer that nobody heard.
            assert 24 <= len(server.asked) - before <= 24 + 4 * in_this_life
            if killed >= kills:
                return
            shutil.rmtree(tmp_path / "killed" / "data_proc")
            shutil.rmtree(tmp_path / "killed" / "outputs")


def kill_at(nursery, folder, command, server, draw):
    """Start the program and kill it some requests or some moments on; return whether it was alive."""
    pid, wanted = nursery.start(folder, command), len(server.asked) + draw.randint(1, 9)
    end = time.monotonic() + draw.random() * 4
    while len(server.asked) < wanted and time.monotonic() < end:
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):  # it was done first
        os.kill(pid, signal.SIGKILL)
    return nursery.wait() != 0


def check(one, other):
    same = ("train.jsonl", "dev.jsonl", "test.jsonl", "ledger.json", "review.html")
    assert [(one / name).read_bytes() for name in same] == [(other / name).read_bytes() for name in same]
    assert not (other / ".work").exists()


@needs_datatrove
def test_parts_that_lie_whole_are_not_made_again_and_damaged_ones_are(tmp_path, monkeypatch):
    from arabic_llm.data.ledger import Ledger
    from arabic_llm.synthesis import spread
    from arabic_llm.synthesis.stage_files import MadeStage

    lines = "".join(json.dumps({"n": number, "x": "س" * (number % 7)}) + "\n" for number in range(40))
    (tmp_path / "before.jsonl").write_text(lines, encoding="utf-8")
    before = MadeStage(tmp_path / "before.jsonl", Ledger("before"), {})
    hw = compose_config("hw=cpu", "hw.num_processes=2", "hw.executor.num_tasks=5").hw
    parts = spread._stretches(before.path, tmp_path, hw)
    assert [one["n"] for part in parts for one in part.read()] == [*range(40)]
    step = spread.MakeStretches(odd, "odd", parts)
    (tmp_path / "odd.parts").mkdir()
    parts = spread._stretches(before.path, tmp_path / "odd.parts", hw)
    for part in parts[:3]:
        step.do(part)
    damaged = parts[1].stem.with_suffix(".jsonl")
    damaged.write_bytes(damaged.read_bytes() + b"{}\n")
    asked = []
    monkeypatch.setattr(spread, "carry_out", lambda step, *_: asked.extend(map(step.do, step.parts)))
    ledger = Ledger("odd")
    made = list(spread.made(before, "odd", odd, ledger, tmp_path, hw))
    assert len(asked) == 3  # one damaged, two never made
    assert [one["n"] for one in made] == [*range(1, 40, 2)]
    assert (ledger.rows_in, ledger.kept, ledger.dropped["even"]) == (40, 20, 20)
    assert ledger.examples == {"even": ["0", "2", "4", "6", "8"]}


def odd(values, ledger):
    if values["n"] % 2:
        ledger.keep()
        yield values
    else:
        ledger.drop("even", str(values["n"]))
