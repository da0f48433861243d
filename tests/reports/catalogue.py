"""What reports can say: the texts of `say`, `count`, `marked` and `term` in code and templates."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, nodes

from arabic_llm.analysis import mistakes, statistics
from arabic_llm.config import paths
from arabic_llm.reports import held_out_loss, memory_section, preferences
from arabic_llm.text import perturb

CANNOT = "the bootstrap cannot tell"
PACKAGE = Path(__file__).parents[2] / "arabic_llm"
TEMPLATES = PACKAGE / "reports" / "templates"


def spaced(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def told() -> set[str]:
    """Return the texts that the code says: of `count` the one for several, of which Arabic has forms."""
    files = [path for room in ("reports", "workflows", "tasks") for path in (PACKAGE / room).glob("*.py")]
    found = {spaced(text) for path in files for text in _of_code(path)}
    return found | {spaced(text) for path in TEMPLATES.iterdir() for text in _of_template(path)}


def as_data() -> set[str]:
    """Return the words of ours that reach reports as data: verdicts, kinds, languages, ways to type."""
    found = {*mistakes.KINDS, *mistakes.explained().values(), *held_out_loss.NAMES.values(), *perturb.NAMES}
    found |= {"better", "worse", "within noise", "fewer", "more", "forgotten"}
    found |= {"done", "failed", "interrupted", "running", "begun", "not begun"}
    found |= {"mean score", "loss on dev", "loss on dev, nats a token", "loss on dev, bits a byte"}
    found |= {label for label, _ in memory_section.LOOKS.values()} | {"forward", "backward"}
    for title, names, unit in preferences.PANELS:
        sides = [name.rpartition("_")[2] for name in names]
        found |= {title, unit, *sides, *(f"{side}, dev" for side in sides)}
    notes = {
        statistics.NOTHING,
        *(f"{n}: {CANNOT}" for n in (statistics.NOTHING, "every item changed alike")),
    }
    found |= notes | {note.replace("item", "score") for note in notes}
    found |= {f"by {what}" for what in ("task", "subject", "language", "skill")}
    found |= {f"By {what}" for what in ("task", "subject", "level")}
    skills = [
        re.findall(r"skill: (\w+)", path.read_text(encoding="utf-8"))
        for path in paths.CONF.glob("suite/*.yaml")
    ]
    return found | {skill for several in skills for skill in several}


def written() -> set[str]:
    """Return every text of the code: what the catalogue knows beyond these nobody says."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]
    nodes_of = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {spaced(node.value) for node in nodes_of if isinstance(node.value, str)}


def counted() -> set[str]:
    """Return the texts that the code says with a number, each of which has forms."""
    files = [path for room in ("reports", "workflows", "tasks") for path in (PACKAGE / room).glob("*.py")]
    found = {spaced(text) for path in files for text in _of_code(path, ("count",))}
    return found | {spaced(text) for path in TEMPLATES.iterdir() for text in _of_template(path, ("count",))}


def returned(path: Path) -> Iterator[str]:
    """Yield the texts of several words that a module's functions return, 1 for every value in them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Return) and node.value is not None:
            parts = [*ast.walk(node.value)]
            made = [part for part in parts if isinstance(part, ast.JoinedStr)]
            inside = {id(value) for one in made for value in ast.walk(one) if value is not one}
            for one in (one for one in made if id(one) not in inside):  # no format of a value
                yield "".join(v.value if isinstance(v, ast.Constant) else "1" for v in one.values)
            plain = [part for part in parts if isinstance(part, ast.Constant) and id(part) not in inside]
            yield from (part.value for part in plain if " " in str(part.value))


def _of_code(path: Path, names: tuple[str, ...] = ("say", "count", "marked")) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            given = node.args[2:3] if node.func.id == "count" else node.args
            for argument in given if node.func.id != "say" else given[:1]:
                yield from _texts(argument)


def _texts(node: ast.expr) -> Iterator[str]:
    """Yield the constants of an argument: itself, or those of a tuple that is unpacked."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Starred):
        yield from _texts(node.value)
    elif isinstance(node, ast.Tuple):
        for one in node.elts:
            yield from _texts(one)


def _of_template(path: Path, names: tuple[str, ...] = ("say", "count", "term")) -> Iterator[str]:
    tree = Environment(autoescape=True).parse(path.read_text(encoding="utf-8"))
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name in names:
            given = call.args[2:3] if call.node.name == "count" else call.args[:1]
            yield from (argument.value for argument in given if isinstance(argument, nodes.Const))
