"""Benchmarks whose groups nest, whose code or files fail, whose copies or answers are not as they seem."""

import logging
import shutil
from pathlib import Path

import pytest
from conftest import compose_config
from lm_eval.tasks import TaskManager

from arabic_llm.config.suite import SuiteConfig, SuiteTask
from arabic_llm.errors import ConfigError
from arabic_llm.evaluation import harness, made_up, suites, task_files
from arabic_llm.evaluation.chat_lm import Limits
from arabic_llm.evaluation.foreign import MissingBenchmarkError
from arabic_llm.models import bases, load, placement

ITEMS = """
from datasets import Dataset
def rows(**_):
    said = ["yes", "no"]
    return {"test": Dataset.from_list(
        [{"question": f"q{i}?", "choices": said, "gold": i % 2, "label": said[i % 2]} for i in range(4)])}
def third(doc):
    return {"q2?": None}.get(doc["question"], doc["question"]).upper()
def old(**_):
    from arabic_llm.no_longer_here import SCORERS
"""
TASK = """
task: {name}
custom_dataset: !function items.rows
test_split: test
output_type: multiple_choice
doc_to_text: question
doc_to_choice: choices
doc_to_target: gold
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1}}
"""
GROUPS = """
group: all
task:
  - first
  - below
  - tagged
  - group: inline
    task: [second, {task: third, doc_to_text: "{{question}} really?"}]
    aggregate_metric_list: [{metric: acc, weight_by_size: true}]
  - {group: apart, task: [fifth]}
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Return a folder of task files with five tasks, which a suite calls `mine`."""
    folder = tmp_path / "tasks" / "mine"
    folder.mkdir(parents=True)
    (folder / "items.py").write_text(ITEMS)
    for name in ("first", "second", "third", "fourth", "fifth"):
        (folder / f"{name}.yaml").write_text(TASK.format(name=name))
    monkeypatch.setattr(task_files, "OUR_TASKS", folder.parent)
    return folder


def write(folder, name, change, **more):
    """Write a task that differs from the others in some lines."""
    text = TASK.format(name=name)
    for before, after in {**change, **more}.items():
        assert before in text
        text = text.replace(before, after)
    (folder / f"{name}.yaml").write_text(text)


def suite(*names, **settings):
    tasks = {name: SuiteTask(**({"folder": "mine"} | settings)) for name in names}
    return SuiteConfig("mine", tasks)


def loaded(*names, root=Path("nowhere"), allow_missing=False, **settings):
    asked = suite(*names, **settings)
    asked.allow_missing = allow_missing
    return suites.load(asked, root)


def test_groups_inside_groups_are_those_that_lm_eval_builds(mine):
    (mine / "groups.yaml").write_text(GROUPS)
    (mine / "below.yaml").write_text("group: below\ntask: [fourth, deeper]\n")
    (mine / "deeper.yaml").write_text("group: deeper\ntask: [sixth]\n")
    write(mine, "sixth", {"doc_to_text: question": "tag: tagged\ndoc_to_text: question"})
    (entry,) = loaded("all")
    theirs = TaskManager(include_path=str(mine), include_defaults=False).load(["all"])
    assert set(entry.leaves) == set(theirs["tasks"])
    assert {name: set(leaves) for name, leaves in entry.groups.items()} == {
        name: {task.task_name for task in group.get_all_tasks()} for name, group in theirs["groups"].items()
    }
    assert {"all", "below", "deeper", "all::inline", "all::apart"} == set(entry.groups)
    asked = {name: task.doc_to_text(entry.documents[name][0]) for name, task in entry.leaves.items()}
    assert (asked["second"], asked["third"]) == ("q0?", "q0? really?")
    (alone,) = loaded("third")
    assert alone.leaves["third"].doc_to_text(alone.documents["third"][0]) == "q0?"


