"""The results table sets like beside like, marks what is not, and keeps what others published apart."""

import csv
import io
from dataclasses import replace

from arabic_llm.analysis.scores import Evaluation, Score
from arabic_llm.reports import results
from arabic_llm.reports.results import ReportedEvaluation

MODEL = {"name": "m", "quantization": "none", "trained": None}


def judged(limit=None, shots=0):
    entry = {"num_fewshot": shots, "metrics": ["acc"], "seen_in_training": False}
    parts = {key: {"acva": "1", "other": "1"} for key in ("versions", "items", "prompts")}
    return {"tasks": {"acva": entry | parts}, "limit": limit, "lm_eval": "0", "overall": None}


def found(value, trained_on="", seen=False, **how):
    score = Score("acva", "acc", 100, value, 0.05, 0.5, 0.6, ("acva",), "1", macro_f1=0.4)
    evaluation = Evaluation(MODEL, judged(**how), [replace(score, seen_in_training=seen)], [])
    return ReportedEvaluation(evaluation, trained_on)


def acva(*evaluations):
    return [row for row in results.rows(evaluations) if row.task == "acva"]


def test_rows_judged_otherwise_are_apart_and_say_why():
    base, tuned, few, shots = acva(
        found(0.5), found(0.6, "lora on x"), found(0.7, limit=9), found(0.8, shots=3)
    )
    assert [row.letter for row in (base, tuned, few, shots)] == ["A", "A", "B", "C"]
    assert few.notes[-1] == "not comparable with A: limit 9"
    assert shots.notes[-1] == "not comparable with A: acva.num_fewshot 3"
    assert base.notes == ("always one answer: 60.0",)


def test_what_was_seen_in_training_is_marked_and_is_no_other_way_of_judging():
    base, seen = acva(found(0.5), found(0.9, "lora on x", seen=True))
    assert seen.notes[0] == "seen in training"
    assert seen.letter == base.letter


def test_published_figures_stand_as_they_were_published():
    table = results.rows([found(0.5)])
    overall = {r.model: results.cells(r)[4] for r in table if r.task == "All"}
    assert overall == {"Gemma-2-9b-it": "56.48", "BARKA-9b-it": "60.8"}
    assert {r.letter for r in table if r.way is None} == {"published"}
    page = results.as_markdown(table)
    assert (
        page.index("| acva | m ") < page.index("## Published, of other data sets") < page.index("| All |")
    )
    lines = csv.DictReader(io.StringIO(results.as_csv(table)))
    assert {line["published"] for line in lines if line["model"] != "m"} == {"True"}
    assert "60.8" not in results.terminal(table)  # of tasks that were not judged here


def test_names_in_arabic_stand_in_their_own_direction():
    page = results.as_html(results.rows([found(0.5, "lora on قصص <b>")]))
    assert "<bdi>lora on قصص &lt;b&gt;</bdi>" in page
