"""No item stands among its own few-shot examples, and else they are those that lm-eval draws."""

import copy

import pytest
from conftest import compose_config
from datasets import Dataset
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.models.dummy import DummyLM

from arabic_llm.analysis.robustness import Condition
from arabic_llm.errors import ConfigError
from arabic_llm.evaluation import examples, perturbed, suites

QUESTIONS = [{"q": f"ما عاصمة البلد {n}؟", "a": f"مدينة {n}"} for n in range(12)]
REWORDED = [{"q": row["q"], "a": row["a"] + "."} for row in QUESTIONS]  # the same asked in another split
OTHERS = [{"q": f"ما لون الشيء {n}؟", "a": f"لون {n}"} for n in range(12)]


def task(splits, **settings):
    """Return a task of lm-eval's on some splits."""
    datasets = {name: Dataset.from_list(rows) for name, rows in splits.items()}
    config = {
        **{"task": "capitals", "custom_dataset": lambda **_: datasets, "output_type": "generate_until"},
        **{"doc_to_text": "{{q}}", "doc_to_target": "{{a}}"},
        **{"metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]},
    }
    return ConfigurableTask(config=config | settings)


SHAPES = {
    "the test documents, for want of others": ({"test": QUESTIONS}, {"test_split": "test"}),
    "the test split, named": ({"test": QUESTIONS}, {"test_split": "test", "fewshot_split": "test"}),
    "the validation split that is asked": ({"dev": QUESTIONS}, {"validation_split": "dev"}),
    "the same, named": ({"dev": QUESTIONS}, {"validation_split": "dev", "fewshot_split": "dev"}),
    "the first of it": (
        {"dev": QUESTIONS},
        {"validation_split": "dev", "fewshot_split": "dev", "fewshot_config": {"sampler": "first_n"}},
    ),
    "a split that holds the items again": (
        {"test": QUESTIONS, "dev": REWORDED},
        {"test_split": "test", "fewshot_split": "dev"},
    ),
    "rows written by hand": (
        {"test": QUESTIONS},
        {"test_split": "test", "fewshot_config": {"samples": REWORDED[:6], "sampler": "first_n"}},
    ),
}


def prompts(of, num_fewshot):
    """Return the prompt of each item."""
    with examples.of_others(of, num_fewshot):
        evaluate(DummyLM(), {"tasks": {"capitals": of}, "groups": {}, "group_map": {}}, bootstrap_iters=0)
    return [instance.args[0] for instance in sorted(of.instances, key=lambda one: one.doc_id)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_fewshot", [1, 5])
def test_no_item_stands_among_its_own_examples(shape, num_fewshot):
    splits, settings = SHAPES[shape]
    of = task(splits, **settings)
    said = prompts(of, num_fewshot)
    assert len(said) == len(QUESTIONS)
    for row, prompt in zip(QUESTIONS, said, strict=True):
        assert prompt.count(row["q"]) == 1
        assert prompt.endswith(row["q"])
        assert prompt.count("؟") == len(set(prompt.split("\n\n"))) == num_fewshot + 1
    assert prompts(of, num_fewshot) == said


def test_other_examples_are_those_that_lm_eval_draws():
    splits, settings = {"test": QUESTIONS, "dev": OTHERS}, {"test_split": "test", "fewshot_split": "dev"}
    plain = task(splits, **settings)
    plain.set_config(key="num_fewshot", value=3)
    plain.set_fewshot_seed(seed=1234)
    evaluate(DummyLM(), {"tasks": {"capitals": plain}, "groups": {}, "group_map": {}}, bootstrap_iters=0)
    assert prompts(task(splits, **settings), 3) == [instance.args[0] for instance in plain.instances]


def test_too_few_others_are_refused_in_a_line():
    of = task({"test": QUESTIONS}, test_split="test", fewshot_split="test")
    assert len(prompts(of, 11)) == 12
    with pytest.raises(
        ConfigError, match=r"^capitals: 12 examples are asked for \(num_fewshot\) and there are 11"
    ):
        prompts(of, 12)


def test_where_all_ask_the_same_only_the_item_itself_is_left_out():
    of = task({"test": QUESTIONS}, test_split="test", doc_to_text="أكمل:")
    for row, prompt in zip(QUESTIONS, prompts(of, 5), strict=True):
        assert row["a"] not in prompt.split("\n\n")


def test_a_perturbed_item_does_not_find_itself_clean_among_its_examples():
    suite = compose_config("suite=sample").suite
    suite.tasks = {"sample_short": suite.tasks["sample_short"]}
    (entry,) = suites.load(suite, None)
    rows = [
        row | {"question": f"{row['question']} ({at})"}
        for at, row in enumerate(entry.documents["sample_short"][:12])
    ]
    leaf = entry.leaves["sample_short"]
    clean = copy.copy(leaf)
    clean.dataset = {"test": Dataset.from_list(rows)}
    clean.sampler = type(leaf.sampler)(rows)
    entry.leaves["sample_short"] = clean
    ((asked,), _) = perturbed.ask_as(
        [entry], Condition("drop", 1.0, 17), lambda text, *_: text[:-1] + "!", 5
    )
    twin = asked.leaves["sample_short"]
    with examples.of_others(twin, 11):
        for row, document in zip(rows, twin.eval_docs, strict=True):
            prompt = twin.fewshot_context(document, 11)
            assert row["question"][:-1] + "!" in prompt
            assert row["question"] not in prompt
