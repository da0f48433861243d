"""Which code made what is kept on disk: another scorer or normaliser reads nothing that this one wrote."""

from __future__ import annotations

from arabic_llm.config.fingerprint import code_hash

# What decides an answer beside the model and the ids or the text that it is asked.
_ANSWERING = (
    *(
        "data/tokens/chat.py",
        "data/tokens/chat_template.py",
        "data/tokens/rendering.py",
        "data/tokens/unmarked.py",
    ),
    *("evaluation/chat_lm.py", "evaluation/masked_lm.py", "evaluation/prefixes.py"),
    *("evaluation/answers.py", "evaluation/generating.py", "evaluation/rotary.py", "evaluation/scoring.py"),
    *("evaluation/decoding.py", "evaluation/masks.py", "evaluation/prompts.py", "evaluation/row_cache.py"),
    *("models/adapter.py", "models/families.py", "models/load.py", "models/tokenization.py"),
    *("models/adapter_layers.py", "models/new_rows.py", "models/text_part.py", "models/vocabulary.py"),
    *("text/normalize.py", "text/numbers.py", "text/words.py"),
)
# What decides an item and its scores, once it is answered.
_SCORING = (
    *("analysis/aggregate.py", "analysis/scorers.py", "analysis/scores.py", "analysis/statistics.py"),
    *("analysis/classification.py", "analysis/intervals.py", "analysis/kappa.py", "analysis/power.py"),
    *(
        *("evaluation/choices.py", "evaluation/instructions.py"),
        "evaluation/examples.py",
        *("evaluation/grading.py", "evaluation/judge.py"),
        "evaluation/harness.py",
        "evaluation/local_copies.py",
        "evaluation/perturbed.py",
        "evaluation/question.py",
        "evaluation/requests.py",
        "evaluation/suites.py",
        *("evaluation/loading.py", "evaluation/targets.py", "evaluation/task_files.py"),
        "evaluation/variants.py",
    ),
    "evaluation/tasks",
)


def of_answers() -> str:
    """Return what tells apart the code that answers were asked with."""
    return code_hash(_ANSWERING)


def of_evaluations() -> str:
    """Return what tells apart the code that an evaluation was made with."""
    return code_hash((*_ANSWERING, *_SCORING))
