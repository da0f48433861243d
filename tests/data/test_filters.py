"""A filter answers None or a reason; the first reason counts, and a filter that is not set is off."""

import json
from dataclasses import replace

import pytest
from conftest import DATA, compose_config, needs_data

from arabic_llm.config.data import BidiControls, CleaningConfig
from arabic_llm.data.cleaning import filters
from arabic_llm.data.ledger import Ledger
from arabic_llm.data.preparing import sources
from arabic_llm.data.rows import Message, Row, question_answer
from arabic_llm.errors import ConfigError

RLO, PDF, RLI, PDI, LRM, FATHA = "\u202e", "\u202c", "\u2067", "\u2069", "\u200e", "\u064e"
ENGLISH = "this sentence was never translated and stayed in English"
STANDARD = "+data/base@data.cleaning=cleaning"


def row(answer, question="ما عاصمة مصر؟"):
    return question_answer("my.jsonl:1", question, answer)


def reason(answer, question="ما عاصمة مصر؟", **cleaning):
    it = row(answer, question)
    return filters.reason_to_drop(it, it, CleaningConfig(**cleaning))


def load(tmp_path, rows, *overrides):
    path = tmp_path / "my.jsonl"
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    data = compose_config("data=local", f"data.path={path}", "data.dev_share=0", *overrides).data
    return sources.load(data, tmp_path, seed=17)


def alpaca(question, answer):
    return {"instruction": question, "output": answer}


@pytest.mark.parametrize(
    "said", ["ل", "لا " * 500, ENGLISH, f"{RLO}abc", "ما عاصمة مصر؟", "我我我我我我我我我"]
)
def test_without_a_setting_everything_passes(said):
    assert reason(said) is None


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        ("", "shorter than 4 characters"),
        ("abc", "shorter than 4 characters"),
        ("abcd", None),
        ("abcdef", None),
        ("abcdefg", "longer than 6 characters"),
    ],
)
def test_length_is_bounded_on_both_sides_inclusive(said, answered):
    assert filters.wrong_length(said, 4, 6) == answered


def test_length_is_that_of_all_turns():
    assert reason("١٢٣٤", "١٢٣", max_chars=8) is None  # and the line break between them
    assert reason("١٢٣٤", "١٢٣", max_chars=7) == "longer than 7 characters"


def test_text_that_goes_round_in_circles_is_refused():
    assert filters.too_repetitive("لا أعرف. " * 20, 0.6) == "4-grams repeated above 0.6"
    assert filters.too_repetitive("我喜欢吃苹果。" * 3, 0.6) == "4-grams repeated above 0.6"
    assert filters.too_repetitive("القاهرة عاصمة مصر وأكبر مدنها", 0.6) is None
    assert filters.too_repetitive("", 0.6) is None
    assert filters.too_repetitive("aaaaa", 0.5) is None  # exactly half


def script(said, *scripts, share=0.3, fallback=False):
    cleaning = CleaningConfig(
        scripts=list(scripts), min_script_share=share, allow_english_fallback=fallback
    )
    return filters.wrong_script(said, cleaning)


@pytest.mark.parametrize(
    ("said", "scripts", "passes"),
    [
        ("القاهرة", ["arabic"], True),
        ("القاهرة", ["han"], False),
        ("北京", ["han"], True),
        ("北京", ["arabic", "han"], True),
        ("Kairo", ["arabic", "han"], False),
        ("ааа", ["arabic"], False),  # Cyrillic
        ("2 + 2 = 4", ["arabic"], True),  # no letter: nothing foreign
        ("", ["arabic"], True),
        (f"م{FATHA}{FATHA}{FATHA} ab", ["arabic"], True),  # 1 letter of 3, marks aside
        ("م abc", ["arabic"], False),  # 1 of 4
        ("\u06af\u0686\u067e", ["arabic"], True),  # Persian gaf, tcheh, peh
        ("\ufefb\ufedf", ["arabic"], True),  # presentation forms
    ],
)
def test_the_wanted_scripts_have_their_share_of_the_letters(said, scripts, passes):
    expected = None if passes else f"share of {' and '.join(scripts)} letters below 0.3"
    assert script(said, *scripts) == expected


