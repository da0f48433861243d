"""The program as its users type it: exit codes, one line for each mistake, nothing heavy too early."""

import fcntl
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from conftest import FEW_ROWS, compose_config

from arabic_llm.config import help, other_names

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
QUICK = (
    *("task.max_steps=2", "task.effective_batch_size=4", "data.max_rows=40", "hw=cpu"),
    "task.held_out.num_bytes=0",  # other files measure what is held out
    *FEW_ROWS,
)


def complaint(program, *overrides):
    """Return the one line of a mistake, after checking that it is one line and exit code 2."""
    status, said = program(*overrides)
    lines = said.strip().splitlines()
    assert status == 2, said
    assert lines[-1].startswith("error: "), said
    assert sum(line.startswith("error") for line in lines) == 1
    return lines[-1]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("adapter.rnak=1", "no setting 'adapter.rnak'; did you mean 'adapter.rank'?"),
        ("+adapter.rnak=1", "no setting 'adapter.rnak'; did you mean 'adapter.rank'?"),
        ("adaptr=lora", "no setting 'adaptr'; did you mean 'adapter'?"),
        ("model=qwen", "no model 'qwen'; there are: acegpt_v2_8b, allam_7b, arabert"),
        (
            "task=sfft",
            "no task 'sfft'; there are: chat, classify, compare, download, dpo",
        ),
        ("+experiment=nothing", "no experiment 'nothing'; there are: "),
        ("adapter.rank=abc", "adapter.rank: 'abc' is no whole number"),
        ("adapter.rank=0", "adapter.rank must be at least 1, not 0"),
        (
            "adapter.quantization=nf5",
            "adapter.quantization: Invalid value 'nf5', expected one of [none, nf4]",
        ),
        ("suite=7", "no suite '7'; there are: acva"),
        (
            "hw=16",
            "no hw '16'; there are: 16gb, 24gb, 2x24gb, 4gb, 80gb, 8gb, auto, cpu; did you mean 'hw=16gb'?",
        ),
        ("task=trian", "synthesize; did you mean 'task=sft'?"),
        ("data=ملف.xlsx", "no data 'ملف.xlsx'; a file of yours is data.path=ملف.xlsx; there are: "),
        (
            "model=my/own/folder",
            "no model 'my/own/folder'; a folder of yours is model.path=my/own/folder; there",
        ),
        (
            "model=Qwen/Qwen3-1.7B",
            "a repository of the hub model.hub_id=Qwen/Qwen3-1.7B; there are: acegpt",
        ),
        ("task.learning_rate=0,0002", "begins with -m; a list is written in brackets"),
        ("task.learning_rate=0,0002", "a number with a point: task.learning_rate=0.0002"),
        ("task.learning_rate=٠٫٠٠٢", "task.learning_rate: '٠٫٠٠٢' is no number; write 0.002"),
        ("hw.usable_gib=3GB", "hw.usable_gib: '3GB' is no number; write 3"),
        ("task.max_steps=40k", "task.max_steps: '40k' is no whole number"),
        ("task=export", "no value for task.run; write task.run=..."),
        (
            "adapter.target_modules=all",
            "a list is written in brackets, 'adapter.target_modules=[VALUE,VALUE]'",
        ),
        (
            "data.path=[a.jsonl,b.jsonl]",
            "data.path: one value, no list; of several files a folder, data.path=",
        ),
        ("dry_run=yep", "dry_run: 'yep' is neither true nor false"),
        ("num_train_epochs=3", "no setting 'num_train_epochs'; did you mean 'task.epochs'?"),
        ("lora_r=8", "no setting 'lora_r'; did you mean 'adapter.rank'?"),
        ("adapter.r=8", "no setting 'adapter.r'; did you mean 'adapter.rank'?"),
        ("load_in_4bit=true", "no setting 'load_in_4bit'; did you mean 'adapter=qlora'?"),
        ("per_device_train_batch_size=4", "did you mean 'hw.micro_batch_size'?"),
        ("learning_rate=1e-4", "no setting 'learning_rate'; did you mean 'task.learning_rate'?"),
        ("data.columns.question=q", "did you mean 'data.columns.prompt'?"),
        ("data.columns.answer=a", "did you mean 'data.columns.response'?"),
        ("task=report task.folders=[]", "task.folders is empty; name folders of runs, or leave it out"),
        ("task.rank=4", "no setting 'task.rank'; did you mean 'adapter.rank'?"),
        ("task.beta=1", "no setting 'task.beta'; it is one of task=dpo, task=orpo, task=kto"),
        ("task.lr=1e-4", "no setting 'task.lr'; did you mean 'task.learning_rate'?"),
        ("suite=[sample,null]", "a group takes names of its options: suite=sample"),
        ("~hw=0", "Config group override deletion value must be a string"),
        ("task.learning_rate=" + "9" * 400, "task.learning_rate: int too large to convert to float"),
        ("data.path=\nmine", "error: data.path: cannot read the value"),
        ("adapter.rank=4,8", "several values are a sweep, whose command begins with -m"),
        ("data.path=بيانات/ملف.jsonl", "no file بيانات/ملف.jsonl"),
        ("adapter.target_modules=[q_proj", "cannot read the value; quote it: 'adapter.target_modules=\""),
        ("model", "'model' is no setting: write key=value"),
        ("--max_steps=20", "--max_steps=20 is no option: settings are written task.max_steps=20; --help"),
        ("--lora-rank", "--lora-rank is no option: settings are written adapter.rank=VALUE; --help"),
        ("--dry-run", "--dry-run is no option: settings are written dry_run=true; --help"),
        ("--load_in_4bit", "--load_in_4bit is no option: settings are written adapter=qlora; --help"),
        ("--model=tiny", "--model=tiny is no option: settings are written model=tiny; --help"),
        ("data=local", "data.path is not set; with data=local write data.path=my.jsonl"),
        ("adapter=none", "adapter=none trains nothing; choose lora"),
        ("adapter.path=nowhere", "nowhere holds no trained adapter or model"),
        (
            "data.path=/dev/null",
            "data.path: /dev/null is neither a file nor a folder; give the",
        ),
        ("data.path=${oc.env:NO_SUCH}", "${oc.env:NO_SUCH}: the environment has no NO_SUCH; set it, or"),
        ("cache_dir=", "cache_dir is empty; give a folder, or leave it out"),
        (
            "hydra.run.dir=/proc/mine",
            "/proc/mine: no folder can be made there (No such file",
        ),
    ],
)
def test_a_mistake_is_one_line_with_the_cure(program, override, said, tmp_path):
    words = override.split(" ") if override.startswith("task=report ") else [override]
    assert said in complaint(program, *words)
    assert not list(tmp_path.iterdir())  # not even the folder that Hydra makes


