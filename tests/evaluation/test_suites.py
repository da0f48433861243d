"""Real benchmarks from local copies: read whole, scored as plain lm-eval does, summed up as published."""

import csv
import json
import logging
from collections import Counter
from dataclasses import replace

import jinja2
import pyarrow
import pytest
from conftest import DATA, compose_config, needs_data
from pyarrow import parquet
from test_harness import by_name

from arabic_llm.analysis import aggregate
from arabic_llm.analysis.aggregate import Benchmark
from arabic_llm.analysis.scores import Item
from arabic_llm.config.suite import Aggregate
from arabic_llm.data.preparing import sources
from arabic_llm.errors import ConfigError
from arabic_llm.evaluation import harness, loading, suites
from arabic_llm.evaluation.chat_lm import Limits
from arabic_llm.evaluation.suites import MissingBenchmarkError
from arabic_llm.models import bases, load, placement

LEAVES = 2  # of a benchmark's, where it has more: the others are asked in the same way


@needs_data
def test_what_a_run_leaves_out_is_an_input_of_it_so_it_is_not_done_when_the_rest_has_come(
    offline, tmp_path
):
    ways = ("suite=generation", "suite.allow_missing=true", "~suite.tasks.cidar")
    suite = compose_config(*ways).suite
    without = suites.what_is_left_out(suite, tmp_path)
    assert without == {"left_out": "arcd"}
    (tmp_path / "arcd").symlink_to(DATA / "arcd")
    assert suites.what_is_left_out(suite, tmp_path) == {"left_out": "nothing"}
    assert suites.what_is_left_out(replace(suite, allow_missing=False), tmp_path / "nowhere") == {}


def loaded(suite, name):
    config = compose_config(f"suite={suite}").suite
    (entry,) = suites.load(replace(config, tasks={name: config.tasks[name]}), DATA)
    return entry


def json_lines(path):
    return [json.loads(line) for line in (DATA / path).read_text(encoding="utf-8").split("\n") if line]


def table(path, delimiter=","):
    with (DATA / path).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter=delimiter))


@needs_data
def test_acva_is_read_whole():
    entry = loaded("acva", "arabic_leaderboard_acva")
    raw = Counter(row["question"] for row in json_lines("acva/acva_test.jsonl"))
    assert len(entry.leaves) == 58
    assert Counter(d["question"] for documents in entry.documents.values() for d in documents) == raw
    gold = [d["gold"] for documents in entry.documents.values() for d in documents]
    assert (len(gold), gold.count(0)) == (8711, 5224)  # always "true" scores 60.0


@needs_data
def test_ceval_gsm8k_and_the_arabic_sets_are_read_whole():
    ceval = loaded("chinese", "ceval-valid")
    assert sum(len(documents) for documents in ceval.documents.values()) == 1346
    law = {row["question"]: "ABCD".index(row["answer"]) for row in table("ceval/val/law_val.csv")}
    task = ceval.leaves["ceval-valid_law"]
    assert {d["question"]: int(task.doc_to_target(d)) for d in task.eval_docs} == law
    gsm8k = loaded("english", "gsm8k").leaves["gsm8k"]
    assert [d["answer"] for d in gsm8k.eval_docs] == [r["answer"] for r in json_lines("gsm8k/test.jsonl")]
    dialects = loaded("dialect", "arsarcasm_dialect").leaves["arsarcasm_dialect"]
    raw = [row["dialect"] for row in table("arsarcasm_v2/testing_data.csv")]
    order = ("msa", "egypt", "levant", "gulf", "magreb")
    assert [order[dialects.doc_to_target(d)] for d in dialects.eval_docs] == raw
    train = [row["dialect"] for row in table("arsarcasm_v2/training_data.csv")]
    assert [order[position] for position in suites.example_answers(dialects)] == train[::13]  # of 12,548
    grades = loaded("education", "dares_grade").leaves["dares_grade"]
    raw = [int(row["Fine-grained"][1:]) for row in table("dares/DARES2.0_test.csv", "\t")]
    assert [int(grades.doc_to_target(d)) + 1 for d in grades.eval_docs] == raw
    assert len(list(loaded("generation", "arcd").leaves["arcd"].eval_docs)) == 702
    english = loaded("mmlu_en", "mmlu")
    assert (len(english.leaves), sum(map(len, english.documents.values()))) == (57, 14_042)
    assert {len(list(task.fewshot_docs())) for task in english.leaves.values()} == {5}


