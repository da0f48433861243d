"""Answers that people rated, up or down, each alone (2402.01306)."""

from arabic_llm.tasks.sft import dry_run, inputs, run, shares_work

__all__ = ["dry_run", "inputs", "run", "shares_work"]
