"""The README shows the tree, one line a file, and every command it prints can be composed.

`python tests/test_readme.py` writes the tree anew, from the first line of each module's docstring.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
START, END = "<!-- tree -->\n```text\n", "```\n<!-- /tree -->"
PAGES = [README, *sorted((ROOT / "experiments").rglob("*.md")), ROOT / "multirun" / "README.md"]
WIDTH = 34  # of the column of names


def tree() -> str:
    """Return the tree: groups of conf/ with their options, then every module with its one job."""
    lines = []
    for group in sorted(p for p in (ROOT / "conf").iterdir() if p.is_dir()):
        options = ", ".join(sorted(p.stem for p in group.glob("*.yaml")))
        lines.append((f"conf/{group.name}/", options))
    lines += list(_modules(ROOT / "arabic_llm"))
    recipes = ", ".join(sorted(p.stem for p in (ROOT / "experiments" / "experiment").glob("*.yaml")))
    lines.append(("experiments/experiment/", recipes))
    lines.append(("experiments/results/", "what recipes found, with versions and hardware"))
    lines.append(("multirun/", "where sweeps land"))
    lines.append(("benchmarks/", "one file per claim about speed, against what one would otherwise use"))
    lines.append(("tests/", "mirrors arabic_llm/; faults/ kills runs"))
    return "".join(f"{name:<{WIDTH}} {text}\n" for name, text in lines)


def _modules(folder: Path, depth: int = 0) -> Iterator[tuple[str, str]]:
    indent = "  " * depth
    yield f"{indent}{folder.name}/", _job(folder / "__init__.py")
    for path in sorted(folder.iterdir(), key=lambda p: (p.is_dir(), p.name)):
        if path.suffix == ".py" and path.name != "__init__.py":
            yield f"{indent}  {path.name}", _job(path)
        elif path.is_dir() and any(path.rglob("*.py")):
            yield from _modules(path, depth + 1)


def _job(path: Path) -> str:
    if not path.exists():
        return ""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.splitlines()[0] if docstring else ""


def test_the_tree_of_the_readme_is_the_tree():
    text = README.read_text(encoding="utf-8")
    shown = text.split(START)[1].split(END)[0]
    assert shown == tree(), "run: python tests/test_readme.py"


def test_every_file_has_one_job_and_says_it():
    for name, job in _modules(ROOT / "arabic_llm"):
        assert job or name.strip().endswith("/"), f"{name} has no docstring"


def test_every_command_of_the_readme_composes():
    from hydra import compose, initialize_config_dir

    from arabic_llm.config import compose as ours
    from arabic_llm.config import paths

    ours.register()
    commands = re.findall(r"python -m arabic_llm\.run([^`\n#]*)", README.read_text(encoding="utf-8"))
    assert len(commands) > 5
    for command in commands:
        overrides = [word for word in shlex.split(command) if "=" in word and not word.startswith("-")]
        sweep = [
            re.sub(r"=([^=,\[]+),.*", r"=\1", word) for word in overrides
        ]  # the first of a sweep's values
        with initialize_config_dir(str(paths.CONF), version_base="1.3"):
            ours.to_config(
                compose("config", ["output_dir=out", *(w for w in sweep if not w.startswith("hydra."))])
            )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_links_to_is_there(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_every_verb_of_the_makefile_is_listed_by_help():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    verbs = set(re.search(r"\.PHONY: (.*)", text)[1].split())
    assert verbs == set(re.findall(r"^([a-z_]+):.*## ", text, re.M))


if __name__ == "__main__":
    before, _, rest = README.read_text(encoding="utf-8").partition(START)
    README.write_text(before + START + tree() + END + rest.partition(END)[2], encoding="utf-8")
