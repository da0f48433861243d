"""Training rows of benchmarks become instructions in Arabic, and what they give away is said."""

import shutil

import pytest
from conftest import DATA, compose_config, needs_data

from arabic_llm import files
from arabic_llm.config.paths import PACKAGE
from arabic_llm.config.synthesize_task import KnownBenchmark
from arabic_llm.synthesis import from_benchmarks
from arabic_llm.workflows import seen, synthesize_with

RECORDS = {
    KnownBenchmark.boolq: {"passage": "نص.", "question": "هل هو كذلك؟", "answer": True},
    KnownBenchmark.race: {
        "article": "نص.",
        "question": "ما هو؟",
        "options": ["x", "y", "z", "w"],
        "answer": "B",
    },
    KnownBenchmark.copa: {
        "premise": "نزل المطر.",
        "choice1": "x",
        "choice2": "y",
        "question": "effect",
        "label": 1,
    },
    KnownBenchmark.hellaswag: {"ctx": "ذهب ثم", "endings": ["x", "y", "z", "w"], "label": "1"},
    KnownBenchmark.sciq: {
        **{"question": "ما هو؟", "correct_answer": "y"},
        **{f"distractor{number}": text for number, text in enumerate("xzw", 1)},
    },
    KnownBenchmark.arc_easy: {
        **{"question": "ما هو؟", "choices": {"text": ["x", "y", "z"], "label": ["1", "2", "3"]}},
        "answerKey": "2",
    },
    KnownBenchmark.piqa: {"goal": "فتح الباب", "sol1": "x", "sol2": "y", "label": 1},
    KnownBenchmark.gsm8k: {"question": "{كم} معه؟", "answer": "معه 3+4=<<3+4=7>>7 كتب\n#### 7"},
}
RECORDS[KnownBenchmark.arc_challenge] = RECORDS[KnownBenchmark.arc_easy]


@pytest.mark.parametrize("benchmark", list(KnownBenchmark))
def test_every_benchmark_is_asked_in_several_ways_and_answered_rightly(benchmark):
    item = from_benchmarks.read(benchmark, RECORDS[benchmark])
    asked = {from_benchmarks.exchange(benchmark, item, str(name), 17) for name in range(40)}
    assert len({question for question, _ in asked}) == 3
    (answer,) = {answer for _, answer in asked}
    right = {KnownBenchmark.boolq: "نعم.", KnownBenchmark.gsm8k: "معه 3+4=7 كتب\nالجواب: 7"}
    assert right.get(benchmark, answer) == answer
    if benchmark not in right:
        assert answer.endswith(": y.")
        letter = answer[answer.index("(") + 1]
        assert all(f"\n{letter}) y" in question for question, _ in asked)


@pytest.mark.parametrize("benchmark", list(KnownBenchmark))
def test_a_record_that_lacks_something_has_a_reason(benchmark):
    for name in RECORDS[benchmark]:
        broken = {key: value for key, value in RECORDS[benchmark].items() if key != name}
        with pytest.raises(from_benchmarks.NoItemError):
            from_benchmarks.read(benchmark, broken)


def test_a_test_whose_answers_are_hidden_gives_no_row():
    for benchmark in (KnownBenchmark.copa, KnownBenchmark.piqa, KnownBenchmark.hellaswag):
        for hidden in (-1, ""):
            with pytest.raises(from_benchmarks.NoItemError):
                from_benchmarks.read(benchmark, {**RECORDS[benchmark], "label": hidden})


@needs_data
def test_every_problem_of_gsm8k_becomes_a_row(tmp_path):
    from arabic_llm.data.ledger import Ledger

    place = f"data.path={DATA / 'gsm8k' / 'train.jsonl'}"
    config = compose_config("task=synthesize", "task.benchmark=gsm8k", "data=local", place)
    ledger = Ledger("reworded")
    rows = list(synthesize_with.benchmark(config, ledger))
    assert (ledger.rows_in, ledger.kept, len(rows)) == (7473, 7473, 7473)
    assert not any("<<" in row["exchanges"][0][1] for row in rows)
    assert all(row["exchanges"][0][1].split("\n")[-1].startswith("الجواب: ") for row in rows)


@pytest.mark.parametrize(
    ("task", "is_seen"),
    [
        ("gsm8k", True),
        ("arabic_leaderboard_arabic_mt_boolq_light", False),
        ("gsm8k_cot", True),
        ("gsm8kx", False),
    ],
)
def test_a_folder_of_made_rows_marks_the_tasks_that_a_study_asks(tmp_path, task, is_seen):
    note = {"splits": {"train.jsonl": {"rows": 1, "sha256": "x"}}}
    files.write_state(
        tmp_path / "prepared.json",
        {**note, "seen_in_training": from_benchmarks.seen_in_training(KnownBenchmark.gsm8k)},
    )
    config = compose_config("task=study", "data=local", f"data.path={tmp_path}")
    config.suite.tasks = {task: config.suite.tasks["sample_choice"]}
    assert seen.marked(config).suite.tasks[task].seen_in_training is is_seen
    assert not config.suite.tasks[task].seen_in_training


def test_data_that_says_it_holds_a_benchmark_marks_it_too():
    config = compose_config("task=study", "data=barka_boolq")
    config.suite.tasks = {"arabic_mt_boolq": config.suite.tasks["sample_choice"]}
    assert seen.marked(config).suite.tasks["arabic_mt_boolq"].seen_in_training


@pytest.mark.parametrize("given", ["adapter.path", "model.path"])
def test_what_was_trained_says_what_it_has_seen_to_whoever_judges_or_trains_it(tmp_path, given):
    for name in ("config.json", "model.safetensors", "tokenizer_config.json"):
        shutil.copy(PACKAGE / "models" / "tiny" / name, tmp_path)
    files.write_json(tmp_path / "arabic_llm.json", {"seen_in_training": ["gsm8k"]})
    own = ["model.builtin=false"] if given == "model.path" else []
    config = compose_config("task=evaluate", f"{given}={tmp_path}", "data=barka_boolq", *own)
    config.suite.tasks = dict.fromkeys(("gsm8k_cot", "boolq"), config.suite.tasks["sample_choice"])
    asked = seen.marked_as_it_is(config).suite.tasks
    assert [task.seen_in_training for task in asked.values()] == [True, False]
    assert seen.marks(config) == {"arabic_mt_boolq", "gsm8k"}  # and so does what is trained from it


def test_braces_of_a_question_stay_what_they_are():
    item = from_benchmarks.read(KnownBenchmark.gsm8k, RECORDS[KnownBenchmark.gsm8k])
    assert "{كم} معه؟" in from_benchmarks.exchange(KnownBenchmark.gsm8k, item, "x", 1)[0]