def test_a_dash_with_its_value_behind_it_is_told_as_a_setting(program):
    said = complaint(program, "--lr", "1e-4", "task=study")
    assert "--lr is no option: settings are written task.learning_rate=1e-4; --help" in said


def test_what_other_programs_call_a_setting_is_a_setting_or_an_option_here():
    for key in other_names.OURS:
        group, equals, option = key.partition("=")
        assert (
            (CONF / group / f"{option}.yaml").is_file()
            if equals
            else key in {*help.every_setting(), "hydra.run.dir"}
        ), key


def test_outside_its_environment_it_says_how_to_enter_it():
    command = [sys.executable, "-S", "-m", "arabic_llm.run"]  # without what is installed
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "has no hydra: activate the environment" in done.stderr
    assert ". .venv/bin/activate" in done.stderr


def write(path: Path, text: str, encoding: str = "utf-8") -> str:
    path.write_bytes(text.encode(encoding))
    return f"data.path={path}"


GOOD = '{"instruction": "س", "input": "", "output": "ج"}\n'


@pytest.mark.parametrize(
    ("text", "encoding", "said"),
    [
        (GOOD + '{"instruction": \n', "utf-8", "my.jsonl:2: broken JSON: Expecting value at column 17"),
        (
            GOOD.replace("instruction", "task"),
            "utf-8",
            "there are: task, input, output. Set data.columns.prompt=<column>",
        ),
        (GOOD + GOOD, "windows-1256", "my.jsonl:1: not UTF-8"),
        (
            GOOD + '{"instruction": "س", "output": ""}\n',
            "utf-8",
            "my.jsonl:2: 'output' is empty; mend it, or set",
        ),
        ("", "utf-8", "no row is left: local: 0 rows in, 0 kept"),
        (
            '{"text": "نص", "label": "س"}\n',
            "utf-8",
            "my.jsonl:1: a text with the label س, which task=classify",
        ),
    ],
)
def test_a_bad_file_is_one_line_with_its_place(program, tmp_path, text, encoding, said):
    assert said in complaint(program, "data=local", write(tmp_path / "my.jsonl", text, encoding))


