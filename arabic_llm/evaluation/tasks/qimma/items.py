"""The one schema of QIMMA's benchmarks."""

from arabic_llm.evaluation.choices import having

rows = having("prompt", "choices", "index")
