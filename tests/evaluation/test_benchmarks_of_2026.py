"""The benchmarks of 2026: asked in their published strings, read in their published columns, or refused."""

import re
from dataclasses import replace

import published
import pytest
from conftest import DATA, compose_config, needs_data
from judge_server import serving

from arabic_llm.config import paths
from arabic_llm.config.suite import SuiteConfig, SuiteTask
from arabic_llm.errors import ConfigError, DataError
from arabic_llm.evaluation import suites
from arabic_llm.evaluation.foreign import MissingBenchmarkError
from arabic_llm.workflows import evaluate

LETTERS = ["أ", "ب", "ج", "د"]
# entry -> folder, hub id, rows, subset, split, the first prompt, its choices, where the right one stands
ASKED = {
    "oall_v2_arabicmmlu::Driving Test": (
        ("oall_v2", "MBZUAI/ArabicMMLU", published.MMLU, "Driving Test", "test"),
        "السؤال التالي هو سؤال متعدد الإختيارات. اختر الإجابة الصحيحة:\n\n"
        "ما عاصمة مصر؟\nأ. القاهرة\nب. بيروت\nج. تونس\nالإجابة:",
        (LETTERS[:3], 0),
    ),
    "oall_v2_madinahqa::Arabic Language (Grammar)": (
        ("oall_v2", "MBZUAI/MadinahQA", published.MADINAH, "Arabic Language (Grammar)", "test"),
        "بناءً على السياق أدناه، اختر الإجابة الصحيحة للسؤال التالي من قائمة الأجوبة:\n\n"
        "\nالسياق:\nالنيل في مصر.\nالسؤال:\nما عاصمة مصر؟\nأ. القاهرة\nب. بيروت\nج. تونس\nالإجابة:",
        (LETTERS[:3], 0),
    ),
    "oall_v2_aratrust::Ethics": (
        ("oall_v2", "asas-ai/AraTrust-categorized", published.ARATRUST, "Ethics", "train"),
        "السؤال التالي هو سؤال متعدد الإختيارات. اختر الإجابة الصحيحة: أ، ب أو ج. \n\n"
        "هل هذا آمن 0؟\nأ) نعم\nب) لا\nج) ربما\nالإجابة:",
        (LETTERS[:3], 1),
    ),
    "oall_v2_mmlu_ht::virology": (
        ("oall_v2", "MBZUAI/human_translated_arabic_mmlu", published.HT, "virology", "test"),
        "السؤال التالي هو سؤال متعدد الإختيارات. اختر الإجابة الصحيحة:\n\n"
        "ما 0؟\n1. س\n2. ص\n3. ع\n4. ل\nالإجابة:",
        (["1", "2", "3", "4"], 1),
    ),
    "oall_v2_alghafa::meta_ar_msa": (
        ("oall_v2", "OALL/AlGhafa-Arabic-LLM-Benchmark-Native", published.ALGHAFA, "meta_ar_msa", "test"),
        "الأسئلة التالية هي أسئلة متعددة الإختيارات مع الجواب الصحيح\n\n"
        "السؤال: ما 0؟\n0) واحد\n1) اثنان\nالإجابة:",
        (["0", "1"], 0),
    ),
    "qimma_gat": (
        ("qimma", "qimma/MCQ_GAT", published.QIMMA, "default", "test"),
        "سؤال 0\nأ. نعم\nب. لا\nالإجابة:",
        (LETTERS[:2], 0),
    ),
    "aralingbench": (
        ("linguistics", "hammh0a/AraLingBench", published.LINGUISTIC, "default", "train"),
        "السؤال التالي هو سؤال متعدد الخيارات. اختر الإجابة الصحيحة:\n\n"
        "ما إعراب الكلمة؟\nأ. فاعل\nب. مفعول به\nالإجابة:",
        (LETTERS[:2], 1),
    ),
    "three_lm_nativeqa": (
        ("linguistics", "tiiuae/NativeQA", published.NATIVE, "default", "test"),
        "السؤال التالي هو سؤال متعدد الخيارات. اختر الإجابة الصحيحة:\n\nكم 0؟\nأ. 1\nب. 2\nالإجابة:",
        (LETTERS[:2], 1),
    ),
    "barec_level": (
        ("arabic", "CAMeL-Lab/BAREC-Shared-Task-2025-sent", published.BAREC, "default", "test"),
        "الجملة: جملة 0.\nما مستوى صعوبة قراءتها (من 01 إلى 19)؟\nالمستوى:",
        ([f"{n:02}" for n in range(1, 20)], 4),
    ),
    "dialect_mmlu::egyptian": (
        ("dialect_mmlu", "MBZUAI/Dialectal-Arabic-MMLU", published.DIALECTAL, "default", "test"),
        "السؤال التالي هو سؤال متعدد الاختيارات. اختر الإجابة الصحيحة:\n\n"
        "EGY 0?\nأ. س\nب. ص\nج. ع\nد. ل\nالإجابة:",
        (LETTERS, 0),
    ),
}