@needs_data
def test_no_limit_of_the_real_models_recipes_leaves_one_right_answer_for_all():
    """ACVA's topics begin with all that is true: of the first items, always "true" is right."""
    suite = compose_config("+experiment=smollm2_arabic_short").suite
    for entry in suites.load(suite, DATA):
        limit = entry.limit(None)
        right = [
            str(task.doc_to_target(document))
            for name, task in entry.leaves.items()
            for document in entry.documents[name][:limit]
        ]
        assert Counter(right).most_common(1)[0][1] < 0.6 * len(right), entry.name


@needs_data
@pytest.mark.parametrize(
    ("suite", "name", "overrides"),
    [
        ("acva", "arabic_leaderboard_acva", ()),
        ("chinese", "ceval-valid", ("suite.tasks.ceval-valid.num_fewshot=2",)),
        ("english", "gsm8k", ("suite.tasks.gsm8k.num_fewshot=0",)),
        ("generation", "arcd", ()),
        ("dialect", "arsarcasm_dialect", ()),
        ("education", "dares_grade", ()),
        ("oall", "arabic_leaderboard_arabic_exams", ()),
    ],
)
def test_the_same_items_score_as_in_plain_lm_eval(suite, name, overrides, tiny_codec, offline):
    config = compose_config(f"suite={suite}", "hw=cpu", *overrides)
    model = load.base_model(
        config.model, bases.locate(config.model, None), config.adapter, placement.resolve(config.hw)
    )
    only = replace(config.suite, tasks={name: config.suite.tasks[name]}, overall=None)
    theirs = plain(only, name, model, tiny_codec)
    (entry,) = few(suites.load(only, DATA))
    ours = by_name(harness.evaluate(model, tiny_codec, [entry], Limits(16, 2048, 2), ({}, {})))
    for leaf in entry.leaves:
        for metric in entry.settings.metrics:
            score = ours[leaf, metric]
            key = metric if "," in metric else f"{metric},none"
            assert score.value == pytest.approx(theirs[leaf][key])
            error = key.replace(",", "_stderr,")
            assert score.stderr == pytest.approx(theirs[leaf][error])


def few(chosen):
    return [replace(e, leaves=dict(list(e.leaves.items())[:LEAVES]), groups={}) for e in chosen]


def plain(suite, name, model, codec):
    """Return lm-eval's own results on tasks of its own, with its own model class."""
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    (entry,) = few(suites.load(suite, DATA))
    for task in entry.leaves.values():
        task.set_config(key="num_fewshot", value=suite.tasks[name].num_fewshot)
        task.set_fewshot_seed(seed=1234)
    is_chat = suite.tasks[name].chat
    return evaluate(
        HFLM(pretrained=model, tokenizer=codec.tokenizer, batch_size=16, max_length=2048),
        {"tasks": entry.leaves, "groups": {}, "group_map": {}},
        limit=2,
        apply_chat_template=is_chat,
        fewshot_as_multiturn=is_chat,
    )["results"]


@pytest.fixture
def gsm8k_alone(tmp_path):
    """Make a folder of data in which the English suite finds one of its benchmarks."""
    (tmp_path / "gsm8k").symlink_to(DATA / "gsm8k")
    return tmp_path


@needs_data
def test_a_template_is_compiled_once_however_many_documents_it_renders(offline, monkeypatch, gsm8k_alone):
    compiled, compile_one = [], jinja2.Environment.compile

    def counted(self, source, *args, **options):
        compiled.append(source)
        return compile_one(self, source, *args, **options)

    monkeypatch.setattr(jinja2.Environment, "compile", counted)
    suite = compose_config("suite=english", "suite.allow_missing=true").suite
    (entry,) = suites.load(replace(suite, tasks={"gsm8k": suite.tasks["gsm8k"]}), gsm8k_alone)
    assert entry.prompts
    assert len(compiled) == len(set(compiled))