def test_a_missing_file_names_the_one_that_is_most_like_it(program, tmp_path):
    write(tmp_path / "أسئلتي.jsonl", GOOD)
    write(tmp_path / "clean.jsonl", GOOD)
    assert "nor data_raw/Claen.jsonl (did you mean clean.jsonl?); put" in complaint(
        program, "data.path=Claen.jsonl"
    )
    assert "(did you mean أسئلتي.jsonl?); put" in complaint(program, "data.path=أسألتي.jsonl")


def test_the_folder_of_a_run_given_for_what_it_has_trained_names_that(program, tmp_path):
    (tmp_path / "run" / "adapter").mkdir(parents=True)
    said = complaint(program, "task=evaluate", "adapter.path=run")
    assert (
        "run holds no trained adapter or model (no .safetensors); of the run there give run/adapter" in said
    )


def test_a_missing_file_names_both_places(program):
    said = complaint(program, "data=arastories", "data_root=there")
    assert "no file arastories/MSA.csv nor there/arastories/MSA.csv" in said


def test_the_real_command_ends_with_what_is_missing_and_what_fetches_it(program, tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    status, said = program("model=qwen2_7b", "adapter=qlora", "hw=4gb")
    *_, plan, error = said.strip().splitlines()
    assert status == 2
    assert plan.startswith(
        "plan: qwen2_7b (7,615.6 M parameters) with adapter=qlora (40.37 M trained) on 4,"
    )
    assert "needs 3.60 GiB of 3.6 that hw leaves, 26 of 28 layers stream" in plan
    assert error.startswith("error: the weights of Qwen/Qwen2-7B are not here and cannot be reached")
    assert error.endswith("hf download Qwen/Qwen2-7B --revision main --local-dir models/qwen2_7b")


def test_a_dry_run_says_rows_steps_tokens_and_bytes_and_writes_nothing(program, tmp_path):
    status, said = program("dry_run=true", "adapter.rank=8")
    assert status == 0
    assert "rows in" in said
    assert "steps of 16 sequences (1 micro-batch of 16)" in said
    assert "weights 0.01 GiB" in said
    assert "tokens an epoch in" in said
    assert not any(path for path in tmp_path.rglob("*") if path.is_file())


def test_a_dry_run_says_what_length_buckets_save(program, tmp_path):
    status, said = program("dry_run=true", "data.num_length_buckets=4", "task.effective_batch_size=8")
    assert status == 0, said
    saved = re.search(r"padding saved by 4 length buckets, .*: ([\d.]+)% -> ([\d.]+)% at 8", said)
    assert float(saved[2]) < 0.5 * float(saved[1])
    assert list(tmp_path.iterdir()) == []


def test_the_same_command_is_done_once_and_resume_false_moves_it_aside(program, tmp_path):
    status, first = program(*QUICK)
    assert status == 0, first
    assert "trained 2 steps" in first
    (directory,) = (tmp_path / "outputs" / "sft").iterdir()
    result = json.loads((directory / "result.json").read_text())
    status, again = program(*QUICK)
    assert status == 0
    assert "done before, not run again" in again
    assert "trained" not in again
    status, anew = program(*QUICK, "resume=false")
    assert "trained 2 steps" in anew
    assert "an earlier run was moved to" in anew
    assert json.loads((directory / "result.json").read_text()) == result
    assert (tmp_path / "outputs" / "sft" / f"{directory.name}.aside-1" / "result.json").exists()


def test_a_directory_of_another_configuration_is_refused_with_the_difference(program):
    program(*QUICK, "hydra.run.dir=mine")
    said = complaint(program, *QUICK, "hydra.run.dir=mine", "adapter.rank=8", "seed=3")
    assert "holds a run of another configuration: adapter.rank was 16, is 8; seed was 17, is 3." in said


def test_a_first_try_that_made_nothing_does_not_claim_its_directory(program, tmp_path):
    complaint(program, "hw.precision=float16", *QUICK, "hydra.run.dir=mine")
    status, said = program(*QUICK, "hydra.run.dir=mine")
    assert status == 0, said


def test_a_folder_with_other_files_is_not_ours_to_fill(program, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert "mine is a folder with other files in it" in complaint(program, *QUICK, "hydra.run.dir=mine")


def test_the_folder_the_command_is_typed_in_is_never_removed(program, tmp_path):
    complaint(program, "adapter.rank=0", "hydra.run.dir=mine")
    complaint(program, "adapter.rank=0", "hydra.run.dir=.")
    assert tmp_path.is_dir()


def test_rows_that_changed_since_are_refused_not_answered_from_before(program, tmp_path):
    path = tmp_path / "my.jsonl"
    rows = [{"instruction": f"سؤال {i}", "input": "", "output": "جواب"} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    mine = (*QUICK, f"data.path={path}")
    status, said = program(*mine)
    assert status == 0, said
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:30]))
    said = complaint(program, *mine)
    assert "holds a run of this configuration on other input: data has changed since" in said
    status, said = program(*mine, "resume=false")
    assert status == 0
    assert "trained 2 steps" in said