def test_english_passes_where_it_is_allowed_and_other_scripts_do_not():
    assert script("The capital is Cairo", "arabic", fallback=True) is None
    assert script("Столица — Каир", "arabic", fallback=True) is not None
    assert script("北京是首都 abcd", "arabic", fallback=True) is not None  # 4 of 9 letters are Latin


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        (f"القاهرة هي عاصمة مصر وأكبر مدنها سكانا ومساحة. {ENGLISH}", False),
        (f"开罗是埃及的首都，也是非洲最大的城市之一，人口超过两千万。{ENGLISH}", False),
        (f"كتب الطالب جملة واحدة في دفتره وهي «{ENGLISH}»", True),
        (f"اكتب الأمر التالي في الطرفية ثم اضغط الزر ليعمل\n```\n{ENGLISH}\n```", True),
        ("درس في Middle School of the City of Yueyang ثم في جامعة القاهرة", True),
        (f"الترجمة: {ENGLISH} {ENGLISH}", True),  # the answer is English: a translation
        (ENGLISH, True),
    ],
)
def test_a_stretch_left_in_english_is_refused_in_an_arabic_or_chinese_answer(answer, passes):
    expected = None if passes else "more than 7 Latin words in a row"
    assert filters.untranslated(row(answer), 7) == expected


def test_a_stretch_of_one_letter_words_is_counted_like_any_other():
    said = row("قيم الثوابت في هذه المسألة هي a b c")
    assert filters.untranslated(said, 2) == "more than 2 Latin words in a row"
    assert filters.untranslated(said, 3) is None


def test_english_is_looked_for_in_answers_and_raw_text_but_not_in_questions():
    question = f"ترجم إلى العربية الجملة التالية من فضلك: {ENGLISH}"
    assert filters.untranslated(row("لم تترجم هذه الجملة", question), 7) is None
    assert filters.untranslated(Row("a.txt:1", text=question), 7) == "more than 7 Latin words in a row"


@pytest.mark.parametrize(
    ("question", "answer", "echoed"),
    [
        ("ما عاصمة مصر؟", "ما عاصمة مصر", True),
        ("ما عاصمةُ مِصر؟", "ما عاصمه مصر!", True),
        ("ما عاصمة مصر؟", "ما عاصمة مصر؟ ما عاصمة مصر؟", True),
        ("你好吗？", "你好吗", True),
        ("ما عاصمة مصر؟", "عاصمة مصر القاهرة", False),
        ("ما عاصمة مصر؟", "ما عاصمة مصر؟ القاهرة", False),
        ("ما عاصمة مصر؟", "", False),
        ("؟", "!", False),  # nothing is asked
        ("كم 1,000,000 " * 9, "كم 1000000 " * 9, True),
        ("ما معنى كلمة كتاب؟ " * 20, "ما معنى كلمة كتاب؟ " * 20 + "شيء يقرأ", False),
    ],
)
def test_an_answer_that_only_repeats_its_question_is_refused(question, answer, echoed):
    assert filters.echo(row(answer, question)) == ("answer only repeats the question" if echoed else None)


def test_an_echo_is_found_in_any_turn():
    turns = [("system", "كن"), ("user", "س"), ("assistant", "ج"), ("user", "ماذا"), ("assistant", "ماذا؟")]
    messages = tuple(Message(role, content) for role, content in turns)
    assert filters.echo(Row("a:1", messages=messages)) == "answer only repeats the question"
    assert filters.echo(Row("a:1", messages=messages[:3])) is None
    assert filters.echo(Row("a:1", text="نص")) is None


def test_a_preference_needs_two_different_answers():
    pair = replace(question_answer("r", "ما عاصمة مصر؟", "القاهرة."), rejected="القاهره")
    assert filters.no_preference(pair) == "chosen equals rejected"
    assert filters.no_preference(replace(pair, rejected="بغداد")) is None
    assert filters.no_preference(replace(pair, rejected="")) is None


def test_bidi_controls_are_found_in_any_turn_and_marks_are_left_alone():
    hidden = question_answer("a:1", f"{RLO}س{PDF}", f"ج{RLI}د{PDI}{LRM}")
    assert filters.bidi_controls(hidden, BidiControls.drop) == "bidi controls in the source"
    assert filters.bidi_controls(hidden, BidiControls.clean) is None
    clean = filters.without_bidi_controls(replace(hidden, subject="لغة"))
    assert clean == question_answer("a:1", "س", f"جد{LRM}", "لغة")
    assert filters.without_bidi_controls(clean) is clean
    assert filters.without_bidi_controls(Row("a:1", text=f"{RLI}ن")).text == "ن"