@needs_data
def test_what_cannot_be_had_ends_in_one_line_with_the_command_that_brings_it(offline, gsm8k_alone):
    with pytest.raises(MissingBenchmarkError) as refused:
        suites.load(compose_config("suite=english").suite, gsm8k_alone)
    said = str(refused.value)
    assert "\n" not in said
    assert "3 of 4 benchmarks are not here: mmlu, hellaswag, winogrande;" in said
    assert "python -m arabic_llm.run task=download suite=english fetches what the hub has" in said
    assert said.endswith("suite.allow_missing=true goes on without")


@needs_data
def test_what_cannot_be_had_is_said_and_stops_nothing_where_it_may(offline, caplog, gsm8k_alone):
    suite = compose_config("suite=english", "suite.allow_missing=true").suite
    with caplog.at_level(logging.WARNING):
        (entry,) = suites.load(suite, gsm8k_alone)
    assert entry.name == "gsm8k"
    (said,) = (record.getMessage() for record in caplog.records)
    assert "left out: suite=english: 3 of 4 benchmarks are not here: mmlu, hellaswag, winogrande; " in said
    assert "\n" not in said


def test_a_suite_of_nothing_says_what_is_missing(offline, tmp_path):
    with pytest.raises(
        MissingBenchmarkError, match="arabic_leaderboard_acva_light: the hub's could not be"
    ):
        suites.load(compose_config("suite=arabic_light", "suite.allow_missing=true").suite, tmp_path)
    with pytest.raises(
        MissingBenchmarkError, match="arsarcasm_dialect: no local copy at .*, and no hub has it"
    ):
        suites.load(compose_config("suite=dialect").suite, tmp_path)


def test_a_hub_that_does_not_answer_is_asked_once_and_not_for_half_a_minute_a_file(tmp_path, monkeypatch):
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    def waits(seconds):
        raise AssertionError(f"the library waits {seconds} s to ask again")

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(_http.time, "sleep", waits)
    with pytest.raises(MissingBenchmarkError, match="7 of 7 benchmarks are not here"):
        suites.load(compose_config("suite=oall_v2").suite, tmp_path)
    assert not constants.HF_HUB_OFFLINE


@needs_data
def test_a_mean_of_all_is_given_of_all_and_one_of_fewer_says_of_how_many(offline):
    suite = compose_config("suite=oall", "suite.allow_missing=true").suite
    chosen = suites.load(suite, DATA)
    assert [entry.name.removeprefix("arabic_leaderboard_") for entry in chosen] == ["acva", "arabic_exams"]
    assert suites.overall(suite, chosen) == "mean of 2 of 14 (not All)"
    here = replace(suite, tasks={entry.name: entry.settings for entry in chosen})
    assert suites.overall(here, chosen) == "All"
    chosen[0].settings.metrics = ["acc"]
    with pytest.raises(ConfigError, match="one first metric in all tasks, not acc, acc_norm"):
        suites.overall(here, chosen)


BARKA = {  # acc_norm, 0-shot, percent: ACVA, AlGhafa, MMLU, EXAMS, then the ten that were translated
    56.48: (48.98, 54.17, 53.33, 50.65, 55.0, 52.45, 83.99, 60.0, 32.33, 50.3, 70.54, 45.55, 51.06, 82.35),
    60.80: (
        73.55,
        54.63,
        52.51,
        52.89,
        58.88,
        59.46,
        86.38,
        62.22,
        38.0,
        56.16,
        71.96,
        48.73,
        50.35,
        85.45,
    ),
}


