"""Preferences: the better of two answers, against what the model thought before (2305.18290)."""

from arabic_llm.tasks.sft import dry_run, inputs, run, shares_work

__all__ = ["dry_run", "inputs", "run", "shares_work"]
