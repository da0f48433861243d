"""What is kept on disk is keyed by the code that made it."""

import ast
import shutil

import pytest

from arabic_llm.config.fingerprint import code_hash
from arabic_llm.config.paths import PACKAGE
from arabic_llm.data.tokens import token_rows
from arabic_llm.evaluation import code

LISTS = {
    "answers": code._ANSWERING,
    "evaluations": (*code._ANSWERING, *code._SCORING),
    "rows": token_rows._CODE,
}


@pytest.fixture
def twin(tmp_path):
    """Return a copy of the package."""
    return shutil.copytree(PACKAGE, tmp_path / "arabic_llm", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.mark.parametrize("kept", LISTS)
def test_a_byte_more_in_any_of_the_files_is_another_key(twin, kept):
    names = LISTS[kept]
    before = code_hash(names, twin)
    assert before == code_hash(names)  # a copy is the same code
    for name in names:
        file = twin / name
        file = next(file.rglob("*.yaml")) if file.is_dir() else file
        source = file.read_bytes()
        file.write_bytes(source + b"#")
        assert code_hash(names, twin) != before, name
        file.write_bytes(source)
    assert code_hash(names, twin) == before


def test_a_byte_more_in_another_module_is_the_same_key(twin):
    before = code_hash(LISTS["evaluations"], twin)
    (twin / "reports" / "tables.py").write_text("")
    assert code_hash(LISTS["evaluations"], twin) == before


@pytest.mark.parametrize("name", [n for n in LISTS["evaluations"] if n.startswith(("analysis", "text"))])
def test_what_a_scorer_imports_is_listed_with_it(name):
    imported = [
        node.module.removeprefix("arabic_llm.").replace(".", "/") + ".py"
        for node in ast.walk(ast.parse((PACKAGE / name).read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("arabic_llm.")
    ]
    scoring = [module for module in imported if module.startswith(("analysis/", "text/"))]
    assert set(scoring) <= set(LISTS["evaluations"])
