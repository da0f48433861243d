"""W&B gets an offline copy beside the results, and of it what is listed; without it nothing is missed."""

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import dashboards
import offline
import pytest
import wandb_server
import yaml
from wandb_server import Received
from wandb_workspaces.workspaces import internal

from arabic_llm import files, tracking
from arabic_llm.config import paths
from arabic_llm.config.run import Tracking
from arabic_llm.tracking import Results, told
from arabic_llm.tracking import sync as uploads

KEY = "canary0key" * 4
SECRETS = {"HF_TOKEN": "canary-token", "OPENAI_API_KEY": "canary-openai", "WANDB_API_KEY": KEY}
STUDY = (
    *("task=study", "data=local", "hw=cpu", "task.max_steps=2", "task.effective_batch_size=2"),
    *("data.test_share=0", "suite.limit=1", "hydra.run.dir=grid/mine"),
)


@pytest.fixture(scope="module")
def tracked(nursery, tmp_path_factory) -> Path:
    """Return the folder of a study in the home of a user with secrets, where W&B has its copy."""
    home = tmp_path_factory.mktemp("canary_home")
    rows = home / "canary_folder" / "rows.jsonl"
    rows.parent.mkdir()
    files.write_json_lines(rows, [{"prompt": f"{n} + {n}؟", "response": str(2 * n)} for n in range(40)])
    (home / "grid").mkdir()
    files.write_json(home / "grid" / "sweep.json", {})  # as if it were a job of a sweep
    said = {**SECRETS, "HOME": str(home), "ARABIC_LLM_DATA": str(home)}
    nursery.finish(home, (*STUDY, f"data.path={rows}"), said)
    return home / "grid" / "mine"


@pytest.fixture(scope="module")
def sent(tracked) -> tuple[Received, list[subprocess.CompletedProcess[str]]]:
    """Return what a server was sent of it, and two commands to send it: `make sync`, twice."""
    with wandb_server.serving() as server:
        return server, [sync(tracked.parents[1], server.url) for _ in range(2)]


