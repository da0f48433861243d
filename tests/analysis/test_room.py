"""Thinking about answers needs no model: the whole room is imported without what loads or asks one."""

import json
import subprocess
import sys

from arabic_llm.config.paths import PACKAGE

MODULES = sorted(f"arabic_llm.analysis.{file.stem}" for file in (PACKAGE / "analysis").glob("[!_]*.py"))
ASKS_MODELS = {
    "torch",
    "transformers",
    "datasets",
    "lm_eval",
    "arabic_llm.evaluation",
    "arabic_llm.reports",
}


def test_analysis_loads_nothing_that_asks_models():
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import json, sys, {', '.join(MODULES)}; print(json.dumps([*sys.modules]))",
        ],
        check=True,
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
    ).stdout
    assert not ASKS_MODELS & set(json.loads(loaded))
