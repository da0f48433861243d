"""Preferences and answers at once, without a reference (2403.07691)."""

from arabic_llm.tasks.sft import dry_run, inputs, run, shares_work

__all__ = ["dry_run", "inputs", "run", "shares_work"]