def sync(folder: Path, url: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    return command("sync", folder, url, key, str(folder))


def command(
    name: str, folder: Path, url: str, key: str = KEY, *typed: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"arabic_llm.tracking.{name}", *typed],
        env={**os.environ, "WANDB_BASE_URL": url, "WANDB_API_KEY": key, "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_an_offline_run_has_what_metrics_and_result_have(tracked):
    lines = files.read_json_lines(tracked / "training" / "metrics.jsonl")
    copied = {line["_step"]: line for line in offline.history(tracked)}
    for line in lines:
        for name, value in line.items():
            if name != "step" and value is not None:
                assert copied[line["step"]][name] == pytest.approx(value, rel=1e-12), name
    summary, outcome = offline.summary(tracked), files.read_json(tracked / "adapter" / "outcome.json")
    assert summary["metric"] == files.read_state(tracked / "result.json")["metric"]
    assert summary["measured_mib"] == outcome["measured_mib"]
    assert summary["sample_choice tuned"] in (0, 1)
    assert summary["comparison/nrows"] == 6


def test_a_run_is_filed_under_its_sweep_its_task_and_the_names_of_its_choices(tracked):
    (run,) = [record.run for record in offline.records(tracked) if record.HasField("run")]
    assert (run.display_name, run.run_group, run.job_type) == ("mine", "grid", "study")
    assert list(run.tags) == ["tiny", "local", "lora", "sample", "study"]
    assert (run.host, run.project) == ("-", "arabic-llm")


def test_only_listed_settings_are_told(tracked):
    config = offline.config(tracked)
    listed = {f"{group}.{name}" for group, names in told.SETTINGS.items() for name in names} | {"seed"}
    said = {
        f"{group}.{name}" if isinstance(values, dict) else group
        for group, values in config.items()
        for name in (values if isinstance(values, dict) else [""])
    }
    assert said <= listed
    assert "canary" not in json.dumps(config)
    assert config["adapter"]["rank"] == 16
    unread = told.settings({"model": {"name": "m", "path": "/canary"}, "judge": {"endpoint": "canary"}})
    assert unread == {"model": {"name": "m"}}


def test_what_recipes_sweep_is_told():
    recipes = [yaml.safe_load(path.read_text()) for path in paths.EXPERIMENTS.glob("experiment/*.yaml")]
    grids = [recipe.get("hydra", {}).get("sweeper", {}).get("params", {}) for recipe in recipes]
    swept = {key for grid in grids for key in grid if "." in key}
    assert {"adapter.rank", "task.learning_rate"} <= swept
    assert swept <= {f"{group}.{name}" for group, names in told.SETTINGS.items() for name in names}


def test_what_is_uploaded_holds_no_secret_and_no_home(sent, tracked):
    server, (first, _) = sent
    assert first.returncode == 0, first.stdout + first.stderr
    arrived = server.everything()
    for canary in (*SECRETS.values(), str(tracked.parents[1]), "canary_home"):
        assert canary.encode() not in arrived, canary
    assert b"canary_folder" in arrived  # in the report's command, as ~/canary_folder


def test_a_run_arrives_whole_with_its_tables_and_its_report(sent, tracked):
    server, (first, _) = sent
    assert "1 W&B runs: 1 uploaded, 0 were before" in first.stdout
    put = {path.removeprefix("/put/"): body for path, body in server.requests if path.startswith("/put/")}
    assert b"</html>" in put["report.html"]
    table = json.loads(put["comparison.table.json"])
    assert table["columns"][:3] == ["task", "metric", "n"]
    assert len(table["data"]) == 6
    last = max(server.history(), key=lambda line: line["_step"])
    losses = [
        m["loss"] for m in files.read_json_lines(tracked / "training" / "metrics.jsonl") if "loss" in m
    ]
    assert last["loss"] == losses[-1]
    bucket = server.asked["UpsertBucket"][0]
    assert (bucket["groupName"], bucket["jobType"], bucket["project"]) == ("grid", "study", "arabic-llm")


def test_what_was_uploaded_is_not_uploaded_again(sent):
    server, (_, second) = sent
    assert second.returncode == 0
    assert second.stdout == "1 W&B runs: 0 uploaded, 1 were before\n"
    assert len(server.asked["RunResumeStatus"]) == 1


def an_unsent_run(folder: Path) -> Path:
    tracker = tracking.start(Tracking.wandb, folder, {})
    tracker.log({"step": 1, "loss": 2.5})
    tracker.finish(Results(2.5))
    return folder


def test_without_login_or_network_one_line_says_so_and_nothing_is_marked(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    an_unsent_run(tmp_path)
    for key, said in (("", "no W&B login for"), (KEY, "cannot be reached")):
        done = sync(tmp_path, "http://127.0.0.1:9", key)
        assert done.returncode == 2
        assert said in done.stdout
        assert done.stdout.count("\n") == 1
        assert not list(tmp_path.rglob("*.synced"))
    with (tmp_path / ".lock").open("w") as lock:  # as a live process holds it
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert uploads.sync([str(tmp_path)]) == "1 W&B runs: 0 uploaded, 0 were before, 1 not done"


def test_the_dashboards_are_built_offline_as_they_were():
    assert dashboards.built() == json.loads(dashboards.GOLDEN.read_text(encoding="utf-8"))
    for one in dashboards.built():
        internal.View.model_validate(one)  # strictly, as W&B's own form


def test_the_training_has_its_curves_and_a_sweep_its_comparisons():
    training, sweeps = (
        [panel["config"].get("chartTitle") or panel["viewType"] for panel in dashboards.panels(one)]
        for one in dashboards.built()
    )
    assert len(training) == 9
    assert sweeps == [
        "Settings and what they came to",
        "Parameter Importance",
        "Score against memory of a step, MiB",
    ]


def test_every_metric_they_name_was_logged_by_a_real_run(tracked):
    history = {key for line in offline.history(tracked) for key in line}
    summary, config = offline.summary(tracked), offline.config(tracked)
    for name in dashboards.named("metrics"):
        assert name in history
    for pattern in dashboards.named("metricRegex"):
        assert any(re.fullmatch(pattern, key) for key in history), pattern
    accessors = [
        *dashboards.named("accessor"),
        *dashboards.named("xAxis"),
        *dashboards.named("yAxis"),
        *dashboards.named("targetKey"),
        *dashboards.columns(),
    ]
    of_runs = [name for name in accessors if name not in ("_step", "run:displayName")]
    assert len(of_runs) > 15
    for name in of_runs:
        kind, _, key = name.rpartition(":")
        if kind == "config":
            group, _, setting = key.replace(".value", "", 1).partition(".")
            assert setting in config[group] if setting else group in config, name
        else:
            assert isinstance(summary[key], int | float), name


def test_saved_again_they_are_the_same_two_and_where_they_cannot_be_a_line_says_so(tmp_path):
    with wandb_server.serving() as server:
        server.views["nw-arabicllmtraining-v"] = {"id": "known", "spec": "{}"}
        saved = command("dashboards", tmp_path, server.url)
        assert saved.returncode == 0, saved.stdout + saved.stderr
        assert "/me/arabic-llm?nw=arabicllmtraining" in saved.stdout
        assert [view["displayName"] for view in server.views.values()] == ["Training", "Sweeps"]
        assert [given.get("id") for given in server.asked["UpsertView2"]] == ["known", None]
        server.has_project = False
        refused = command("dashboards", tmp_path, server.url)
    assert refused.returncode == 2
    assert refused.stdout.count("\n") == 1
    assert "Project `me/arabic-llm` not found" in refused.stdout


def test_names_of_folders_do_not_tell_where_the_home_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/canary")
    assert told.homeless("see /home/canary/x") == "see ~/x"
    assert told.homeless("path=_home_canary_rows.jsonl,rank=4") == "path=~_rows.jsonl,rank=4"
    assert told.tags({"model": {"name": "m" * 80}, "data": {"name": "m" * 80}}) == ["m" * 64]


def test_a_stage_is_filed_under_its_study_and_a_lone_run_under_nothing(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    stage = tmp_path / "outputs" / "study" / "dpo"
    stage.mkdir(parents=True)
    assert told.group(stage) is None
    (stage.parent / "manifest.json").touch()
    assert told.group(stage) == "outputs/study"


def test_wandb_that_does_not_start_costs_the_copy_and_not_the_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", "nonsense")
    caplog.set_level("INFO", "arabic_llm")
    tracker = tracking.start(Tracking.wandb, tmp_path, {})
    tracker.log({"step": 1, "loss": 2.5})
    tracker.finish(Results(2.5))
    assert caplog.messages[0].startswith("no W&B copy of this run: 1 validation error")


def test_wandb_that_dies_on_the_way_is_said_once(caplog):
    class Dying(tracking.NoTracker):
        def log(self, values):
            raise BrokenPipeError("service is gone")

    caplog.set_level("INFO", "arabic_llm")
    tracker = tracking.Forgiving(Dying())
    tracker.log({"step": 1})
    tracker.log({"step": 2})
    assert caplog.messages == ["no further W&B copy of this run: service is gone"]


def test_none_writes_nothing(tmp_path):
    tracker = tracking.start(Tracking.none, tmp_path, {})
    tracker.log({"step": 1, "loss": 2.5})
    tracker.finish(Results(2.5))
    assert not list(tmp_path.iterdir())
