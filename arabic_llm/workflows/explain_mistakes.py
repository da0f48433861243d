"""Why answers are wrong: by our checks, then by the judge where the configuration names one."""

from __future__ import annotations

from pathlib import Path

from arabic_llm.analysis import mistakes
from arabic_llm.analysis.mistakes import SortedMistakes
from arabic_llm.analysis.scores import Evaluation
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.suite import JudgeConfig


def explain(evaluation: Evaluation, judge: JudgeConfig, cache_dir: Path) -> SortedMistakes:
    """Return the wrong items by kind; the judge, where there is one, is asked about the rest."""
    found = mistakes.sort(evaluation.items)
    if judge.endpoint is None:
        return found
    from arabic_llm.evaluation import judge as referee  # a client of HTTP: most runs have no judge
    from arabic_llm.evaluation.answers import Answers

    kept = Answers(cache_dir / "judge" / f"{fingerprint(judge.model)}.jsonl")
    return referee.ask(found, judge, kept)
