"""What the pages say is so: generated parts are of today, commands compose, links lead somewhere.

`python tests/test_docs.py` (or `make docs`) writes the generated parts anew: docs/tree.md,
docs/reference.md, and the figures in docs/design.md.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import house
import pytest
import reference
from hydra import compose, initialize_config_dir

from arabic_llm.config import compose as ours
from arabic_llm.config import paths
from arabic_llm.workflows import auto

ROOT = Path(__file__).parents[1]
README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = [
    *(
        README,
        *sorted(DOCS.rglob("*.md")),
        ROOT / "benchmarks" / "README.md",
        ROOT / "multirun" / "README.md",
    ),
    *sorted((ROOT / "experiments").rglob("*.md")),
]
RECIPES = [*sorted((ROOT / "conf").rglob("*.yaml")), *sorted((ROOT / "experiments").rglob("*.yaml"))]
WORDS_WITHOUT_VALUE = ("-m", "--multirun", "...")
SETTING = re.compile(r"\b(?:model|data|adapter|hw|suite|judge|task)\.[a-z_]+(?:\.[a-z_]+)*")
RANGE = re.compile(r"=(?:tag\(\w+,)?(?:interval|range|choice)\(([^,()]+).*")  # of a search: its first value
FOREIGN = (
    "torch",
    "lora",
    "lighteval",
    "backends",
    "scripts",
)  # sources of others, that are named
WIDTH = 34  # of the column of names


def tree() -> str:
    """Return the tree: groups of conf/ with their question, then every module with its one job."""
    lines = [
        (f"conf/{group}/", reference.GROUPS[group])
        for group in sorted(reference.GROUPS)
        if (ROOT / "conf" / group).is_dir()
    ]
    lines += list(_modules(ROOT / "arabic_llm"))
    lines.append(("experiments/experiment/", "recipes: each opens with its question and its command"))
    lines.append(
        ("experiments/notebooks/", "first steps, and a sweep read with pandas, with their outputs")
    )
    lines.append(("experiments/results/", "what recipes found, with versions and hardware"))
    lines.append(("multirun/", "where sweeps land"))
    lines.append(("benchmarks/", "one file per claim about speed, against what one would otherwise use"))
    lines.append(
        ("docs/", "one page a question; this one, reference.md and the figures of design.md are generated")
    )
    lines.append(("tests/", "mirrors arabic_llm/; faults/ kills runs"))
    return "```text\n" + "".join(f"{name:<{WIDTH}} {text}\n" for name, text in lines) + "```\n"


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


def options() -> str:
    """Return the options of each group of conf/ that is there now."""
    groups = reference.options().items()
    return "\n".join("\n".join([f"### {group}", "", *lines, ""]) for group, lines in groups)


GENERATED = {
    "tree": (DOCS / "tree.md", tree),
    "settings": (DOCS / "reference.md", reference.page),
    "options": (DOCS / "reference.md", options),
    "house": (DOCS / "design.md", house.table),
}


def _around(name: str, text: str) -> tuple[str, str, str]:
    """Return the page before, within and after the marks of a generated part."""
    before, start, rest = text.partition(f"<!-- generated: {name} -->\n")
    within, end, after = rest.partition(f"<!-- /generated: {name} -->")
    return before + start, within, end + after


def _shown(name: str) -> str:
    return _around(name, GENERATED[name][0].read_text(encoding="utf-8"))[1]


def write() -> None:
    """Write every generated part anew."""
    for name, (page, make) in GENERATED.items():
        before, _, after = _around(name, page.read_text(encoding="utf-8"))
        page.write_text(before + make() + after, encoding="utf-8")


@pytest.mark.parametrize("name", ["tree", "settings"])
def test_what_is_generated_is_up_to_date(name):
    assert _shown(name) == GENERATED[name][1](), "run: make docs"


def test_every_option_that_is_listed_is_there_and_says_so():
    """Options that are not listed are those a user added: they need no line."""
    there = {line for lines in reference.options().values() for line in lines}
    listed = [line for line in _shown("options").splitlines() if line.startswith("- ")]
    assert len(listed) > 50
    assert [line for line in listed if line not in there] == [], "run: make docs"


def test_what_a_user_adds_to_conf_needs_no_line(tmp_path, monkeypatch):
    shutil.copytree(paths.CONF, tmp_path / "conf")
    for group in ("model", "data", "suite", "adapter", "hw"):
        (tmp_path / "conf" / group / "mine.yaml").write_text("# Mine.\nname: mine\n", encoding="utf-8")
    monkeypatch.setattr(paths, "CONF", tmp_path / "conf")
    assert reference.options()["model"].count("- `mine`: Mine.") == 1
    test_every_option_that_is_listed_is_there_and_says_so()
    assert _shown("settings") == reference.page()
    assert _shown("tree") == tree()


def test_every_file_has_one_job_and_says_it():
    for name, job in _modules(ROOT / "arabic_llm"):
        assert job or name.strip().endswith("/"), f"{name} has no docstring"


def test_every_setting_says_what_it_means():
    plain = (".name", ".architecture.")  # the name of its file, and what config.json calls it
    rows = [row.split(" | ") for row in _shown("settings").splitlines() if row.startswith("| `")]
    silent = [row[0] for row in rows if not row[-1].strip(" |")]
    assert [row for row in silent if not any(part in row.strip("| `") + " " for part in plain)] == []


def test_the_figures_of_the_house_are_those_of_today():
    """Each room is named; lines may have moved by a fifth since they were counted."""
    shown = dict(re.findall(r"^\| `?([\w()]+)/?`? \| \d+ \| ([\d,]+) \|", _shown("house"), re.M))
    today = {room: sum(sizes) for room, sizes in house.rooms().items()}
    assert shown.keys() - {"all"} == today.keys(), "run: make docs"
    for room, lines in today.items():
        assert int(shown[room].replace(",", "")) == pytest.approx(lines, rel=0.2, abs=100), "run: make docs"


def test_an_arrow_in_a_circle_is_a_back_edge():
    arrows = {("tasks", "data"), ("data", "text"), ("text", "data"), ("tasks", "text")}
    assert house.back_edges(arrows) == {("data", "text"), ("text", "data")}


def _commands(text: str) -> Iterator[str]:
    """Yield what follows the program's name in each command, up to a comment or the end of the line."""
    text = text.replace("\\\n", " ")
    yield from re.findall(r"(?:python|\d) -m arabic_llm\.run\b([^`\n#]*)", text)
    yield from re.findall(r"^arabic-llm\b([^`\n#]*)", text, re.M)
    yield from re.findall(r"`arabic-llm ([^`\n]*)`", text)
    yield from re.findall(r'make run ARGS="([^"]*)"', text)


