"""Tasks that need no model import nothing of one: what each of them loads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import run_in

ROOT = Path(__file__).parents[2]
TORCH = {"torch", "peft", "trl", "transformers.modeling_utils", "transformers.trainer"}
LIBRARIES = {"datasets", "lm_eval", "sklearn", "nltk"}
_RUN = """
import json, sys
from arabic_llm import run
sys.argv[0] = "arabic_llm"
try:
    run.main()
except SystemExit as end:
    print(json.dumps([end.code, sorted(sys.modules)]))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return a folder with forty rows, and two evaluations in runs of their own."""
    home = tmp_path_factory.mktemp("light")
    rows = [{"prompt": f"ما عاصمة البلد رقم {n}؟", "response": f"المدينة رقم {n}."} for n in range(40)]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (home / "my.jsonl").write_text(text, encoding="utf-8")
    for name, perturbed in (("one", "seed=1"), ("two", "seed=2")):
        status, said = run_in(
            home, "task=evaluate", "suite.limit=4", "hw=cpu", perturbed, f"hydra.run.dir={name}"
        )
        assert status == 0, said
    return home


def _loaded(home, *overrides):
    """Return the modules that a run has loaded, after checking that it ended well."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *overrides],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    status, modules = json.loads(done.stdout.splitlines()[-1])
    assert status == 0, done.stdout
    return set(modules)


@pytest.mark.parametrize(
    "overrides",
    [
        ("task=prepare", "data=local", "data.path=my.jsonl"),
        ("dry_run=true", "task=prepare", "data=local", "data.path=my.jsonl"),
        ("task=inspect", "data=local", "data.path=my.jsonl"),
        ("task=report", "task.folders=[one,two]"),
        ("task=compare", "task.base=one", "task.tuned=two"),
        ("task=plan", "hw=4gb"),
        ("task=download", "dry_run=true", "model=qwen2_0_5b", "data=cidar"),
        ("dry_run=true", "data=local", "data.path=my.jsonl", "hw=cpu"),
        ("dry_run=true", "hw=4gb", "adapter=qlora"),
    ],
    ids=" ".join,
)
def test_a_task_without_a_model_is_light(home, overrides):
    modules = _loaded(home, *overrides)
    assert not modules & TORCH
    assert not modules & LIBRARIES
    assert "task=plan" not in overrides or not modules & {"huggingface_hub", "httpx2", "numpy"}