def test_a_tag_is_asked_like_a_group_and_tasks_may_stand_in_a_group_alone(mine):
    write(mine, "sixth", {"doc_to_text: question": "tag: tagged\ndoc_to_text: question"})
    (entry,) = loaded("tagged")
    assert (list(entry.leaves), entry.groups) == (["sixth"], {"tagged": ("sixth",)})
    body = TASK.format(name="x").replace("task: x\n", "").replace("!function items.rows", "null")
    body = body.replace(
        "custom_dataset: null", "dataset_path: json\ndataset_kwargs: {data_files: {test: %s}}"
    )
    rows = mine / "rows.jsonl"
    rows.write_text('{"question": "q", "choices": ["a", "b"], "gold": 0}\n')
    inside = "\n".join(f"    {line}" for line in (body % rows).strip().splitlines())
    (mine / "group.yaml").write_text(f"group: whole\ntask:\n  -\n    task: own\n{inside}\n")
    (entry,) = loaded("whole")
    assert entry.groups == {"whole": ("whole::own",)}
    assert entry.leaves["whole::own"].doc_to_text(entry.documents["whole::own"][0]) == "q"


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ("[first, elsewhere]", "its group bad asks for 'elsewhere', which mine does not have"),
        ("[bad]", "the group bad stands inside itself"),
        ("[{dataset_path: json}]", "its group bad has a member that names neither a task nor a group"),
        ("[first, 3]", "its group bad has a member that names neither a task nor a group"),
    ],
)
def test_a_group_that_cannot_be_built_is_named_and_left_out(mine, caplog, group, said):
    (mine / "bad.yaml").write_text(f"group: bad\ntask: {group}\n")
    with pytest.raises(MissingBenchmarkError, match=f"suite task bad: {said}"):
        loaded("bad")
    assert suites.hub_ids("bad", suite("bad").tasks["bad"]) == []
    with caplog.at_level(logging.WARNING):
        (entry,) = loaded("bad", "first", allow_missing=True)
    assert entry.name == "first"
    assert [record.getMessage() for record in caplog.records] == [f"left out: suite task bad: {said}"]


FAILURES = {
    "a module is gone": (
        {"items.rows": "items.old"},
        "ModuleNotFoundError: No module named 'arabic_llm.no",
    ),
    "no such function": ({"items.rows": "items.gone"}, "AttributeError: .* has no function 'gone'"),
    "the third item": ({"doc_to_text: question": "doc_to_text: !function items.third"}, "AttributeError: "),
    "a template": (
        {"doc_to_text: question": 'doc_to_text: "{{ question | nonsense }}"'},
        "TemplateAssertionError",
    ),
    "a column": ({"doc_to_choice: choices": 'doc_to_choice: "{{options}}"'}, "UndefinedError: 'options'"),
    "no split": ({"test_split: test": "test_split: validation"}, "KeyError: 'validation'"),
    "a setting": ({"output_type: multiple_choice": "output_type: guess"}, "."),
}


@pytest.mark.parametrize("what", FAILURES)
def test_a_benchmark_whose_own_code_fails_is_named_and_left_out(mine, caplog, what):
    change, said = FAILURES[what]
    write(mine, "bad", change)
    with pytest.raises(
        MissingBenchmarkError, match=f"suite task bad: its own code fails: {said}"
    ) as refused:
        for entry in loaded("bad"):
            entry.identity()
    assert "\n" not in str(refused.value)
    with caplog.at_level(logging.WARNING):
        (entry,) = loaded("bad", "first", allow_missing=True)
    assert suites.left_out(suite("bad", "first"), [entry]) == ["bad"]
    (line,) = (r.getMessage() for r in caplog.records if r.name.startswith("arabic_llm"))
    assert line.startswith("left out: suite task bad: its own code fails: ")


