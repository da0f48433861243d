"""Imports run one way (DESIGN.md of the project's law), and heavy libraries stay behind their doors."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "arabic_llm"
FILES = sorted(PACKAGE.rglob("*.py"))

# Room -> rooms it may import. Everything may import errors, files and config.
ALLOWED = {
    "run": {"sweep", "sweeping", "rundir", "tasks", "workflows", "terminal", "reports"},
    "sweep": {"sweeping", "grid"},
    "sweeping": {"result", "grid", "child", "machine", "analysis"},
    "warm": {"run", "tasks", "workflows", "child"},
    "grid": {"rundir", "result", "child"},
    "child": {"machine"},
    "rundir": {"result", "terminal"},
    "result": set(),
    "terminal": set(),
    "errors": set(),
    "processes": set(),
    "files": set(),
    "disk": set(),
    "hub": set(),
    "downloads": {"hub"},
    "machine": set(),
    "limits": set(),
    "config": {"text"},  # the names that settings may have
    "text": set(),
    "data": {"text", "hub"},
    "models": {"hub"},
    "memory": {"models"},
    "tracking": set(),
    "training": {"models", "data", "tracking"},
    "analysis": {"text", "data"},
    "evaluation": {"analysis", "data", "text", "models", "hub"},
    "profiling": {"training", "evaluation", "models", "memory", "machine"},
    "reports": {"analysis", "data", "text"},
    "export": {"models", "data"},
    "serving": {"models", "data", "evaluation", "export"},
    "synthesis": {"data", "text", "models", "evaluation"},
    "workflows": {
        *("data", "models", "memory", "training", "analysis", "evaluation", "profiling", "reports"),
        *("export", "serving", "synthesis"),
        *("tracking", "machine", "text", "hub", "downloads", "rundir"),
    },
    "tasks": {
        *("workflows", "data", "models", "memory", "training", "analysis", "evaluation", "profiling"),
        *("reports", "tracking", "hub", "downloads", "machine", "text", "serving", "rundir", "terminal"),
    },
}
COMMON = {"errors", "files", "disk", "config", "processes", "limits"}
# Third party -> rooms that may import it at all.
DOORS = {
    "bitsandbytes": {"models", "profiling"},
    "wandb": {"tracking"},
    "wandb_workspaces": {"tracking"},
    "huggingface_hub": {"hub"},
    "lm_eval": {"evaluation"},
    "trl": {"training", "profiling"},
    "accelerate": {"training", "profiling", "export"},
    "peft": {"models", "profiling", "export"},
    "gguf": {"export", "models"},
    "xllamacpp": {"export"},
    "matplotlib": {"reports"},
    "hydra": {"config", "run", "sweep", "sweeping"},
    "datatrove": {"data"},
    "optuna": {"sweeping"},
    "openai": {"synthesis"},
    "sentencex": {"synthesis"},
    "ctranslate2": {"synthesis"},
}
LIGHT = {
    *("config", "text", "run", "sweep", "grid", "rundir", "result", "terminal", "disk", "files", "errors"),
    *("child", "sweeping", "processes", "machine", "limits", "tasks", "memory"),
}
HEAVY = {
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "lm_eval",
    "wandb",
    "matplotlib",
    "scipy",
    "numpy",
}


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@functools.cache
def imports(file: Path, *, top_level_only: bool) -> set[str]:
    tree = parsed(file)
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_the_rooms_below_it(file):
    own = room(file)
    if own == "__init__":
        return
    used = {
        name.split(".")[1] for name in imports(file, top_level_only=False) if name.startswith("arabic_llm.")
    }
    assert used - {own} <= ALLOWED[own] | COMMON, f"{file} imports {sorted(used - ALLOWED[own] - COMMON)}"


@pytest.mark.parametrize("file", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_each_third_party_has_one_door(file):
    used = {name.split(".")[0] for name in imports(file, top_level_only=False)}
    for library, rooms in DOORS.items():
        assert library not in used or room(file) in rooms, f"{file} imports {library}"


@pytest.mark.parametrize("file", [f for f in FILES if room(f) in LIGHT], ids=lambda p: p.name)
def test_composing_imports_nothing_heavy(file):
    used = {name.split(".")[0] for name in imports(file, top_level_only=True)}
    assert not used & HEAVY


@pytest.mark.parametrize(
    "file",
    [
        f
        for f in FILES
        if room(f) == "data" and f.name not in ("chat.py", "chat_template.py", "rendering.py", "lint.py")
    ],
    ids=lambda p: p.name,
)
def test_reading_data_needs_no_torch(file):
    used = {name.split(".")[0] for name in imports(file, top_level_only=False)}
    assert not used & {"torch", "transformers", "datasets"}


def test_training_sees_of_the_data_only_what_chat_made_of_them():
    for file in (f for f in FILES if room(f) == "training"):
        used = {name for name in imports(file, top_level_only=False) if name.startswith("arabic_llm.data")}
        seen = (
            "arabic_llm.data.tokens.chat",
            "arabic_llm.data.preparing.mix",
        )  # and the order in which it is drawn
        assert all(name.startswith(seen) for name in used), f"{file} imports {used}"


def test_only_chat_and_training_write_the_ignored_label():
    writers = {str(f.relative_to(PACKAGE)) for f in FILES if "-100" in f.read_text(encoding="utf-8")}
    assert writers == {"data/tokens/chat.py"}


# Names that stand in two rooms on purpose: a choice of conf/ and what it configures; a story and its parts;
# what is computed in one room and printed in reports; documents of two folders of lm-eval tasks.
TWICE = {
    *("adapter", "run", "items", "sft", "chat"),
    *("classify", "compare", "evaluate", "inspect", "plan", "prepare", "robustness", "synthesize"),
    *("classification", "forgetting", "held_out_loss", "mistakes", "preferences"),
}


def test_a_module_has_a_name_of_its_own():
    names = [file.stem for file in FILES if file.stem != "__init__"]
    assert {name for name in names if names.count(name) > 1} == TWICE


def test_a_class_has_a_name_of_its_own():
    found = [
        (node.name, file) for file in FILES for node in parsed(file).body if isinstance(node, ast.ClassDef)
    ]
    names = [name for name, _ in found]
    # what evaluation asks of the memory a batch may take, and what memory answers
    assert {name for name in names if names.count(name) > 1} == {"Room"}


# Libraries load some private names for themselves; these nobody but a rehearsal asks for.
OF_REHEARSALS = ("torch.distributed._tools",)
ALONE = """
import sys
import {module}
print([name for name in sys.modules if name.startswith({rooms})])
"""


@pytest.mark.parametrize(
    ("module", "rooms"),
    [
        ("arabic_llm.training.sft", ("arabic_llm.memory", "arabic_llm.profiling", *OF_REHEARSALS)),
        ("arabic_llm.evaluation.harness", ("arabic_llm.memory", "arabic_llm.profiling", *OF_REHEARSALS)),
        ("arabic_llm.memory.suggestions", ("torch", "transformers")),
        ("arabic_llm.memory.eval_plan", ("torch", "transformers")),
        ("arabic_llm.analysis.statistics", ("torch", "transformers", "arabic_llm.evaluation")),
    ],
)
def test_a_room_is_loaded_without_those_above_it(module, rooms):
    program = ALONE.format(module=module, rooms=repr(rooms))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
