"""What is typed as it is comes through as it is: Arabic, spaces, brackets, in values, lists and sweeps."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from arabic_llm.config import compose

OVERRIDES = OverridesParser.create()


def read(argument, *flags):
    """Return the value, or the swept values, that Hydra reads of what was typed."""
    override = OVERRIDES.parse_override(compose.meant([*flags, argument])[len(flags)])
    if override.is_sweep_override():
        return [OVERRIDES.parse_override(f"a={one}").value() for one in override.sweep_string_iterator()]
    return override.value()


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("data.path=بيانات/ملف.jsonl", "بيانات/ملف.jsonl"),
        ('data.path="بيانات/ملف.jsonl"', "بيانات/ملف.jsonl"),
        ("data.path='بيانات/ملف.jsonl'", "بيانات/ملف.jsonl"),
        ("data.path=ملف (1), نسخة.xlsx", "ملف (1), نسخة.xlsx"),
        ("data.path=my file (1).xlsx", "my file (1).xlsx"),
        ("data.path=[draft] a.jsonl", "[draft] a.jsonl"),
        ('data.path=كتاب "أ"\\', 'كتاب "أ"\\'),
        ("data.path=数据/训练.jsonl", "数据/训练.jsonl"),
        ("data.path=plain/my file.jsonl", "plain/my file.jsonl"),
        ("data.columns.prompt=سؤال الطالب", "سؤال الطالب"),
        ("data.columns.response=answer (final)", "answer (final)"),
        ("data.columns.context=السياق=2: كامل", "السياق=2: كامل"),
        ("hydra.run.dir=مخرجات/أول", "مخرجات/أول"),
        ("task.prompts=[ما عاصمة مصر؟, who]", ["ما عاصمة مصر؟", "who"]),
        ('task.prompts=["ما هذا، وما ذاك؟",من: قل (باختصار)]', ["ما هذا، وما ذاك؟", "من: قل (باختصار)"]),
        ("data.sources={a: {path: أ ب.jsonl, weight: 2}}", {"a": {"path": "أ ب.jsonl", "weight": 2}}),
        ("adapter.rank=8", 8),
        ("task.max_steps=null", None),
        ("adapter.target_modules=[q_proj,v_proj]", ["q_proj", "v_proj"]),
    ],
)
def test_a_text_is_read_as_it_was_typed(typed, value):
    assert read(typed) == value


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("data.path=أ.jsonl,ب ج.jsonl", ["أ.jsonl", "ب ج.jsonl"]),
        ("data.path=choice(أ.jsonl,b.jsonl)", ["أ.jsonl", "b.jsonl"]),
        ('data.path="أ,ب.jsonl",c.jsonl', ["أ,ب.jsonl", "c.jsonl"]),
        ("adapter.rank=4,8", [4, 8]),
    ],
)
def test_each_text_of_a_sweep_is_a_value_of_its_own(typed, values):
    assert read(typed, "-m") == values


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("data_root=~/data", "/home/a b/data"),
        ("hydra.run.dir=~/outputs/mine", "/home/a b/outputs/mine"),
        ("task.folders=[~/first, ~/second]", ["/home/a b/first", "/home/a b/second"]),
        ("data.sources={a: {path: ~/a.jsonl}}", {"a": {"path": "/home/a b/a.jsonl"}}),
        ("data.path=a~/b.jsonl", "a~/b.jsonl"),
    ],
)
def test_a_tilde_before_a_path_is_the_home_of_who_types(monkeypatch, typed, value):
    monkeypatch.setenv("HOME", "/home/a b")
    assert read(typed) == value


def test_what_is_typed_again_after_it_was_quoted_stays_what_it_is():
    once = compose.meant(["data.path=أ ب.jsonl", "data.columns.prompt=السؤال"])
    assert compose.meant(once) == once