def test_a_benchmark_whose_files_fail_is_named_and_left_out(mine, monkeypatch, tmp_path):
    """A JSON that breaks off is a DatasetGenerationError; of a YAML that is none lm-eval says nothing."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"question": "q", "choices": ["a", "b"], "gold": 0}\n{"question": ')
    data = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {broken}}}}}"
    write(mine, "bad", {"custom_dataset: !function items.rows": data})
    (mine / "torn.yaml").write_text("task: torn\nmetric_list: [")
    for name, said in (("bad", "could not be read: "), ("torn", "torn.yaml cannot be read: ")):
        with pytest.raises(MissingBenchmarkError, match=f"suite task {name}: .*{said}") as refused:
            loaded(name)
        assert "\n" not in str(refused.value)
        assert [entry.name for entry in loaded(name, "first", allow_missing=True)] == ["first"]
    (mine / "torn.yaml").unlink()
    with pytest.raises(ConfigError, match="mine has no task 'torn'; there are: bad, fifth"):
        loaded("torn", "first", allow_missing=True)


def test_a_bug_of_ours_inside_a_benchmark_stays_a_bug(mine):
    write(mine, "ours", {"items.rows": "items.ours"})
    with (mine / "items.py").open("a") as file:
        file.write("def ours(**_):\n    from arabic_llm.text.words import words\n    return words(None)\n")
    with pytest.raises((AttributeError, TypeError)):
        loaded("ours")


CMMLU = ",Question,A,B,C,D,Answer\n0,{}一？,甲,乙,丙,丁,A\n1,{}二？,甲,乙,丙,丁,C\n"


@pytest.fixture
def cmmlu(tmp_path):
    """Return a data root with a copy in the layout of cmmlu_v1_0_1.zip."""
    for split in ("dev", "test"):
        (tmp_path / "cmmlu" / split).mkdir(parents=True)
        for subject in ("agronomy", "anatomy"):
            text = CMMLU.format(*[f"{subject} {split} "] * 2)
            (tmp_path / "cmmlu" / split / f"{subject}.csv").write_text(text, encoding="utf-8")
    return tmp_path


def chinese(name, root):
    how = {"folder": "cmmlu", "path": "cmmlu", "reader": "cmmlu", "num_fewshot": 1}
    (entry,) = loaded(name, root=root, **how)
    return entry


def test_cmmlu_is_read_from_its_published_folders_and_one_subject_can_be_asked(cmmlu, caplog):
    with caplog.at_level(logging.WARNING):
        entry = chinese("cmmlu", cmmlu)
    assert "cmmlu: the local copy has no ancient_chinese, arts, astronomy, " in caplog.text
    assert entry.groups == {"cmmlu": ("cmmlu_agronomy", "cmmlu_anatomy")}
    task, documents = entry.leaves["cmmlu_anatomy"], entry.documents["cmmlu_anatomy"]
    assert task.doc_to_text(documents[1]) == "anatomy test 二？\nA. 甲\nB. 乙\nC. 丙\nD. 丁\n答案："
    assert [task.doc_to_target(document) for document in documents] == [0, 2]
    assert [document["Question"] for document in task.fewshot_docs()] == [
        "anatomy dev 一？",
        "anatomy dev 二？",
    ]
    assert entry.questions["cmmlu_anatomy"][0].options == ("甲", "乙", "丙", "丁")
    assert entry.questions["cmmlu_anatomy"][0].subject == "anatomy"
    alone = chinese("cmmlu_agronomy", cmmlu)
    assert (list(alone.leaves), alone.groups) == (["cmmlu_agronomy"], {})
    assert alone.documents["cmmlu_agronomy"] == entry.documents["cmmlu_agronomy"]


def test_a_copy_without_what_is_asked_or_in_another_form_is_one_line(cmmlu):
    with pytest.raises(MissingBenchmarkError, match="suite task cmmlu_arts: the local copy has no arts"):
        chinese("cmmlu_arts", cmmlu)
    anatomy = cmmlu / "cmmlu" / "test" / "anatomy.csv"
    anatomy.write_text("Question,A,B\nq,1,2\n")
    with pytest.raises(MissingBenchmarkError, match="cmmlu is not what reader=cmmlu reads: no 'C'"):
        chinese("cmmlu", cmmlu)
    anatomy.rename(cmmlu / "cmmlu" / "test" / "magic.csv")
    (cmmlu / "cmmlu" / "test" / "magic.csv").write_text(CMMLU.format("", ""), encoding="utf-8")
    shutil.copy(cmmlu / "cmmlu" / "test" / "magic.csv", cmmlu / "cmmlu" / "dev" / "magic.csv")
    with pytest.raises(MissingBenchmarkError, match="there is no task for its subset 'magic'"):
        chinese("cmmlu", cmmlu)
    shutil.rmtree(cmmlu / "cmmlu" / "test")
    with pytest.raises(MissingBenchmarkError, match="cmmlu holds nothing that reader=cmmlu reads"):
        chinese("cmmlu", cmmlu)
    with pytest.raises(ConfigError, match="there is no reader 'cmlu'; there are: acva, "):
        loaded("cmmlu", root=cmmlu, folder="cmmlu", path="cmmlu", reader="cmlu")


MMLU = '"Which, of {0}, is ""first""?",one,"two, or\n2",three,four,B\n{0} last?,1,2,3,4,D\n'


@pytest.fixture
def mmlu(tmp_path):
    """Return a data root with a copy in the layout of Hendrycks' data.tar: no header, quotes, breaks."""
    for split in ("dev", "test"):
        (tmp_path / "mmlu_en" / split).mkdir(parents=True)
        for subject in ("anatomy", "virology"):
            file = tmp_path / "mmlu_en" / split / f"{subject}_{split}.csv"
            file.write_text(MMLU.format(f"{subject} {split}"), encoding="utf-8")
    return tmp_path


