"""What a user adds, each tried in a copy of the project: a model, a data set, a suite, a metric, a task."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINKED = ("tiny",)  # weights are not copied


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a copy of the project, to add to: one for all, since what is added has a name of its own."""
    copy = tmp_path_factory.mktemp("project")
    for name in ("arabic_llm", "conf", "experiments"):
        skipped = shutil.ignore_patterns("__pycache__", "results", *LINKED)
        shutil.copytree(ROOT / name, copy / name, ignore=skipped)
    shutil.copy(ROOT / "pyproject.toml", copy)
    for name in LINKED:
        (copy / "arabic_llm" / "models" / name).symlink_to(ROOT / "arabic_llm" / "models" / name)
    return copy


def run(project, added, *overrides):
    """Return what the program of the copy says, with these files added to it."""
    for name, text in added.items():
        path = project / name
        assert not path.exists(), f"{name} is changed, not added"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "arabic_llm.run", *overrides, "tracking=none"]
    environment = {**os.environ, "PYTHONPATH": str(project), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


MODEL = """\
name: mine
hub_id: me/mine
chat_template: chatml
stop_token: <|im_end|>
pad_token: <|endoftext|>
end_of_text: <|endoftext|>
max_length: 4096
architecture: {model_type: llama, hidden_size: 2048, intermediate_size: 5632, num_hidden_layers: 22,
  num_attention_heads: 32, num_key_value_heads: 4, head_dim: 64,
  vocab_size: 32000, tie_word_embeddings: false}
"""


def test_a_model_of_a_known_family_is_one_yaml(project):
    said = run(
        project, {"conf/model/mine.yaml": MODEL}, "task=plan", "model=mine", "adapter=qlora", "hw=8gb"
    )
    assert "it fits" in said


def test_a_data_set_is_one_yaml(project):
    rows = ""
    for question, answer in (("ما عاصمة مصر؟", "القاهرة"), ("ما عاصمة الأردن؟", "عمّان")):
        rows += json.dumps({"instruction": question, "input": "", "output": answer}) + "\n"
    (project / "mine.jsonl").write_text(rows, encoding="utf-8")
    added = {
        "conf/data/mine.yaml": "name: mine\npath: mine.jsonl\nlanguage: ar\ndev_share: 0\ntest_share: 0\n"
    }
    assert "mine: 2 rows in, 2 kept" in run(project, added, "dry_run=true", "data=mine")


SUITE = """\
name: quick
tasks:
  sample_choice: {folder: sample, language: ar, skill: knowledge, metrics: [acc]}
"""


def test_a_suite_is_one_yaml(project):
    added = {"conf/suite/quick.yaml": SUITE}
    said = run(project, added, "task=evaluate", "dry_run=true", "suite=quick", "suite.limit=3")
    assert "plan: tiny on sample_choice: 3 items" in said


BENCHMARK = """\
task: first_letters
custom_dataset: !function items.questions
test_split: test
output_type: generate_until
doc_to_text: question
doc_to_target: answer
process_results: !function items.score
generation_kwargs: {until: ["\\n"], do_sample: false, max_gen_toks: 4}
metric_list:
  - {metric: first_letter, aggregation: mean, higher_is_better: true}
"""
ITEMS = '''\
"""Questions of our own, and a metric of our own."""

from datasets import Dataset


def questions(**_):
    """Return two questions."""
    return {"test": Dataset.from_list([{"question": "ما عاصمة مصر؟", "answer": "القاهرة"}] * 2)}


def score(doc, results):
    """Return whether the first letters are the same."""
    return {"first_letter": float(results[0].strip()[:1] == doc["answer"][:1])}
'''
OF_LETTERS = """\
name: letters
tasks:
  first_letters: {folder: letters, language: ar, skill: generation, metrics: [first_letter]}
"""


def test_a_benchmark_with_a_metric_of_its_own_is_a_folder_and_a_suite(project):
    folder = "arabic_llm/evaluation/tasks/letters"
    added = {
        f"{folder}/first_letters.yaml": BENCHMARK,
        f"{folder}/items.py": ITEMS,
        "conf/suite/letters.yaml": OF_LETTERS,
    }
    said = run(project, added, "task=evaluate", "suite=letters", "hw=cpu")
    assert "first_letters" in said
    assert "first_letter" in (next(project.glob("outputs/evaluate/*/evaluation/scores.csv"))).read_text()


TASK = '''\
"""Count the characters of a data set."""

import logging

from arabic_llm.workflows import training_rows

log = logging.getLogger(__name__)
shares_work = False


def inputs(config):
    """Return nothing that is hashed."""
    return {}


def dry_run(config):
    """Say what it would do."""
    log.info("plan: count data=%s", config.data.name)


def run(config, directory):
    """Return how many characters there are."""
    rows = training_rows.load(config).train
    return float(sum(len(turn) for row in rows for turn in row.turns()))
'''


def test_a_task_is_a_yaml_and_a_module(project):
    added = {
        "conf/task/characters.yaml": "defaults: [task_schema]\nname: characters\n",
        str(Path("arabic_llm/tasks") / "characters.py"): TASK,
    }
    said = run(project, added, "task=characters", "dry_run=true")
    assert said.strip() == "plan: count data=sample"
    run(project, {}, "task=characters")
    result = next(project.glob("outputs/characters/*/result.json")).read_text()
    assert float(result.split('"metric": ')[1].split(",")[0]) > 10_000