def test_a_directory_in_use_is_refused_with_its_process(program, tmp_path):
    (tmp_path / "mine").mkdir()
    with (tmp_path / "mine" / ".lock").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = complaint(program, *QUICK, "hydra.run.dir=mine")
    assert "another run (process 4711) is writing in" in said


def test_the_manifest_holds_what_is_needed_to_do_it_again(program, tmp_path):
    program(*QUICK, "hydra.run.dir=mine")
    manifest = json.loads((tmp_path / "mine" / "manifest.json").read_text())
    assert manifest["command"].startswith("python -m arabic_llm.run task.max_steps=2")
    assert manifest["versions"]["trl"]
    assert manifest["identity"]["adapter"]["rank"] == 16
    assert len(manifest["inputs"]["base"]) == len(manifest["inputs"]["data"]) == 16
    assert (tmp_path / "mine" / "adapter" / "lint.json").exists()
    assert "trains on" in (tmp_path / "mine" / "run.log").read_text(encoding="utf-8")


def test_an_adapter_of_another_base_is_refused(program, tmp_path):
    program(*QUICK, "hydra.run.dir=mine")
    about = tmp_path / "mine" / "adapter" / "arabic_llm.json"
    revision = json.loads(about.read_text())["base_revision"]
    about.write_text(about.read_text().replace(revision, "0123456789abcdef"))
    (tmp_path / "mine" / "adapter" / "SEALED.json").unlink()
    said = complaint(program, "task=evaluate", "adapter.path=mine/adapter", "suite.limit=4", "hw=cpu")
    assert "was trained on tiny (0123456789abcdef), not on" in said


