"""Each wrong item stands under one kind, for a reason that can be read; what the judge says is marked."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from conftest import DATA, compose_config, needs_data
from judge_server import serving
from test_harness import judge as evaluate

from arabic_llm.analysis import intervals, mistakes, statistics
from arabic_llm.analysis.scorers import SCORERS
from arabic_llm.analysis.scores import Item
from arabic_llm.analysis.wrong_item import Case, words
from arabic_llm.config.suite import JudgeConfig
from arabic_llm.errors import ConfigError
from arabic_llm.evaluation import harness, judge, suites
from arabic_llm.evaluation.answers import Answers
from arabic_llm.evaluation.chat_lm import Limits
from arabic_llm.models import bases, load, placement

NILE = "النيل أطول أنهار إفريقيا، ويمر بمدينة القاهرة ومدينة الخرطوم، وطوله 6650 كيلومترا."


def generated(question, target, answer, context="", is_cut=False):
    scores = {"exact_match": SCORERS["exact_match"](answer, target)}
    return Item("task", answer, question, target, answer, scores, context=context, is_cut=is_cut)


def chosen(
    number=0, *, said, right, options=("نعم", "لا", "ربما", "أبدا"), lacked=(0.0, 3, 3, 3), asked=""
):
    order = sorted(range(len(options)), key=lambda index: index != said)  # the one said lacked nothing
    by_place = dict(zip(order, lacked, strict=False))
    return Item(
        *("choices", str(number), asked, "ABCD"[right], "ABCD"[said], {"acc": float(said == right)}),
        num_choices=len(options),
        target_index=right,
        answer_index=said,
        options=options,
        lacked=tuple(by_place[index] for index in range(len(options))),
    )


def kind_of(item):
    found = mistakes.sort([item]).mistakes
    return found[0].kind if found else None


@pytest.mark.parametrize(
    ("kind", "wrong", "kind_beside", "beside"),
    [
        ("empty", ("ما عاصمة مصر؟", "القاهرة", " ؟!"), "other", ("ما عاصمة مصر؟", "القاهرة", "دمشق")),
        ("empty", ("中国的首都是哪里?", "北京", "。"), "other", ("中国的首都是哪里?", "北京", "上海")),
        ("broken format", ("كم ٧ + ٨؟", "١٥", "كتاب"), "other", ("كم ٧ + ٨؟", "١٥", "١٦")),
        ("broken format", ("كم ٧ + ٨؟", "15", "بيت"), "other", ("كم ٧ + ٨؟", "15", "ستة عشر")),
        ("broken format", ("如果有3个苹果?", "3", "苹果树"), "other", ("如果有苹果?", "3", "三十个")),
        ("broken format", ("Which letter?", "B", "the second"), "other", ("Which letter?", "B", "C")),
        (
            *("broken format", ("ما عاصمة مصر؟", "القاهرة", "<|im_start|>القاهرة")),
            *("near miss", ("ما عاصمة مصر؟", "القاهرة", "«القاهرة الكبرى»")),
        ),
        (
            *("broken format", ("How many apples?", "2 + 3 = 5\n#### 5", "[invalid]")),
            *("other", ("How many apples?", "2 + 3 = 5\n#### 5", "6")),
        ),
        (
            *("wrong language", ("ما عاصمة مصر؟", "القاهرة", "The capital is Cairo")),
            *("other", ("ما عاصمة مصر؟", "القاهرة", "مدينة Alexandria")),
        ),
        (
            "wrong language",
            ("首都是?", "北京", "Beijing"),
            "other",
            ("首都是?", "北京", "中国的上海市 Shanghai"),
        ),
        (
            *("wrong language", ("Name the river", "the Nile river", "نهر دجلة")),
            *("other", ("ما رمز النحاس؟", "Cu", "نحاس أحمر")),  # a symbol: the question is Arabic
        ),
        (
            *("repetition", ("ما عاصمة مصر؟", "القاهرة", "دمشق دمشق دمشق")),
            *("other", ("ما عاصمة مصر؟", "القاهرة", "دمشق ثم دمشق")),
        ),
        ("repetition", ("首都是?", "北京", "上海上海上海"), "other", ("首都是?", "北京", "上海上海")),
        (
            "repetition",
            ("Sum?", "many", "10 and 10 and 10 and 10 and 10"),
            "other",
            ("Sum?", "7", "1000000"),
        ),
        (
            *("near miss", ("من؟", "العميد عمر البشير", "عمر البشير")),
            *("other", ("أين؟", "جامعة القاهرة", "جامعة دمشق")),  # half of the words
        ),
        ("near miss", ("كم؟", "5", "خمسة"), "other", ("كم؟", "5", "ستة")),
        ("near miss", ("How long?", "12", "12.0 km"), "other", ("How long?", "1990", "1991")),
        (
            "near miss",
            ("متى؟", "في عام 1990", "عام 1990 تقريبا"),
            "other",
            ("متى؟", "في عام 1990", "في عام 1991"),
        ),
        ("near miss", ("من؟", "مصطفى", "المصطفي"), "other", ("من؟", "مصطفى", "محمود")),
        (
            *(
                "instruction not followed",
                ("ما عاصمة مصر؟", "القاهرة", "عاصمتها مدينة كبيرة اسمها القاهرة"),
            ),
            *("near miss", ("ما عاصمة مصر؟", "القاهرة", "مدينة القاهرة")),
        ),
        (
            *("instruction not followed", ("ما أطول نهر؟", "النيل", "ما أطول نهر؟ دجلة")),
            *("other", ("ما أطول نهر؟", "النيل", "نهر دجلة")),
        ),
        (
            *(
                "instruction not followed",
                ("Who?", "Newton", "it was a man who lived a long time ago there"),
            ),
            *("other", ("Who?", "Newton", "it was a man from Pisa")),
        ),
        (
            *("cut", ("ما عاصمة مصر؟", "القاهرة", "تقع في")),
            *("other", ("ما عاصمة مصر؟", "القاهرة", "تقع هناك")),
        ),
        ("cut", ("为什么?", "因为下雨", "天气很好，"), "other", ("为什么?", "因为下雨", "天气很好。")),
        (
            "cut",
            ("Why?", "It rained all day", "They and the"),
            "other",
            ("Why?", "It rained", "They slept."),
        ),
        (
            *("entity confused", ("أي مدينة؟", "القاهرة", "الخرطوم", NILE)),
            *("unsupported by the context", ("أي مدينة؟", "القاهرة", "دمشق", NILE)),
        ),
        (
            "entity confused",
            ("ما عملة الهند؟", "الروبية", "الهند"),
            "other",
            ("ما عملة الهند؟", "الروبية", "هندوسي"),
        ),
        (
            *("entity confused", ("哪座城市?", "开罗", "喀土穆", "尼罗河流经开罗和喀土穆。")),
            *("unsupported by the context", ("哪座城市?", "开罗", "巴黎", "尼罗河流经开罗和喀土穆。")),
        ),
        (
            *("unsupported by the context", ("ما طوله؟", "طويل جدا", "قصير للغاية", NILE)),
            *("other", ("ما طوله؟", "طويل جدا", "أنهار كيلومترا إفريقيا", NILE)),  # its words, not in a row
        ),
    ],
)
def test_a_mistake_is_of_its_kind_and_its_neighbour_is_not(kind, wrong, kind_beside, beside):
    assert kind_of(generated(*wrong)) == kind
    assert kind_of(generated(*beside)) == kind_beside


def test_an_answer_is_cut_where_the_limit_ended_it():
    assert kind_of(generated("ما؟", "القاهرة", "تقع هناك", is_cut=True)) == "cut"
    assert kind_of(generated("How many?", "#### 5", "[invalid]", is_cut=True)) == "cut"


def test_a_right_answer_is_no_mistake():
    assert kind_of(generated("ما عاصمة مصر؟", "القاهرة", "القاهره.")) is None


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        ("near miss", chosen(said=0, right=1, lacked=(0.0, 0.69, 3.0, 3.0))),
        ("other", chosen(said=0, right=1, lacked=(0.0, 0.70, 3.0, 3.0))),  # ln 2 = 0.693
        ("undecided", chosen(said=0, right=1, lacked=(0.0, 0.2, 0.1, 0.69))),
        (
            "near miss",
            chosen(said=0, right=1, options=("في شمال مصر العليا", "في شمال مصر السفلى", "هنا", "لا")),
        ),
        ("entity confused", chosen(said=0, right=1, options=("الهند", "الروبية"), asked="ما عملة الهند؟")),
        ("other", chosen(said=0, right=1, options=("الهند", "مصر"), asked="الهند أم مصر؟")),
        (None, chosen(said=1, right=1)),
    ],
)
def test_choices_have_kinds_of_their_own(kind, item):
    assert kind_of(item) == kind


def test_one_answer_for_all_is_one_given_to_most_items_where_it_is_wrong():
    rights = [number % 4 for number in range(40)]
    always = [chosen(n, said=2, right=right) for n, right in enumerate(rights)]
    assert Counter(m.kind for m in mistakes.sort(always).mistakes) == {"one answer for all": 30}
    # half of the thirty items where it is wrong: not most of them
    wrong = [n for n, right in enumerate(rights) if right != 2]
    half = [chosen(n, said=right if n in wrong[::2] else 2, right=right) for n, right in enumerate(rights)]
    assert Counter(m.kind for m in mistakes.sort(half).mistakes) == {"other": 15}


def test_what_older_files_do_not_know_is_not_guessed():
    old = replace(chosen(said=0, right=1), options=(), lacked=())
    assert kind_of(old) == "other"
    assert Case(old).answer == "A"


def test_words_are_read_without_what_arabic_writes_onto_them():
    assert words("وبالقاهرةِ، 北京 and كتاب") == ("قاهره", "北", "京", "and", "تاب")


def test_items_are_right_ones_and_mistakes_of_every_kind():
    items = [generated("ما؟", "القاهرة", said) for said in ("القاهرة", "دمشق", "")]
    found = mistakes.sort(items)
    assert found.counts(lambda item: item.task) == {"task": (3, Counter({"other": 1, "empty": 1}))}
    with pytest.raises(ValueError, match="2 wrong items, 1 mistakes: not the same items"):
        mistakes.SortedMistakes(items, found.mistakes[:1])


def test_shares_before_and_after_are_of_the_same_items():
    before = [generated("ما؟", "القاهرة", f"{'' if n < 30 else 'دمشق'}") for n in range(40)]
    after = [generated("ما؟", "القاهرة", "دمشق" if n < 35 else "القاهرة") for n in range(40)]
    base, tuned = (
        mistakes.sort([replace(item, id=str(n)) for n, item in enumerate(side)]) for side in (before, after)
    )
    empty, other = mistakes.changes(base, tuned, seed=17)
    assert (empty.label, empty.n, empty.base, empty.tuned, empty.verdict) == (
        "empty",
        40,
        0.75,
        0.0,
        "fewer",
    )
    assert (other.label, other.base, other.tuned, other.verdict) == ("other", 0.25, 0.875, "more")
    indicator = np.array([1.0] * 30 + [0.0] * 10)
    assert (empty.low, empty.high) == intervals.tango(0, 30, 40)
    assert empty.holm_p == pytest.approx(2 * statistics.sign_test(indicator, np.zeros(40)))
    same = mistakes.changes(base, base, seed=17)[0]
    assert (same.verdict, same.note, empty.note) == ("within noise", "no item changed", "")
    assert (same.low, same.high) == intervals.tango(0, 0, 40)


def test_each_kind_is_explained_to_readers_and_to_a_judge():
    assert list(mistakes.explained()) == list(mistakes.KINDS)
    assert all(mistakes.explained().values())


@needs_data
@pytest.mark.parametrize("suite", ["sample", "generation"])
def test_every_wrong_item_of_a_real_run_is_of_one_kind(tiny_codec, suite):
    evaluation, _, _ = evaluate(suite, tiny_codec, "suite.allow_missing=true", root=DATA, limit=12)
    found = mistakes.sort(evaluation.items)
    assert {m.kind for m in found.mistakes} <= set(mistakes.KINDS)
    assert len(found.mistakes) == sum(not item.is_right for item in evaluation.items) > 0
    counts = found.counts(lambda item: item.task)
    assert sum(kinds.total() for _, kinds in counts.values()) == len(found.mistakes)
    for item in evaluation.items:
        assert bool(item.context) == (item.task == "arcd")
        assert not item.num_choices or item.lacked[item.answer_index] == 0.0
        assert not item.num_choices or item.options[item.target_index] == item.target


def test_the_limit_of_tokens_is_seen_where_it_ended_an_answer(tiny_codec, tmp_path):
    config = compose_config("suite=sample", "hw=cpu")
    base = bases.locate(config.model, None)
    model = load.base_model(config.model, base, config.adapter, placement.resolve(config.hw))
    (short,) = (e for e in suites.load(config.suite, tmp_path) if e.name == "sample_short")
    cut = {}
    for limit in (3, 24):
        short.leaves["sample_short"].set_config("generation_kwargs", {"max_gen_toks": limit}, update=True)
        evaluation = harness.evaluate(model, tiny_codec, [short], Limits(16, 2048, 16), ({}, {}))
        cut[limit] = {item.id: item.is_cut for item in evaluation.items}
        sizes = {item.id: len(tiny_codec.tokenizer(item.answer)["input_ids"]) for item in evaluation.items}
        assert cut[limit] == {name: size >= limit - 1 for name, size in sizes.items()}
    assert sum(cut[3].values()) > sum(cut[24].values()) == 0


@needs_data
def test_letters_come_with_their_words_and_their_school_level(tiny_codec):
    evaluation, _, _ = evaluate("school_exams", tiny_codec, root=DATA, limit=1)
    by_task = {item.task: item for item in evaluation.items}
    item = by_task["arabicmmlu_biology_high_school"]
    assert (item.level, item.target in "ABCDE") == ("High School", True)
    assert len(item.options) == item.num_choices
    assert all(len(item.options) == 4 for task, item in by_task.items() if task.startswith("aexams"))


def three():
    """Return two mistakes that no check explains, and one that a check does."""
    return mistakes.sort([generated("ما؟", "القاهرة", said) for said in ("دمشق", "بيروت", "")])


def test_the_judge_is_asked_only_what_no_check_explains_and_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(judge.KEY, "secret")
    with serving() as server:
        settings = JudgeConfig(server.url, "qwen")
        kept = tmp_path / "judge.jsonl"
        found = judge.ask(three(), settings, Answers(kept))
        assert [m.label for m in found.mistakes] == [*["near miss (judged by qwen)"] * 2, "empty"]
        assert found.mistakes[0].reason == "A city of the same country."
        assert mistakes.labels(found) == ["empty", "near miss (judged by qwen)"]
        assert server.keys == ["Bearer secret"] * 2
        assert all((body["temperature"], body["model"]) == (0, "qwen") for body in server.asked)
        assert "Right answer: القاهرة" in server.asked[0]["messages"][0]["content"]
        assert judge.ask(three(), settings, Answers(kept)) == found  # asked again: no request
        assert len(server.asked) == 2
        judge.ask(three(), JudgeConfig(server.url, "llama"), Answers(kept))  # another judge is asked anew
        assert len(server.asked) == 4
    assert "secret" not in kept.read_text()


def test_a_judge_that_fails_keeps_its_answers_and_is_asked_the_rest(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(judge, "_AT_ONCE", 1)
    kept = tmp_path / "judge.jsonl"
    with serving() as server:
        settings = JudgeConfig(server.url, "qwen")
        server.after = 1
        found = judge.ask(three(), settings, Answers(kept))
        assert [m.kind for m in found.mistakes] == ["near miss", "other", "empty"]
        (line,) = caplog.messages
        assert line == (
            f"judge.endpoint={server.url}: answered 500 Internal Server Error; 1 mistakes stay 'other':"
            " resume=false asks for them again"
        )
        server.after = 10**9
        found = judge.ask(three(), settings, Answers(kept))
        assert [m.kind for m in found.mistakes] == ["near miss", "near miss", "empty"]
        assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("status", "reply", "path", "said"),
    [
        (401, "", "", "answered 401 Unauthorized; set ARABIC_LLM_JUDGE_KEY in the environment"),
        (200, "", "/v2", "answered 404 Not Found"),
    ],
)
def test_a_refusal_says_what_to_do(caplog, status, reply, path, said):
    with serving() as server:
        server.status, server.reply = status, reply
        found = judge.ask(three(), JudgeConfig(server.url + path, "qwen"), Answers())
    assert [m.kind for m in found.mistakes] == ["other", "other", "empty"]
    assert said in caplog.messages[0]


def test_a_server_that_is_no_judge_is_named(caplog):
    with serving() as server:
        server.body = b"<html>Welcome</html>"
        found = judge.ask(three(), JudgeConfig(server.url, "qwen"), Answers())
    assert [m.kind for m in found.mistakes] == ["other", "other", "empty"]
    assert "answered something else than a chat completion; the address ends with /v1" in caplog.messages[0]


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"choices": ' * 50_000, b"\xff\xfe", b" " * 2**21])
def test_a_server_that_answers_with_damage_is_one_line(caplog, body):
    with serving() as server:
        server.body = body
        judge.ask(three(), JudgeConfig(server.url, "qwen"), Answers())
    (line,) = caplog.messages
    assert "answered something else" in line or "answered more than 1,048,576 bytes" in line


def test_a_key_that_is_none_is_not_said(monkeypatch):
    monkeypatch.setenv(judge.KEY, "sec\nret")
    with (
        serving() as server,
        pytest.raises(ConfigError, match=f"^{judge.KEY} holds what no key does") as said,
    ):
        judge.ask(three(), JudgeConfig(server.url, "qwen"), Answers())
    assert "ret" not in str(said.value).removeprefix(judge.KEY).replace("letters", "")
    assert said.value.__context__ is None


def test_no_server_is_one_line(caplog):
    with serving() as server:
        settings = JudgeConfig(server.url, "qwen")
    judge.ask(three(), settings, Answers())
    (line,) = caplog.messages
    assert "no answer (" in line
    assert "is a server running there?" in line


@pytest.mark.parametrize(
    "reply",
    [
        '{"kind": ' + "[" * 100_000 + "}",
        "I think it is wrong.",
        '{"kind": "bad luck"}',
        '{"kind": "empty"}',
        "{",
    ],
)
def test_a_reply_without_a_kind_changes_nothing(reply):
    with serving() as server:
        server.reply = reply
        found = judge.ask(three(), JudgeConfig(server.url, "qwen"), Answers())
    assert [m.label for m in found.mistakes] == ["other", "other", "empty"]


def test_a_reply_may_have_words_around_its_json_and_may_agree():
    with serving() as server:
        server.reply = 'Sure:\n```json\n{"kind": "Other", "reason": "Plain."}\n```'
        found = judge.ask(three(), JudgeConfig(server.url, "qwen"), Answers())
    assert mistakes.labels(found) == ["empty", "other (judged by qwen)"]


@pytest.mark.parametrize(
    ("endpoint", "model", "said"),
    [
        ("http://localhost:8000/v1", None, "needed together"),
        ("localhost:8000", "qwen", "must begin with http"),
        ("https://user:secret@host/v1", "qwen", "ARABIC_LLM_JUDGE_KEY"),
        ("https://host/v1?key=secret", "qwen", "ARABIC_LLM_JUDGE_KEY"),
        ("https://host/v1#secret", "qwen", "ARABIC_LLM_JUDGE_KEY"),
        ("https://host/v1;secret", "qwen", "ARABIC_LLM_JUDGE_KEY"),
        ("https://host/v1/key=secret", "qwen", "ARABIC_LLM_JUDGE_KEY"),
        ("localhost:8000?api-key=secret", "qwen", "ARABIC_LLM_JUDGE_KEY"),
        ("http://host:99999999/v1", "qwen", "no address of a server"),
        ("http://[::1/v1", "qwen", "no address of a server"),
        ("http:///v1", "qwen", "no address of a server"),
        ("http://host/v 1", "qwen", "no address of a server"),
    ],
)
def test_half_a_judge_and_a_password_are_refused(endpoint, model, said):
    with pytest.raises(ValueError, match=said) as error:
        JudgeConfig(endpoint, model)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("answer", "target", "kind"),
    [
        ("الناتج -5", "-5", "near miss"),
        ("-5.0", "-5", "near miss"),
        ("\u22126", "\u22125", "other"),
        ("50", "50%", "near miss"),
        ("كتاب", "50%", "broken format"),
        ("درجة الحرارة -3 اليوم صباحا", "درجة الحرارة -3 اليوم مساء", "near miss"),
    ],
)
def test_numbers_below_zero_and_shares_are_sorted_like_others(answer, target, kind):
    assert kind_of(generated("كم؟", target, answer)) == kind


def test_an_answer_of_signs_alone_is_sorted():
    assert kind_of(generated("ما اسم علامة التعجب؟", "!", "?")) == "empty"