def _overrides(command: str) -> list[str]:
    """Return the settings of a command, up to the first word that is none; of a sweep the first values."""
    found, words = [], shlex.split(command)
    of_others = ("hydra", "sweep.") if "-m" in words else ("hydra.",)  # kept from its jobs
    for word in words:
        if "=" not in word and word not in WORDS_WITHOUT_VALUE:
            break
        if "=" in word and not word.lstrip("+").startswith(of_others):
            first = RANGE.sub(r"=\1", word.rstrip(":;").removesuffix("..."))
            found.append(re.sub(r"=([^=,\[{]+),.*", r"=\1", first))
        if word.endswith(":"):
            break
    return [word for word in found if not word.endswith("=") and "<" not in word]


@pytest.mark.parametrize("page", [*PAGES, *RECIPES], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_composes(page):
    for command in _commands(page.read_text(encoding="utf-8")):
        _compose(tuple(_overrides(command)))


@cache
def _compose(overrides: tuple[str, ...]) -> None:
    """Turn settings into a configuration; pages repeat each other's commands, which are composed once."""
    ours.register()
    typed = ours.meant(list(overrides))
    if {"model=auto", "model=local"} & {*typed}:  # of a model that is here: the page's is the reader's
        here = f"model.path={paths.PACKAGE / 'models' / 'tiny'}"
        typed = [here if word.startswith(("model.path=", "model.hub_id=")) else word for word in typed]
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        ours.to_config(compose("config", ["output_dir=out", *typed]), typed, auto.fill)


def test_commands_are_found_in_all_their_spellings():
    text = 'say `arabic-llm task=plan hw=8gb`\narabic-llm seed=1 # x\nmake run ARGS="seed=2"\n'
    text += "accelerate launch --num_processes 2 -m arabic_llm.run hw=2x24gb ...\n"
    text += "# python -m arabic_llm.run -m adapter.rank=4,8 seed=3: a sweep\n"
    found = [_overrides(command) for command in _commands(text)]
    wanted = [["hw=2x24gb"], ["adapter.rank=4", "seed=3"], ["seed=1"], ["task=plan", "hw=8gb"], ["seed=2"]]
    assert found == wanted


@pytest.mark.parametrize("page", [README, *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.name)
def test_every_setting_that_a_page_names_is_one(page):
    known = reference.keys()
    known |= {".".join(key.split(".")[:n]) for key in known for n in range(2, key.count(".") + 1)}
    text = page.read_text(encoding="utf-8")
    code = " ".join(
        [*re.findall(r"`([^`\n]+)`", text), *re.findall(r'<code dir="ltr">([^<\n]+)</code>', text)]
    )
    named = set(SETTING.findall(re.sub(r"[\w/]+\.(py|yaml|md)\b", "", code)))
    of_names = (  # what follows is a name of the user's
        "data.sources.",
        "suite.tasks.",
        "task.held_out.texts.",
        "data.language_quotas.",
        "hw.executor.sbatch_args.",
    )
    assert sorted(n for n in named - known if not n.startswith(of_names)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        if "://" in link:
            continue
        file = page.parent / target if target else page
        assert file.exists(), link
        assert not anchor or anchor in _anchors(file), link


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


NAMING = [
    *PAGES,
    *RECIPES,
    *sorted((ROOT / "arabic_llm").rglob("*.py")),
    *sorted(ROOT.glob("benchmarks/*.py")),
]
NAMING += [file for file in sorted((ROOT / "tests").rglob("*.py")) if file != Path(__file__)]


@pytest.mark.parametrize("file", NAMING, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_module_that_is_named_is_there(file):
    text = file.read_text(encoding="utf-8")
    named = re.findall(r"(?<![\w./<>{}-])((?:[\w.-]+/)+\w+\.py)\b", text)
    named = [name for name in named if name.split("/")[0] not in FOREIGN]
    places = (ROOT, ROOT / "arabic_llm", file.parent)
    gone = {name for name in named if not any((place / name).exists() for place in places)}
    assert gone == set()
    if file.suffix == ".py":
        return  # their imports are tried by running them
    for dotted in re.findall(r"\barabic_llm(?:\.[a-z_]+)+", text.replace("arabic_llm.json", "")):
        module = ROOT / dotted.replace(".", "/")
        assert module.is_dir() or module.with_suffix(".py").exists(), dotted


def test_every_verb_of_the_makefile_is_listed_by_help_and_named_in_the_pages():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    verbs = set(re.search(r"\.PHONY: (.*)", text)[1].split())
    assert verbs == set(re.findall(r"^([a-z_]+):.*## ", text, re.M))
    said = set(re.findall(r"\bmake ([a-z_]+)", "\n".join(p.read_text(encoding="utf-8") for p in PAGES)))
    assert verbs - {"help"} == said & verbs
    assert said & {"run", "docs", "demo", "test"} == {"run", "docs", "demo", "test"}


if __name__ == "__main__":
    write()