def test_a_place_that_cannot_be_written_is_one_line(program, tmp_path):
    (tmp_path / "file").write_text("no folder")
    for place, why in (("file/mine", "Not a directory"), ("file", "File exists")):
        said = f"{place}: no folder can be made there ({why}); choose another place"
        assert said in complaint(program, *QUICK, f"hydra.run.dir={place}")


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK", "LOCAL_RANK"])
def test_a_place_among_processes_that_is_no_number_is_one_line(program, monkeypatch, name):
    monkeypatch.setenv(name, "two")
    assert f"error: {name}=two in the environment is no number" in complaint(program, "dry_run=true")


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["task=evaluate", "--cfg", "job"]])
def test_help_and_the_configuration_import_nothing_heavy(arguments, tmp_path):
    code = (
        "import atexit, sys; atexit.register(lambda: print('HEAVY', sorted({'torch', 'transformers', 'trl',"
        " 'peft', 'datasets', 'numpy', 'wandb', 'lm_eval'} & set(sys.modules))));"
        "from arabic_llm.run import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "HEAVY []" in done.stdout
    assert "adapter" in done.stdout
    assert not list(tmp_path.iterdir())


def helped(tmp_path, *arguments):
    """Return what `--help` says, after checking that Hydra was not asked: its own lists take seconds."""
    code = (
        "import atexit; from hydra.core.config_store import ConfigStore as Store;"
        "atexit.register(lambda: print('schema.yaml' in Store.instance().repo));"
        "from arabic_llm.run import main; main()"
    )
    command = [sys.executable, "-c", code, *arguments]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    *lines, composes = said.splitlines()
    assert composes == "False"
    return lines


def test_help_is_a_page_with_every_option_and_no_schema(tmp_path):
    lines = helped(tmp_path, "--help")
    said = " ".join(" ".join(lines).split())
    assert len(lines) <= 55
    for group in (path for path in CONF.iterdir() if path.is_dir()):
        assert f"{group.name}: {', '.join(sorted(path.stem for path in group.glob('*.yaml')))}" in said
    assert "resume true|false carry on what an earlier run of this command left" in said
    assert "_schema" not in said


@pytest.mark.parametrize("spelled", [("--help", "adapter"), ("--help=adapter",), ("adapter.rank=8", "-h")])
def test_help_on_a_group_says_what_options_are_for_and_what_its_settings_mean(tmp_path, spelled):
    lines = [" ".join(line.split()) for line in helped(tmp_path, *spelled)]
    assert {path.stem for path in (CONF / "adapter").glob("*.yaml")} <= {
        line.split(" ")[0] for line in lines
    }
    assert any(line.startswith("adapter.rank integer or null") for line in lines)
    assert "adapter.quantization none|nf4" in lines
    assert "adapter.target_modules [text, ...] names, or all-linear: experts only if named" in lines


@pytest.mark.parametrize("file", sorted((CONF / "task").glob("*.yaml")), ids=lambda path: path.stem)
def test_help_on_a_task_lists_the_settings_that_it_has(file):
    from arabic_llm.config import help

    of_run = dict.fromkeys(("export", "serve"), ("task.run=a",))
    needed = {"compare": ("task.base=a", "task.tuned=b"), **of_run}.get(file.stem, ())
    settings = asdict(compose_config(f"task={file.stem}", *needed).task)
    said = {line.split()[0] for line in help.said([f"task={file.stem}"]).splitlines() if line.strip()}
    for name, value in settings.items():
        if name != "name":
            inner = value if isinstance(value, dict) else {}
            assert {f"task.{name}", *(f"task.{name}.{key}" for key in inner)} & said


def test_settings_within_settings_and_of_each_name_are_listed():
    from arabic_llm.config import help

    assert "hw.executor.partition" in help.said(["hw"])
    assert "suite.tasks.<name>.language" in help.said(["suite=real"])


def test_help_on_what_is_not_there_is_one_line(program):
    assert complaint(program, "--help", "adaptr").startswith(
        "error: --help: no group 'adaptr'; there are: adapter"
    )
    assert complaint(program, "--help", "model=qwen").startswith(
        "error: no model 'qwen'; there are: acegpt_v2_8b"
    )


def test_our_own_bug_keeps_its_traceback(program, monkeypatch):
    from arabic_llm.data.preparing import sources

    monkeypatch.setattr(sources, "load", lambda *_: 1 / 0)
    monkeypatch.setattr(sys, "argv", ["arabic_llm.run", "tracking=none"])
    from arabic_llm import run

    with pytest.raises(ZeroDivisionError):
        run.main()


def test_items_of_a_suite_that_is_not_here_cannot_be_left_out(program, offline):
    status, said = program("data.cleaning.drop_test_items=true", "suite=exams", "dry_run=true")
    assert status == 2
    assert (
        "error: data.cleaning.drop_test_items: suite task aexams: no local copy at data_raw/exams_ar"
        in said
    )
    assert said.strip().endswith("bring the suite, or set it to false")


LONG = (*QUICK[1:], "task.max_steps=300", "task.save_steps=1", "tracking=none")


def interrupted(cwd, *overrides):
    """Return the lines of metrics of a sweep that has trained a step more and was ended by a signal."""
    command = [sys.executable, "-m", "arabic_llm.run", *overrides, *LONG]
    before = len(losses(cwd))
    running = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, text=True, start_new_session=True)
    while len(losses(cwd)) <= before and running.poll() is None:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does at Ctrl-C
    said = running.communicate(timeout=120)[0]
    assert running.returncode == 130, said
    assert "interrupted (SIGINT) after a checkpoint; the same command carries on" in said
    return losses(cwd)