def english(root):
    how = {"folder": "mmlu/default", "path": "mmlu_en", "reader": "mmlu", "num_fewshot": 1}
    (entry,) = loaded("mmlu", root=root, **how)
    return entry


def test_mmlu_is_read_from_its_published_folders_into_the_hubs_form(mmlu):
    entry = english(mmlu)
    assert entry.documents["mmlu_anatomy"] == [
        {
            "question": 'Which, of anatomy test, is "first"?',
            "subject": "anatomy",
            "choices": ["one", "two, or\n2", "three", "four"],
            "answer": 1,
        },
        {"question": "anatomy test last?", "subject": "anatomy", "choices": [*"1234"], "answer": 3},
    ]
    task = entry.leaves["mmlu_virology"]
    assert task.doc_to_text(entry.documents["mmlu_virology"][1]) == (
        "virology test last?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"
    )
    assert [document["answer"] for document in task.fewshot_docs()] == [1, 3]
    assert entry.groups["mmlu_stem"] == ("mmlu_anatomy",)
    assert entry.questions["mmlu_anatomy"][1].options == (*"1234",)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("q,1,2,3,4,E\n", "mmlu: anatomy: no question, four choices and a letter in q,1,2,3,4,E"),
        ("q,1,2,3,D\n", "mmlu: anatomy: no question, four choices and a letter in q,1,2,3,D"),
        ('"q,1,2,3,4,D\n', "mmlu: anatomy_test.csv:1: unexpected end of data"),
        ("\udcff,1,2,3,4,D\n", "mmlu: 'utf-8' codec can't decode"),
    ],
    ids=["letter", "cells", "quote", "bytes"],
)
def test_a_copy_of_mmlu_in_another_form_is_one_line(mmlu, row, said):
    file = mmlu / "mmlu_en" / "test" / "anatomy_test.csv"
    file.write_bytes(row.encode(errors="surrogateescape"))
    with pytest.raises(MissingBenchmarkError, match="mmlu_en is not what reader=") as error:
        english(mmlu)
    assert said.removeprefix("mmlu: ") in str(error.value)
    (mmlu / "mmlu_en" / "dev" / "virology_dev.csv").unlink()
    file.unlink()
    with pytest.raises(MissingBenchmarkError, match="virology_dev.csv"):
        english(mmlu)


@pytest.mark.parametrize(
    "target", ['"{{gold}} "', '" {{gold}}"', '"{{label}} "', '" {{label}}"', "label", "gold", '"{{gold}}"']
)
def test_white_space_around_a_right_answer_hides_it_from_nobody(mine, target):
    write(mine, "spaces", {"doc_to_target: gold": f"doc_to_target: {target}"})
    (entry,) = loaded("spaces")
    (task, documents) = entry.leaves["spaces"], entry.documents["spaces"]
    scores = [task.process_results(d, [(-1.0, False), (-2.0, False)])["acc"] for d in documents]
    assert scores == [1, 0, 1, 0]
    assert entry.identity()["prompts"]["spaces"]