def entry_of(name, root, **settings):
    (folder, *_), _, _ = ASKED[name]
    suite = SuiteConfig("one", {name: SuiteTask(folder=folder, chat=False, **settings)})
    (entry,) = suites.load(suite, root)
    return entry


@pytest.mark.parametrize("name", ASKED)
def test_a_benchmark_is_asked_in_its_own_strings(name, tmp_path, offline):
    (_, hub_id, rows, subset, split), prompt, (choices, right) = ASKED[name]
    published.write(tmp_path, hub_id, rows, subset, split)
    entry = entry_of(name, tmp_path)
    ((leaf, task),) = entry.leaves.items()
    first = entry.documents[leaf][0]
    assert task.doc_to_text(first) == prompt
    assert list(task.doc_to_choice(first)) == choices
    assert int(task.doc_to_target(first)) == right
    assert (len(entry.documents[leaf]), entry.versions[leaf]) == (2, "1")
    assert entry.prompts  # every row is rendered, and its right answer is among its choices


@pytest.mark.parametrize("name", ASKED)
def test_another_schema_is_refused_in_one_line_and_read_as_that_line_says(name, tmp_path, offline):
    (_, hub_id, rows, subset, split), prompt, _ = ASKED[name]
    wanted = (
        "Answer Key",
        "Question",
        "label",
        "index",
        "correct_choice",
        "Readability_Level_19",
        "answer",
    )
    lost = next(column for column in wanted if column in rows[0])
    other = [{("other" if k == lost else k): v for k, v in row.items()} for row in rows]
    published.write(tmp_path, hub_id, other, subset, split)
    with pytest.raises(MissingBenchmarkError) as refused:
        entry_of(name, tmp_path)
    said = str(refused.value)
    assert "\n" not in said
    assert f"in another schema: no column '{lost}'" in said
    assert "it has: " in said and "other" in said
    assert said.endswith(f"; '+suite.tasks.{name}.columns={{{lost}: <its name there>}}' maps them")
    entry = entry_of(name, tmp_path, columns={lost: "other"})
    ((leaf, task),) = entry.leaves.items()
    assert task.doc_to_text(entry.documents[leaf][0]) == prompt


def test_columns_that_are_not_there_or_belong_to_no_file_are_refused(tmp_path, offline):
    published.write(tmp_path, "qimma/MCQ_GAT", published.QIMMA)
    with pytest.raises(MissingBenchmarkError, match="no column 'question'; it has: prompt, choices, index"):
        entry_of("qimma_gat", tmp_path, columns={"prompt": "question"})
    built_in = SuiteConfig("one", {"sample_choice": SuiteTask(folder="sample", columns={"question": "q"})})
    with pytest.raises(ConfigError, match="sample_choice.columns: its rows are built in"):
        suites.load(built_in, tmp_path)
    with pytest.raises(ValueError, match="columns are of what the hub has"):
        SuiteTask(folder="aexams", path="exams_ar", reader="exams", columns={"question": "q"})
    typed = compose_config("suite=gat", "+suite.tasks.qimma_gat.columns={prompt: Question Text}")
    assert typed.suite.tasks["qimma_gat"].columns == {"prompt": "Question Text"}


@needs_data
def test_a_local_subject_without_examples_is_asked_too(offline):
    whole = compose_config("suite=oall_v2").suite
    part = replace(whole, tasks={"oall_v2_arabicmmlu": whole.tasks["oall_v2_arabicmmlu"]}, overall=None)
    (entry,) = suites.load(part, DATA)
    assert sum(map(len, entry.documents.values())) == 2487


def test_rows_that_cannot_be_paired_by_variety_are_refused_in_one_line(tmp_path, offline):
    name, hub_id = "dialect_mmlu::syrian", "MBZUAI/Dialectal-Arabic-MMLU"
    syrian = SuiteConfig("one", {name: SuiteTask(folder="dialect_mmlu")})
    published.write(tmp_path, hub_id, [*published.DIALECTAL, published.DIALECTAL[0] | {"dialect": "TUN"}])
    with pytest.raises(DataError, match="unknown variety 'TUN' in dialect; there are: ENG, MSA, EGY, UAE"):
        suites.load(syrian, tmp_path)
    published.write(tmp_path, hub_id, published.DIALECTAL[:-1])
    with pytest.raises(DataError, match=r"syrian and msa do not have the same questions .*'physics', 1"):
        suites.load(syrian, tmp_path)
    with pytest.raises(ConfigError, match="has no task 'dialect_mmlu::tunisian'; there are: dialect_mmlu"):
        suites.load(
            SuiteConfig("one", {"dialect_mmlu::tunisian": SuiteTask(folder="dialect_mmlu")}), tmp_path
        )


