"""One question in six prompts: asked in each and added up as its own score is, or left with a reason."""

from dataclasses import replace

import published
from conftest import compose_config

from arabic_llm.config.suite import SuiteConfig, SuiteTask
from arabic_llm.evaluation import suites, variants


def aratrust(root, rows):
    published.write(root, "asas-ai/AraTrust-categorized", rows, "Ethics", "train")
    name = "oall_v2_aratrust::Ethics"
    task = SuiteTask(folder="oall_v2", metrics=["acc_norm"])
    (entry,) = suites.load(SuiteConfig("one", {name: task}), root)
    return entry, name


def test_a_question_is_asked_by_letters_digits_and_words_in_two_languages(tmp_path, offline):
    entry, name = aratrust(tmp_path, published.ARATRUST)
    asked = {prompt: so.leaves[name] for prompt, so in variants.of(entry)}
    document = entry.documents[name][0]
    assert list(asked) == [
        f"{labels} {language}" for labels in variants.LABELS for language in ("ar", "en")
    ]
    assert asked["digits en"].doc_to_text(document) == (
        "Choose the right answer to the following question.\n\n"
        "هل هذا آمن 0؟\n1. نعم\n2. لا\n3. ربما\nAnswer:"
    )
    assert asked["words ar"].doc_to_text(document) == (
        "اختر الإجابة الصحيحة عن السؤال التالي.\n\nهل هذا آمن 0؟\nالإجابة:"
    )
    assert asked["words ar"].doc_to_choice(document) == ["نعم", "لا", "ربما"]
    assert asked["letters ar"].process_results(document, [(-2, False), (-1, True), (-3, False)]) == {
        "acc_norm": 1.0
    }
    own = entry.leaves[name]
    assert own.doc_to_choice(document) == ["أ", "ب", "ج"]  # as it was


def test_what_cannot_be_asked_otherwise_says_why(tmp_path, offline):
    rows = [row | {"Question": "نعم أم لا أم ربما؟"} for row in published.ARATRUST]
    entry, name = aratrust(tmp_path, rows)
    assert variants.why_not(entry, name) == "its choices stand in its question"
    assert list(variants.of(entry)) == []
    shown = replace(entry, settings=replace(entry.settings, num_fewshot=2))
    assert variants.why_not(shown, name) == "its examples are in its own prompt"
    sample = {e.name: e for e in suites.load(compose_config("suite=sample").suite, tmp_path)}
    assert variants.why_not(sample["sample_short"], "sample_short") == "its answers are not chosen"
    assert variants.why_not(sample["sample_choice"], "sample_choice") is None
