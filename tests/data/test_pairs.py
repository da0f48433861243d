"""Pairs are cleaned: answers that hardly differ, refusals, roles in other languages; skew is told."""

from dataclasses import replace

import pyarrow
import pyarrow.parquet
import pytest
from conftest import compose_config
from test_formats import WORSE, A, Q, load, read, role

from arabic_llm.config.data import CleaningConfig
from arabic_llm.data.cleaning import filters
from arabic_llm.data.preparing import pair_report, sources
from arabic_llm.data.rows import Row, question_answer
from arabic_llm.text import refusals

LONG = "القاهرة عاصمة جمهورية مصر العربية وأكبر مدنها، وتقع على ضفاف نهر النيل"


def pair(chosen: str, rejected: str) -> Row:
    return replace(question_answer("r", Q, chosen), rejected=rejected)


def test_answers_a_few_edits_apart_are_no_preference(tmp_path):
    near = LONG.replace("مصر", "مصز").replace("نهر", "نهز")
    assert filters.nearly_equal(pair(LONG, near), 0.05).endswith(
        "differ in less than 0.05 of their characters"
    )
    assert filters.nearly_equal(pair(LONG, near), 2 / len(LONG)) is None  # two edits are not less than two
    assert filters.nearly_equal(pair(LONG, near), None) is None
    assert filters.nearly_equal(question_answer("r", Q, LONG), 0.05) is None
    assert filters.nearly_equal(pair("4", "5"), 0.05) is None
    assert filters.nearly_equal(pair(LONG, f"{LONG} في أفريقيا كما هو معروف"), 0.05) is None
    rows = [{"prompt": Q, "chosen": LONG, "rejected": other} for other in (near, WORSE)]
    assert load(tmp_path, rows).ledger.kept == 1
    cleaning = CleaningConfig(min_answer_distance=None)
    assert load(tmp_path, rows, cleaning=cleaning).ledger.kept == 2
    with pytest.raises(Exception, match="min_answer_distance must be between 0 and 1"):
        compose_config("data=local", "data.path=x", "data.cleaning.min_answer_distance=1.5")


@pytest.mark.parametrize(
    "answer",
    [
        *("I'm sorry, but I can't help with that.", "I cannot provide that information, as it is private."),
        *("As an AI language model, I am not able to have opinions.", "I must decline to answer this."),
        *("عذرًا، لا أستطيع المساعدة في ذلك.", "آسف، لكن لن أجيب عن هذا السؤال", "لا يمكنني تقديم هذا"),
        *("للأسف أنا غير قادر على ذلك", "أعتذر عن الإجابة"),
        *("抱歉，我无法回答这个问题。", "作为一个人工智能助手，我不能提供这些信息。"),
    ],
)
def test_a_refusal_is_known_in_three_languages(answer):
    assert refusals.refuses(answer)
    assert filters.refused(pair(A, answer)) == "rejected answer refuses"


@pytest.mark.parametrize(
    "answer",
    [
        *(
            "Penguins cannot fly, but they swim well.",
            "The king could not help himself.",
            "I can help you.",
        ),
        *("لا أحد يعيش هناك", "يستطيع الطائر أن يطير", "لا، القاهرة هي العاصمة"),
        *("企鹅不能飞，但它们会游泳。", "我可以帮助你。", ""),
    ],
)
def test_an_answer_that_says_no_is_no_refusal(answer):
    assert not refusals.refuses(answer)


def test_refusals_among_the_rejected_are_counted_and_dropped_where_it_is_asked_for(tmp_path):
    rows = [{"prompt": Q, "chosen": A, "rejected": r} for r in (WORSE, "عذرا، لا أستطيع الإجابة")]
    found = load(tmp_path, rows)
    assert "; 1 of the worse ones refuse to answer" in pair_report.lines(found.train)[0]
    found = load(tmp_path, rows, cleaning=CleaningConfig(drop_refused=True))
    assert str(found.ledger) == "local: 2 rows in, 1 kept, 1 dropped (1 rejected answer refuses)"


def test_length_that_is_learned_too_is_told_in_one_line():
    (said,) = pair_report.lines(
        [pair("abcdef", "abc"), pair("abcdef", "abcdefghi"), question_answer("r", Q, A)]
    )
    assert said == (
        "pairs: 2; the better answer has 6 characters on average, the worse 6 (+0%), and is the longer one"
        " in 50% of them"
    )
    (said,) = pair_report.lines([pair("abcdef", "abc")])
    assert "(+100%)" in said and ": to be longer is learned too" in said
    (said,) = pair_report.lines([pair("abc", "abcdef")])
    assert "(-50%)" in said and ": to be shorter is learned too" in said
    rated = [replace(question_answer("r", Q, A), rating=rating) for rating in ("up", "down", "up")]
    assert pair_report.lines(rated) == ["ratings: 2 up, 1 down"]
    assert pair_report.lines([question_answer("r", Q, A)]) == []


PUBLISHED = {  # a row of each set, as it lies on the hub
    "argilla_dpo_arabic": {
        "chosen": [role("مستخدم", Q), role("مساعد", A)],
        "rejected": [role("مستخدم", Q), role("مساعد", WORSE)],
        "dataset": "argilla",
    },
    "orca_dpo_arabic": {"system": "", "question": Q, "chosen": A, "rejected": WORSE},
    **{
        name: {"prompt": Q, "chosen": A, "rejected": WORSE}
        for name in ("aya_dpo_arabic", "egyptian_dpo", "ultrafeedback_arabic")
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_arabic_pairs_are_read_as_their_sets_lay_them_out(tmp_path, name):
    folder = tmp_path / name / "data"
    folder.mkdir(parents=True)
    file = folder / "ar_train-00000-of-00001.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([PUBLISHED[name]]), file)
    data = compose_config(f"data={name}", "data.dev_share=0", "data.test_share=0").data
    (row,) = sources.load(data, tmp_path, seed=17).train
    assert ([m.content for m in row.messages], row.rejected) == ([Q, A], WORSE)


@pytest.mark.parametrize(
    ("user", "assistant"),
    [
        ("مستخدم", "مساعد"),
        ("المُستخدم", "المساعد"),
        ("用户", "助手"),
        ("Utilisateur", "assistant"),
        ("usuario", "asistente"),
    ],
)
def test_roles_in_another_language_are_mended(user, assistant):
    sides = {
        side: [role(user, Q), role(assistant, text)] for side, text in (("chosen", A), ("rejected", WORSE))
    }
    row = read(sides)
    assert [m.role for m in row.messages] == ["user", "assistant"]
    assert row.rejected == WORSE