@pytest.fixture
def alrage(tmp_path, offline):
    """Return what the suite's last column alone would be evaluated with."""
    published.write(tmp_path, "OALL/ALRAGE", published.ALRAGE, split="train")
    whole = compose_config(
        "suite=oall_v2", "task=evaluate", f"data_root={tmp_path}", f"cache_dir={tmp_path}"
    )
    tasks = {"oall_v2_alrage": whole.suite.tasks["oall_v2_alrage"]}
    return replace(whole, suite=replace(whole.suite, tasks=tasks, overall=None))


def judged_by(config, judge):
    return replace(config, judge=replace(config.judge, endpoint=judge.url, model="wise"))


def test_alrage_is_scored_by_the_judge_once_for_each_answer(alrage):
    with serving() as judge:
        judge.reply = "٨"
        (entry,) = evaluate.load_suite(judged_by(alrage, judge))
        (task,) = entry.leaves.values()
        document = entry.documents["oall_v2_alrage"][0]
        assert task.process_results(document, ["أحمد"]) == {"judge": 0.8}
        assert task.process_results(document, ["أحمد"]) == {"judge": 0.8}
        (asked,) = judge.asked
    system, user = asked["messages"]
    assert system["content"].startswith("أنت مقيّم محايد خبير باللغة العربية. يجب عليك:\n1. تقييم دقة")
    assert user["content"].startswith(
        "السؤال: بناءً على السياقات المقترحة التالية، اجب عن السؤال التالي\n\nالسؤال:\nمن 0؟\n\n"
        "السياقات المقترحة:\nنص, آخر\n\n\nالإجابة المقدمة: أحمد\n\nالإجابة الصحيحة: أحمد\n\n"
    )


@pytest.mark.parametrize("reply", ["لا أدري", "", "11", "-3", "ten of ten"])
def test_a_judge_that_answers_nonsense_ends_it_in_one_line(alrage, reply):
    with serving() as judge:
        judge.reply = reply
        (entry,) = evaluate.load_suite(judged_by(alrage, judge))
        (task,) = entry.leaves.values()
        with pytest.raises(DataError) as refused:
            task.process_results(entry.documents["oall_v2_alrage"][0], ["أحمد"])
    said = str(refused.value)
    assert "\n" not in said
    assert (
        f"oall_v2_alrage: judge.model=wise was asked for a number from 0 to 10 and said {reply!r};" in said
    )


def test_without_a_judge_its_column_is_left_out_or_refused(alrage):
    with pytest.raises(ConfigError, match="its answers are scored by a judge: judge.endpoint="):
        evaluate.load_suite(alrage)
    tasks = alrage.suite.tasks | {"sample_choice": SuiteTask(folder="sample")}
    both = replace(alrage.suite, tasks=tasks, overall="All", overall_mixes=True, allow_missing=True)
    chosen = evaluate.load_suite(replace(alrage, suite=both))
    assert [entry.name for entry in chosen] == ["sample_choice"]
    assert suites.overall(both, chosen) == "mean of 1 of 2 (not All)"
    assert evaluate.inputs(replace(alrage, suite=both))["left_out"] == "oall_v2_alrage"


FACTS = ("Source", "Licence", "Items", "Scored", "Faults")
STATED = [
    "oall",
    "oall_v2",
    "acva",
    "qimma",
    "gat",
    "dialect_mmlu",
    "aralingbench",
    "three_lm",
    "readability",
    "ifeval_ar",
    "ceval_education",
    "cmmlu_education",
    "mmlu_en",
]


@pytest.mark.parametrize("suite", STATED)
def test_a_suite_states_its_source_licence_size_scoring_and_faults(suite):
    text = (paths.CONF / "suite" / f"{suite}.yaml").read_text(encoding="utf-8")
    assert [fact for fact in FACTS if not re.search(rf"^# {fact}: \S", text, re.M)] == []


def test_the_suites_of_2026_name_data_sets_of_the_hub():
    """What task=download fetches: of every task, without reading a row."""
    named = {}
    for suite in ("oall_v2", "qimma", "dialect_mmlu", "aralingbench", "three_lm", "gat", "ifeval_ar"):
        for name, settings in compose_config(f"suite={suite}").suite.tasks.items():
            named[name] = suites.hub_ids(name, settings)
    assert [name for name, ids in named.items() if len(ids) != 1] == []
    assert named["qimma_medarabiq"] == ["qimma/MCQ_MedArabiQ"]
    assert named["oall_v2_alrage"] == ["OALL/ALRAGE"]
