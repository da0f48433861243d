"""Arabic text as values: pure functions, no files, no torch."""
