"""Studies in stages: each trained from the one before, judged, compared; killed, the same numbers."""

import contextlib
import csv
import json
import os
import signal
import time
from dataclasses import fields
from itertools import combinations

import pytest
from conftest import compose_config, finished, run_in

from arabic_llm import files
from arabic_llm.config import compose
from arabic_llm.config.naming import of_no_stage
from arabic_llm.config.study_task import Stage
from arabic_llm.config.task import SftConfig
from arabic_llm.errors import ConfigError, DataError
from arabic_llm.workflows import stages

LANDS = ("مصر", "تونس", "لبنان", "العراق", "اليمن", "قطر", "عمان", "ليبيا")
ASKED = ("ما عاصمة {}؟", "أخبرني: ما هي عاصمة {}؟", "اذكر لي عاصمة {} من فضلك.")
SHORT = ("max_steps=3", "effective_batch_size=4", "save_steps=1", "eval_steps=3", "held_out.num_bytes=0")
PLAYED = (
    *("task=study", "task.stages=[sft,dpo,orpo]", "task.starts_from.orpo=sft"),
    *("hw=cpu", "tracking=none", "suite.limit=4", "task.prompts=['ما عاصمة مصر؟']"),
    *(f"task.{where}{setting}" for where in ("", "dpo.", "orpo.") for setting in SHORT),
    *("task.dpo.learning_rate=1e-3", "task.orpo.learning_rate=1e-3"),
    *("data=local", "data.path=rows.jsonl", "task.pairs=local", "task.pairs.path=pairs.jsonl"),
)
SIDES = ("base", "sft", "dpo", "orpo")