@pytest.mark.parametrize("published", BARKA)
def test_the_mean_of_the_14_is_the_one_that_barka_published(published):
    suite = compose_config("suite=oall").suite
    assert len(suite.tasks) == 14
    chosen, items = [], []
    for at, ((name, settings), value) in enumerate(zip(suite.tasks.items(), BARKA[published], strict=True)):
        # Subsets of unlike sizes around the score: neither items nor subsets may weigh.
        subsets = {f"{name}_{shift}": shift for shift in (-20, 5, 15)}
        groups = {name: tuple(subsets)}
        chosen.append(Benchmark(dict.fromkeys(subsets, "1"), groups, settings.metrics, settings.aggregate))
        for leaf, shift in subsets.items():
            score = {"acc_norm": (value + shift) / 100}
            items += [
                Item(leaf, str(i), "", "", "", score, "", 4, 0, 0) for i in range(2 + at + abs(shift))
            ]
    score = aggregate.overall("All", chosen, items)
    assert 100 * score.value == pytest.approx(published, abs=0.005)
    (acva, *_) = aggregate.scores(chosen[0], items)
    assert acva.name == "arabic_leaderboard_acva"
    assert 100 * acva.value == pytest.approx(BARKA[published][0])


def cidar(folder, count=240):
    """Write rows shaped like CIDAR's where a copy of it would lie."""
    rows = {
        "instruction": [f"اكتب جملة عن الموضوع رقم {i} في كتاب العلوم" for i in range(count)],
        "output": [f"هذه الجملة {i * i} تشرح الموضوع {i} شرحا قصيرا.\nوهذا سطر آخر." for i in range(count)],
        "index": list(range(count)),
    }
    (folder / "cidar" / "data").mkdir(parents=True)
    parquet.write_table(pyarrow.table(rows), folder / "cidar" / "data" / "train-00000-of-00001.parquet")


def test_instructions_that_training_holds_out_are_asked_and_no_others(tmp_path, tiny_codec):
    cidar(tmp_path)
    config = compose_config(
        "suite=generation", "data=cidar", "data.cleaning.drop_test_items=false", "hw=cpu"
    )
    suite = replace(config.suite, tasks={"cidar": config.suite.tasks["cidar"]})
    (entry,) = suites.load(suite, tmp_path)
    asked = {document["question"] for document in entry.documents["cidar"]}
    rows = sources.load(config.data, tmp_path, config.seed)
    assert asked == {row.messages[0].content for row in rows.test}
    assert len(asked) == 12  # a twentieth
    assert not asked & {row.messages[0].content for row in (*rows.train, *rows.dev)}
    model = load.base_model(
        config.model, bases.locate(config.model, None), config.adapter, placement.resolve(config.hw)
    )
    found = harness.evaluate(model, tiny_codec, [entry], Limits(4, 2048, 2), ({}, {}))
    assert {score.metric for score in found.scores} == {"rouge_l", "chrf"}
    assert all(0 < score.constant < 1 for score in found.scores)


def own(tmp_path, rows, *overrides):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "my.jsonl").write_text(text, encoding="utf-8")
    return compose_config("suite=own", "data=local", f"data.path={tmp_path / 'my.jsonl'}", *overrides)


def test_rows_of_ones_own_that_training_never_sees_are_asked_and_no_others(tmp_path, caplog):
    turns = [{"role": role, "content": role} for role in ("system", "user", "assistant")]
    rows = [
        {"messages": [{**turn, "content": f"{turn['content']} {n}"} for turn in turns[n % 5 > 0 :]]}
        for n in range(50)
    ]
    config = own(tmp_path, rows, "data.test_share=0.4", "seed=5")
    (entry,) = suites.load(config.suite, tmp_path)
    held = sources.load(config.data, tmp_path, 5).test
    single = {row.messages[0].content for row in held if len(row.messages) == 2}
    assert {document["question"] for document in entry.documents["own_rows"]} == single
    assert 0 < len(single) < len(held) == 20
    assert f"{20 - len(single)} of 20 test rows are not asked: they are no single question" in caplog.text
    other = own(tmp_path, rows, "data.test_share=0.4", "seed=6")
    assert suites.load(other.suite, tmp_path)[0].identity()["items"] != entry.identity()["items"]