def test_bidi_controls_drop_a_row_although_normalisation_would_remove_them(tmp_path):
    rows = [alpaca("س", "ج"), alpaca("س", f"{RLO}د")]
    loaded = load(tmp_path, rows, "data.cleaning.bidi_controls=drop")
    assert loaded.ledger.dropped == {"bidi controls in the source": 1}
    assert loaded.ledger.examples == {"bidi controls in the source": [f"{tmp_path}/my.jsonl:2"]}


def test_bidi_controls_are_cleaned_and_reported_by_place_whatever_the_profile(tmp_path):
    rows = [alpaca("س", "ج"), alpaca("س", f"{RLO}د"), alpaca("س", f"{RLI}ج")]
    loaded = load(tmp_path, rows, "data.cleaning.bidi_controls=clean", "data.profile=none")
    assert [r.messages[1].content for r in loaded.train] == ["ج", "د"]
    assert loaded.ledger.examples["bidi controls removed"] == [f"{tmp_path}/my.jsonl:2"]
    assert str(loaded.ledger) == (
        "local: 3 rows in, 2 kept, of which changed: 1 bidi controls removed, 1 dropped (1 exact copy)"
    )
    assert Ledger.from_dict(loaded.ledger.as_dict()) == loaded.ledger


def test_the_first_reason_wins_and_the_ledger_closes(tmp_path):
    rows = [
        alpaca("ما عاصمة مصر؟", "القاهرة"),
        alpaca("ما عاصمة مصر؟", "القاهرة"),
        alpaca("a", "b"),  # short, and Latin
        alpaca("ما رأيك؟", "لا أعرف. " * 400),  # long, and repetitive
        alpaca("ما رأيك؟", "لا أعرف. " * 20),
        alpaca("What is the capital of Egypt?", "Cairo"),
        alpaca("ما عاصمة مصر؟", f"القاهرة هي عاصمة مصر وأكبر مدنها سكانا ومساحة. {ENGLISH}"),
        alpaca("ما عاصمة مصر؟", "ما عاصمة مصر"),
    ]
    loaded = load(tmp_path, rows, STANDARD)
    assert loaded.ledger.rows_in == 8
    assert loaded.ledger.kept == 1
    assert loaded.ledger.dropped == {
        "exact copy": 1,
        "shorter than 8 characters": 1,
        "longer than 2048 characters": 1,
        "4-grams repeated above 0.6": 1,
        "share of arabic and han letters below 0.3": 1,
        "more than 7 Latin words in a row": 1,
        "answer only repeats the question": 1,
    }
    assert all(len(examples) == 1 for examples in loaded.ledger.examples.values())


def test_five_examples_of_a_reason_are_kept(tmp_path):
    loaded = load(
        tmp_path, [alpaca("س", str(i)) for i in range(7)] + [alpaca("سؤال", "جواب طويل")], STANDARD
    )
    assert loaded.ledger.dropped["shorter than 8 characters"] == 7
    assert len(loaded.ledger.examples["shorter than 8 characters"]) == 5


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.cleaning.min_chars=0"], "data.cleaning.min_chars must be at least 1, not 0"),
        (
            ["data.cleaning.min_chars=9", "data.cleaning.max_chars=8"],
            r"data.cleaning.min_chars \(9\) is more than data.cleaning.max_chars \(8\)",
        ),
        (["data.cleaning.max_repetition=60"], "max_repetition must be between 0 and 1, not 60"),
        (["data.cleaning.scripts=[arab]"], "scripts knows arabic, han, latin, not 'arab'"),
        (["data.cleaning.min_script_share=0.3"], "min_script_share needs data.cleaning.scripts"),
        (["+data.cleaning.max_char=9"], "did you mean 'data.cleaning.max_chars'"),
    ],
)
def test_mistakes_in_the_filters_are_named(overrides, said):
    with pytest.raises(ConfigError, match=said):
        compose_config("data=local", "data.path=x.jsonl", *overrides)


@pytest.mark.parametrize("name", ["sample", "local"])
def test_rows_of_ours_and_of_yours_are_not_cleaned_unless_asked(name):
    assert compose_config(f"data={name}", "data.path=x").data.cleaning == CleaningConfig()


def test_one_word_switches_the_filters_of_a_named_set_off():
    cleaned = compose_config("data=arastories").data.cleaning
    assert (cleaned.min_chars, cleaned.max_chars, cleaned.near_duplicates) == (8, 4096, 0.8)
    off = compose_config("data=arastories", "data/base@data.cleaning=none", "data.cleaning.max_chars=null")
    assert off.data.cleaning == CleaningConfig()