def rows_in(folder):
    """Leave questions with answers, and pairs of answers, in a folder."""
    asked = [(how.format(land), land) for how in ASKED for land in LANDS]
    answered = [{"prompt": asked, "response": f"عاصمة {land} مدينة كبيرة."} for asked, land in asked]
    paired = [
        {"prompt": asked, "chosen": f"عاصمة {land} مدينة كبيرة.", "rejected": "لا أعرف شيئا عن ذلك."}
        for asked, land in asked
    ]
    for name, rows in (("rows", answered), ("pairs", paired)):
        text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Return what a study in stages said, and its directory."""
    return finished(rows_in(tmp_path_factory.mktemp("stages")), *PLAYED)


def test_every_stage_is_trained_from_the_one_that_is_named_and_judged(study):
    said, directory = study
    assert [line for line in said.splitlines() if line.startswith("stage ")] == [
        "stage sft, from base, on local:",
        "stage dpo, from sft, on local:",
        "stage orpo, from sft, on local:",
    ]
    known = {name: files.read_json(directory / name / "evaluation" / "result.json") for name in SIDES}
    trained = [known[name]["model"]["trained"] for name in SIDES]
    assert trained[0] is None
    assert len(set(trained)) == len(SIDES)
    for name in ("dpo", "orpo"):
        told = files.read_state(directory / name / "manifest.json")
        assert told["identity"]["task"]["name"] == name
        assert told["identity"]["adapter"]["path"] == "../sft/adapter"
        first = files.read_json_lines(directory / name / "training" / "metrics.jsonl")[1]
        assert first["tokens_chosen"] > 0
    begun = files.read_json_lines(directory / "dpo" / "training" / "metrics.jsonl")
    assert next(line for line in begun if "dev_reward_margin" in line)[
        "dev_reward_margin"
    ] == pytest.approx(0, abs=1e-3)  # its reference is the stage before it, and not the base


def test_every_two_sides_are_compared_and_corrected_for_all(study):
    _, directory = study
    with (directory / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["from"], row["to"]) for row in rows} == set(combinations(SIDES, 2))
    of_two = [row for row in rows if (row["from"], row["to"]) == ("base", "dpo")]
    score = next(row for row in of_two if row["name"] == "sample_choice")
    own = [
        files.read_json(directory / side / "evaluation" / "result.json")["scores"]
        for side in ("base", "dpo")
    ]
    values = [next(s["value"] for s in scores if s["name"] == "sample_choice") for scores in own]
    assert float(score["difference"]) == pytest.approx(values[1] - values[0])


def test_the_report_shows_every_stages_charts_and_what_each_says_right_to_left(study):
    _, directory = study
    page = (directory / "report.html").read_text(encoding="utf-8")
    for line in ("Stage sft, from base", "Stage dpo, from sft", "Stage orpo, from sft"):
        assert line in page
    assert '<p class="result">base to orpo: ' in page
    # the bars of all sides; a loss curve and memory of each stage, of two stages the curves of pairs
    assert page.count("<svg") == 1 + 3 + 3 + 2
    assert '<td dir="auto" class="ar"><b>ما عاصمة مصر؟</b></td>' in page
    for side in SIDES:
        (said,) = files.read_state(directory / side / "transcripts.json")["answers"]
        assert said in page


def test_the_same_command_reads_what_is_there_and_a_stage_can_be_handed_on(study):
    _, directory = study
    folder = directory.parent
    status, said = run_in(folder, *PLAYED, "hydra.run.dir=mine")
    assert (status, "done before, not run again" in said) == (0, True)
    status, said = run_in(folder, "task=export", "task.run=mine/dpo", "task.formats=[adapter]")
    assert status == 0, said
    status, said = run_in(folder, "task=export", "task.run=mine", "task.formats=[adapter]")
    assert status == 2
    assert "task.run: mine was trained in stages; give one of them: mine/sft, mine/dpo, mine/orpo" in said
    status, said = run_in(folder, "task=compare", "task.base=mine/sft", "task.tuned=mine/orpo")
    assert status == 0, said


def test_a_run_is_the_adapter_that_it_has_trained_where_adapter_path_names_it(tmp_path):
    study, whole = tmp_path / "study", tmp_path / "whole"
    for stage in ("sft", "dpo"):
        (study / stage / "adapter").mkdir(parents=True)
        (study / stage / "adapter" / "adapter_config.json").touch()
    (whole / "model").mkdir(parents=True)
    for run in (study, study / "sft", whole):
        (run / "manifest.json").touch()

    def taken(folder):
        return compose_config("task=dpo", "data=sample_pairs", f"adapter.path={folder}").adapter.path

    assert taken(study / "sft") == taken(study / "sft" / "adapter") == str(study / "sft" / "adapter")
    assert taken(study / "dpo") == str(study / "dpo")  # no run: refused when it is read
    with pytest.raises(ConfigError, match=f"in stages; give one of them: {study}/dpo, {study}/sft"):
        taken(study)
    with pytest.raises(ConfigError, match=f"has no adapter; give model.path={whole}/model"):
        taken(whole)


def test_a_dry_run_plans_each_stage_and_writes_nothing(tmp_path):
    rows_in(tmp_path)
    status, said = run_in(tmp_path, *PLAYED, "dry_run=true")
    assert status == 0, said
    assert said.count("plan: tiny (3.4 M parameters) with adapter=lora") == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.jsonl", "rows.jsonl"]


def test_what_a_later_stage_cannot_learn_from_is_refused_before_the_first_is_trained(tmp_path):
    rows_in(tmp_path)
    status, said = run_in(tmp_path, *PLAYED, "task.pairs.path=rows.jsonl", "hydra.run.dir=mine")
    assert status == 2
    assert "task.pairs.columns.rejected names yours" in said.splitlines()[-1]
    assert not (tmp_path / "mine" / "sft").exists()


def test_a_study_killed_in_any_stage_ends_with_the_same_numbers(nursery, tmp_path, study):
    _, whole = study
    rows_in(tmp_path)
    killed = tmp_path / "mine"
    kills = []
    for stage in ("sft", "dpo"):
        pid = nursery.start(tmp_path, (*PLAYED, "hydra.run.dir=mine"))
        metrics = killed / stage / "training" / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not steps_in(metrics):
            time.sleep(0.005)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        kills.append((nursery.wait(), (killed / stage / "result.json").exists()))
    assert kills == [(-signal.SIGKILL, False)] * 2
    nursery.finish(tmp_path, (*PLAYED, "hydra.run.dir=mine"))
    assert (killed / "comparison.csv").read_text() == (whole / "comparison.csv").read_text()
    assert files.read_json(killed / "result.json") == files.read_json(whole / "result.json")
    for stage in SIDES[1:]:
        curves = [
            [
                {key: value for key, value in line.items() if "second" not in key and "mib" not in key}
                for line in files.read_json_lines(folder / stage / "training" / "metrics.jsonl")
            ]
            for folder in (killed, whole)
        ]
        assert curves[0] == curves[1]


def steps_in(metrics):
    """Return how many steps have been trained and written down."""
    return metrics.is_file() and metrics.read_text(encoding="utf-8").count('"grad_norm"')


def test_a_study_without_stages_is_what_it_was():
    plain = compose.identity(compose_config("task=study"))["task"]
    assert plain.keys() == {one.name for one in fields(SftConfig)} - {"loss_also_divided"}  # what is said
    assert of_no_stage([Stage.sft, Stage.dpo]) == {"orpo", "kto"}


def test_whole_weights_are_trained_further_on_the_stage_before(tmp_path):
    config = compose_config("task=study", "adapter=full", "task.stages=[sft,dpo]", f"output_dir={tmp_path}")
    _, dpo = stages.steps(config)
    assert dpo.config.model.path == str(tmp_path / "sft" / "model")
    assert dpo.told.model == config.model  # a card and an export name the base
    assert dpo.trained == tmp_path / "dpo" / "model"


BRIEF = (
    *(word for word in PLAYED if "orpo" not in word),
    *(
        "task.stages=[sft,dpo]",
        "suite.limit=1",
        "task.max_steps=2",
        "task.dpo.max_steps=2",
        "task.prompts=[]",
    ),
    "hydra.run.dir=mine",
)


def first_of_dpo(folder):
    """Return the dev margin before DPO's first step, and its first step."""
    lines = files.read_json_lines(folder / "mine" / "dpo" / "training" / "metrics.jsonl")
    margin = next(line["dev_reward_margin"] for line in lines if "dev_reward_margin" in line)
    return margin, next(line for line in lines if line["step"] == 1)