@pytest.mark.parametrize(
    ("row", "overrides", "said"),
    [
        ({"question": "س {}", "answer": "ج"}, ("data.test_share=0",), "data=local holds out no test rows"),
        ({"text": "نص {}"}, (), "none of its 2 test rows is a question with an answer"),
    ],
)
def test_a_file_that_keeps_no_questions_back_is_one_line(tmp_path, row, overrides, said):
    rows = [{key: value.format(n) for key, value in row.items()} for n in range(40)]
    with pytest.raises(MissingBenchmarkError, match=f"suite task own_rows: data=local.*{said}|{said}"):
        suites.load(own(tmp_path, rows, *overrides).suite, tmp_path)


def test_instructions_that_are_not_here_are_one_line(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    suite = compose_config("suite=generation").suite
    with pytest.raises(
        MissingBenchmarkError, match="suite task cidar: data=cidar: arbml/CIDAR is not here"
    ):
        suites.load(replace(suite, tasks={"cidar": suite.tasks["cidar"]}), tmp_path)


def test_a_task_may_ask_fewer_items_than_its_suite(tiny_codec, tmp_path):
    config = compose_config("suite=sample", "suite.limit=5", "suite.tasks.sample_known.limit=3", "hw=cpu")
    names = ("sample_choice", "sample_known")
    suite = replace(config.suite, tasks={name: config.suite.tasks[name] for name in names})
    choice, known = suites.load(suite, tmp_path)
    assert (choice.limit(5), known.limit(5), known.limit(2), choice.limit(None)) == (5, 3, 2, None)
    assert choice.identity()["limit"] != known.identity()["limit"]


def choices(task, right, answers, **more):
    return [
        Item(task, str(i), "", "", "", {"acc": float(a == r)}, "", 2, r, a, **more)
        for i, (r, a) in enumerate(zip(right, answers, strict=True))
    ]


def test_a_constant_answer_does_not_pass_for_knowledge():
    acva = Benchmark({"acva": "1"}, {}, ["acc"], seen_in_training=True)
    (score,) = aggregate.scores(acva, choices("acva", [0, 0, 0, 1, 1], [0, 0, 0, 0, 0], is_shot=True))
    assert (score.value, score.constant, score.random) == (0.6, 0.6, 0.5)
    assert score.balanced == 0.5
    assert score.macro_f1 == pytest.approx((2 * 3 / 8 + 0) / 2)
    assert (score.num_repeated, score.num_shots) == (4, 5)  # all ask the same here, and all were shown
    assert score.label == "acva (seen in training)"
    assert score.majority == 0.6  # no rows to learn it from
    shown = replace(acva, examples={"acva": [1, 1, 0]})
    (score,) = aggregate.scores(shown, choices("acva", [0, 0, 0, 1, 1], [0] * 5))
    assert (score.constant, score.majority) == (0.6, 0.4)  # the few-shot rows say otherwise than the test


def test_macro_and_micro_are_the_means_they_say():
    items = [*choices("a", [0] * 4, [0] * 4), *choices("b", [0, 0], [1, 1])]
    for kind, value, error in (("micro", 4 / 6, (4 / 6 * 2 / 6 / 5) ** 0.5), ("macro", 0.5, 0.0)):
        group = Benchmark({"a": "1", "b": "1"}, {"g": ("a", "b")}, ["acc"], Aggregate[kind])
        (whole, *_) = aggregate.scores(group, items)
        assert whole.value == pytest.approx(value)
        assert whole.stderr == pytest.approx(error)


@pytest.mark.parametrize("of_ours", [True, False])
def test_a_bug_of_ours_is_not_said_of_the_hub(monkeypatch, tmp_path, of_ours):
    """The hub is not asked: lm-eval is given what `datasets` refuses, or a task that is none of its."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    if of_ours:
        monkeypatch.setattr(loading, "_downloaded", lambda *_: {"task": int("x")})
    suite = compose_config("suite=arabicmmlu", "task=evaluate").suite
    name, settings = next(iter(suite.tasks.items()))
    suite = replace(suite, tasks={name: replace(settings, path=None, reader=None, data=None)})
    with (
        pytest.raises(ValueError, match="invalid literal")
        if of_ours
        else pytest.raises(MissingBenchmarkError)
    ):
        suites.load(suite, tmp_path)