def test_the_standard_filters_are_taken_over_in_one_line_and_set_one_by_one():
    cleaning = compose_config(
        "data=local", "data.path=x", STANDARD, "data.cleaning.max_chars=4096"
    ).data.cleaning
    assert (cleaning.min_chars, cleaning.max_chars, cleaning.max_repetition) == (8, 4096, 0.6)
    assert (cleaning.scripts, cleaning.min_script_share) == (["arabic", "han"], 0.3)


def test_a_data_set_of_its_own_takes_the_standard_filters_over(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text(
        "defaults: [{base@cleaning: cleaning}]\nname: mine\npath: x.jsonl\ncleaning: {scripts: [han]}\n"
    )
    cleaning = compose_config("data=mine", f"hydra.searchpath=[{tmp_path.as_uri()}]").data.cleaning
    assert (cleaning.scripts, cleaning.min_script_share, cleaning.max_chars) == (["han"], 0.3, 2048)


@needs_data
def test_the_standard_filters_drop_of_the_real_stories_only_the_long_ones():
    data = compose_config("data=arastories", "data.cleaning.max_chars=2048").data
    ledger = sources.load(data, DATA, seed=17).ledger
    assert set(ledger.dropped) == {"longer than 2048 characters"}
    assert ledger.kept + ledger.dropped.total() == 996


STORY = " ".join(f"كلمة{number}" for number in range(60))


def test_a_near_copy_is_dropped_and_names_what_it_repeats(tmp_path):
    rows = [f"{STORY} قال", STORY, STORY.replace("كلمة59", "أخرى"), "حكاية لا تشبه غيرها في شيء أبدا"]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), encoding="utf-8")
    raw = ("data=local", f"data.path={path}", "data.columns.prompt=null", "data.columns.text=text")
    alike = (*raw, "data.dev_share=0", "data.cleaning.near_duplicates=0.8")
    loaded = sources.load(compose_config(*alike).data, tmp_path, seed=17)
    assert [row.id for row in loaded.train] == [f"{path}:1", f"{path}:4"]
    assert loaded.ledger.examples == {
        "near copy": [f"{path}:2 of {path}:1", f"{path}:3 of {path}:1"],
    }
    assert loaded.ledger.rows_in == 4


def test_a_row_that_holds_a_test_item_is_dropped_when_items_are_given(tmp_path):
    path = tmp_path / "rows.jsonl"
    question = "ما اسم أطول نهر في قارة إفريقيا كلها؟"
    rows = [{"instruction": f"أجب: {question}", "output": "النيل"}, {"instruction": "كم؟", "output": "٧"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    raw = ("data=local", f"data.path={path}", "data.dev_share=0")
    assert len(sources.load(compose_config(*raw).data, tmp_path, 17, [question]).train) == 2
    data = compose_config(*raw, "data.cleaning.drop_test_items=true").data
    loaded = sources.load(data, tmp_path, 17, [question])
    assert loaded.ledger.dropped == {"holds an item of the suite": 1}
    assert len(loaded.train) == 1


def test_generated_rows_take_the_same_way_as_read_ones():
    plain = sources.load(compose_config("data=sample").data, DATA, seed=17)
    question = next(m.content for m in plain.train[0].messages if m.role == "user")
    strict = compose_config("data=sample", "data.cleaning.drop_test_items=true").data
    loaded = sources.load(strict, DATA, 17, [question])
    assert loaded.ledger.dropped.total() > 0
    assert question not in {row.messages[0].content for row in loaded.train}
    alike = sources.load(compose_config("data=sample", "data.cleaning.near_duplicates=0.8").data, DATA, 17)
    assert alike.ledger.rows_in == plain.ledger.rows_in == alike.ledger.kept + alike.ledger.dropped.total()
    assert set(alike.ledger.dropped) == {"near copy"}


def test_diacritics_are_an_answer_to_a_text_without_them_and_a_preference():
    assert reason("كَتَبَ الوَلَدُ الدَّرْسَ", "كتب الولد الدرس", drop_echoes=True) is None
    assert reason("كتب الولد الدرس", "كَتَبَ الوَلَدُ الدَّرْسَ", drop_echoes=True) is not None
    pair = replace(row("كَتَبَ"), rejected="كتب")
    assert filters.no_preference(pair) is None
    assert filters.no_preference(replace(pair, rejected="كَتَبَ.")) == "chosen equals rejected"