def test_stages_of_whole_weights_go_on_from_what_the_one_before_has_learned(nursery, tmp_path):
    nursery.finish(rows_in(tmp_path), (*BRIEF, "adapter=full"))
    margin, first = first_of_dpo(tmp_path)
    assert margin == pytest.approx(0, abs=1e-3)  # the reference is the stage before
    weights = {
        side: files.read_json(tmp_path / "mine" / side / "evaluation" / "result.json")["model"]
        for side in ("base", "sft", "dpo")
    }
    assert len({str(weights[side]["trained"]) for side in weights}) == 3
    assert first["log_prob_chosen"] > -40  # the base finds the better answers twice as unlikely


def test_stages_with_new_tokens_are_shared_out_to_two_processes(nursery, tmp_path):
    shared = (*BRIEF, "adapter.extend_vocabulary=20", "hw.micro_batch_size=2")
    assert nursery.together(rows_in(tmp_path), shared, shared) == [0, 0]
    margin, first = first_of_dpo(tmp_path)
    assert margin == pytest.approx(0, abs=1e-3)
    assert first["loss"] == pytest.approx(0.6931, abs=1e-3)
    words = [
        (tmp_path / "mine" / stage / "adapter" / "vocabulary.json").read_bytes() for stage in ("sft", "dpo")
    ]
    assert words[0] == words[1]
    said = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert said.count("stage dpo, from sft, on local:") == 1
    assert "in each of 2 processes" in said


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("task.stages=[sft,sft]", "task.stages: sft stands there twice"),
        ("task.starts_from.dpo=orpo", "task.starts_from: dpo cannot start from 'orpo'; .* base, sft"),
        ("task.starts_from.orpo=sft", r"no stage 'orpo' in task.stages \(sft, dpo\)"),
        ("task.prompts=[{a: b}]", "quote it"),
    ],
)
def test_stages_that_cannot_be_are_refused(override, said):
    with pytest.raises(ConfigError, match=said):
        compose_config("task=study", "task.stages=[sft,dpo]", override)


def test_a_setting_that_a_stage_would_refuse_is_named_where_it_was_typed():
    config = compose_config("task=study", "task.stages=[sft,dpo]", "task.dpo.max_length=4096")
    with pytest.raises(ConfigError, match=r"^task.dpo.max_length=4096 is more than the 2048 tokens"):
        stages.steps(config)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["task.dpo.beta=-1"], "task.dpo.beta must be positive, not -1"),
        (
            ["task.kto.effective_batch_size=1"],
            "task.kto.loss_type=kto needs task.kto.effective_batch_size a",
        ),
        (["task.orpo.held_out.num_bytes=-1"], "task.orpo.held_out.num_bytes must not be negative"),
        (["task.pairs.dev_share=2"], "task.pairs.dev_share must be in"),
        (["task.pairs.cleaning.min_chars=0"], "task.pairs.cleaning.min_chars must be at least 1"),
        (["task.learning_rate=-1"], "task.learning_rate must be positive"),
        (
            ["data.prefer_chinese_ratio=0.7"],
            "data.prefer_chinese_ratio=0.7: no source has data.language=zh",
        ),
        (["task.pairs.prefer_chinese_ratio=0.7"], "task.pairs.prefer_chinese_ratio=0.7: no source has"),
        (["data=barka", "data.sources.barka_wiki.weight=-1"], "data.sources.barka_wiki.weight must not be"),
        (
            ["data@task.pairs=alignment_pairs", "task.pairs.sources.llamafactory_dpo_zh.max_rows=0"],
            "task.pairs.sources.llamafactory_dpo_zh.max_rows must be at least 1",
        ),
    ],
)
def test_a_setting_is_named_in_its_refusal_where_it_was_typed(overrides, said):
    with pytest.raises(ConfigError) as caught:
        compose_config("task=study", "task.stages=[sft,dpo,orpo,kto]", *overrides)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("said", "as_typed"),
    [
        ("lower task.max_length or adapter.rank", "lower task.dpo.max_length or adapter.rank"),
        ("Look (task=inspect task.ids=[a])", "Look (task=inspect task.ids=[a])"),
        ("/home/data.path/task.beta: none", "/home/data.path/task.beta: none"),
        ("data=x: nothing; task=download data=x", "task.pairs=x: nothing; task=download data=x"),
        ("set data.columns.rejected=<column>", "set task.pairs.columns.rejected=<column>"),
    ],
)
def test_what_a_stage_refuses_while_it_runs_is_named_as_a_study_has_it(said, as_typed):
    with pytest.raises(DataError) as caught, stages.named_as_typed(Stage.dpo):
        raise DataError(said)
    assert str(caught.value) == as_typed
    with pytest.raises(DataError) as caught, stages.named_as_typed(Stage.sft):
        raise DataError(said)
    assert str(caught.value) == said
