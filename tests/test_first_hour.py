"""docs/first_hour.md can be walked: its commands in their order, the long ones shortened or only said."""

import re
import shlex
from pathlib import Path

import openpyxl
import pytest
from conftest import run_in

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "first_hour.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python -m arabic_llm\.run (.*)$", PAGE, re.M)
README = (ROOT / "README.md").read_text(encoding="utf-8")
WALK = re.search(r"^## Your first hour$.*?```\n(.*?)```", README, re.M | re.S)[1].splitlines()
TO_OLLAMA = [WALK[0], WALK[2], *WALK[-3:]]  # as the README counts them
SHORT = ("task.max_steps=2", "task.effective_batch_size=4", "task.held_out.num_bytes=0")
DRY = (
    "outputs/base",
    "outputs/compared",
    "outputs/second",
    "outputs/handed",
    "task=chat",
)  # said, not done


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """Return command -> what it said, all walked in one folder with an Excel file of the reader's."""
    home = tmp_path_factory.mktemp("hour")
    book = openpyxl.Workbook()
    book.active.append(["السؤال", "الإجابة"])
    for n in range(90):
        book.active.append([f"ما عاصمة البلد رقم {n}؟", f"المدينة رقم {n}."])
    book.save(home / "أسئلتي.xlsx")
    said = {}
    own = [line.partition("arabic_llm.run ")[2] for line in TO_OLLAMA if line.startswith("python ")]
    for command in [*COMMANDS, *(line for line in own if line not in COMMANDS)]:
        words = shlex.split(command)
        if "hydra.run.dir=outputs/first" in words:
            words = [word for word in words if not word.startswith("task.max_steps")] + list(SHORT)
        words = ["suite.limit=2" if word.startswith("suite.limit") else word for word in words]
        if any(part in command for part in DRY):
            words.append("dry_run=true")
        status, said[command] = run_in(home, *words)
        assert status == 0, f"{command}\n{said[command]}"
    return said


def test_every_command_of_the_first_hour_runs_one_after_the_other(walked):
    assert len(COMMANDS) == 11
    assert walked.keys() >= {*COMMANDS}
    rows = walked["task=inspect data.path=أسئلتي.xlsx task.rows=1"]
    line = "local: 90 rows in, 90 kept: train 82, dev 4, test 4"
    assert line in rows
    assert line in PAGE
    assert "أسئلتي.xlsx: read as prompt and completion (السؤال, الإجابة)\n" in rows


def test_what_the_page_says_comes_next_is_what_a_run_says(walked):
    (trained,) = (said for command, said in walked.items() if command.endswith("outputs/first"))
    shown = re.findall(r"^  (?:talk to it|judge it.*|hand it on): .*$", PAGE, re.M)
    assert len(shown) == 4
    said = trained.replace(" tracking=none", "")  # which tests type
    assert [line for line in shown if f"{line}\n" not in f"{said}\n"] == []


def test_the_judged_adapter_stands_in_the_report(walked):
    assert re.search(r"^sample_choice +tiny +lora on أسئلتي +2 ", walked["task=report"], re.M)


def test_a_run_without_a_name_is_called_as_the_page_says(walked):
    (name,) = re.findall(r"`outputs/sft/(\S+)`", PAGE)
    assert f"/outputs/inspect/{name}" in walked["task=inspect data.path=أسئلتي.xlsx task.rows=1"]


def test_from_data_to_ollama_it_is_the_five_commands_of_the_readme(walked):
    looks, trains, exports, creates, talks = TO_OLLAMA
    assert "task=inspect data.path=" in looks
    run, folder = (re.search(r"hydra\.run\.dir=(\S+)", line)[1] for line in (trains, exports))
    said = walked[exports.partition("arabic_llm.run ")[2]]
    assert re.fullmatch(
        rf"plan: adapter of {run} as merged, ollama, in \S*/{folder}", said.splitlines()[-1]
    )
    name = re.fullmatch(rf"ollama create (\w+) -f {folder}/gguf/Modelfile", creates)[1]
    assert talks == f"ollama run {name}"