def test_a_right_answer_that_is_no_choice_is_one_line(mine):
    for number, target in enumerate(('"{{label}}!"', '"{{7 if gold else 0}}"', "-1")):
        write(mine, f"wrong{number}", {"doc_to_target: gold": f"doc_to_target: {target}"})
        (entry,) = loaded(f"wrong{number}")
        with pytest.raises(
            MissingBenchmarkError, match=r"the right answer of item \d of wrong\d, .* is none of"
        ):
            entry.identity()


def test_white_space_around_a_written_answer_is_no_part_of_it(mine):
    change = {
        "output_type: multiple_choice": "output_type: generate_until",
        "doc_to_choice: choices\n": "",
        "doc_to_target: gold": 'doc_to_target: " {{label}} "',
        "metric: acc": "metric: exact_match",
    }
    write(mine, "written", change)
    (entry,) = loaded("written", metrics=["exact_match"])
    task, documents = entry.leaves["written"], entry.documents["written"]
    assert task.process_results(documents[0], ["yes"])["exact_match"] == 1


SPACED = """
def spaced(**_):
    said = ["yes", "no" + 30 * " "]
    rows = [{"question": f"q{i}?", "choices": said, "gold": "no  ", "golds": [1, 0]} for i in range(3)]
    return {"test": Dataset.from_list(rows)}
def fails(doc, results):
    return {"acc": results["nothing"]}
def divides(doc, results):
    return {"acc": 1 / len(results[0])}
"""


def test_an_item_says_what_its_score_says_whatever_spaces_its_choices_have(mine, tiny_codec):
    """lm-eval's acc_norm divides by the letters of a choice as it stands; any of several may be right."""
    with (mine / "items.py").open("a") as file:
        file.write(SPACED)
    both = "metric_list: [{metric: acc_norm, aggregation: mean, higher_is_better: true}, "
    change = {"items.rows": "items.spaced", "metric_list: [": both}
    write(mine, "spaced", change)
    write(mine, "several", change, **{"doc_to_target: gold": "doc_to_target: golds"})
    write(mine, "failing", {"metric_list:": "process_results: !function items.fails\nmetric_list:"})
    config = compose_config("hw=cpu")
    place = placement.resolve(config.hw)
    model = load.base_model(config.model, bases.locate(config.model, None), config.adapter, place)
    chosen = loaded("spaced", "several", metrics=["acc_norm", "acc"])
    found = harness.evaluate(model, tiny_codec, chosen, Limits(4, 512, 2), ({}, {}))
    assert len(found.items) == 4
    for item in found.items:
        assert item.scores["acc_norm"] == float(item.answer_index == item.target_index)
    assert {item.target for item in found.items if item.task == "spaced"} == {"no"}
    assert all(item.is_right for item in found.items if item.task == "several")
    failing, asked = loaded("spaced", "failing"), []
    model.register_forward_pre_hook(lambda *_: asked.append(1))
    with pytest.raises(MissingBenchmarkError, match="suite task failing: its own code fails: TypeError"):
        harness.evaluate(model, tiny_codec, failing, Limits(4, 512, 2), ({}, {}))
    assert not asked


def test_a_scorer_that_cannot_do_with_one_answer_is_not_refused_for_it(mine):
    with (mine / "items.py").open("a") as file:
        file.write(SPACED)
    said = {"output_type: multiple_choice": "output_type: generate_until", "doc_to_choice: choices\n": ""}
    for name in ("divides", "fails"):
        own = {"metric_list:": f"process_results: !function items.{name}\nmetric_list:"}
        write(mine, name, said | own, **{"doc_to_target: gold": "doc_to_target: label"})
    made_up.score(loaded("divides")[0].leaves["divides"])
    with pytest.raises(TypeError):
        made_up.score(loaded("fails")[0].leaves["fails"])