def interrupted_fork(nursery, cwd, *overrides):
    """Return the lines of metrics of a run that has trained a step more and was ended by a signal."""
    before = len(losses(cwd))
    pid = nursery.start(cwd, (*overrides, *LONG))
    while len(losses(cwd)) <= before and Path(f"/proc/{pid}").exists():
        time.sleep(0.02)
    os.kill(pid, signal.SIGINT)
    assert nursery.wait() == 130, (cwd / "log.txt").read_text()[-2000:]
    return losses(cwd)


def losses(cwd):
    """Return the lines of the only run under a folder, with their times: no two runs write the same."""
    found = list(cwd.rglob("training/metrics.jsonl"))  # not the copies in checkpoints
    assert len(found) <= 1
    lines = found[0].read_text(encoding="utf-8").splitlines() if found else []
    return [line for line in lines if '"loss"' in line]


@pytest.mark.parametrize("several", [(), ("-m", "adapter.rank=2,4", "hydra.sweep.dir=sweep")])
def test_other_hardware_carries_on_in_the_directory_that_the_program_chooses(tmp_path, nursery, several):
    end = interrupted if several else functools.partial(interrupted_fork, nursery)
    before = end(tmp_path, *several)
    after = end(tmp_path, *several, "hw.micro_batch_size=1", "hw.eval_batch_size=2")
    assert after[: len(before)] == before
    assert [json.loads(line)["step"] for line in after] == list(range(1, len(after) + 1))
    assert len(after) > len(before)


@pytest.mark.parametrize("more", [[], ["-m"], ["--cfg", "job"]])
def test_a_key_in_the_address_of_a_judge_is_refused_and_written_nowhere(more, program, tmp_path):
    typed = "judge.endpoint='https://judge.example/v1?key=sesame'"
    for endpoint in (typed, typed.replace("'", ""), "judge={endpoint: 'https://x:sesame@y', model: z}"):
        status, said = program(*more, "task=evaluate", endpoint, "judge.model=x")
        assert status == 2
        assert said.count("\n") == 1
        assert "ARABIC_LLM_JUDGE_KEY" in said
        assert "sesame" not in said
    assert not list(tmp_path.iterdir())
