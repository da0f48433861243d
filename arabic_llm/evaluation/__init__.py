"""Judging a model: lm-eval's tasks on local files, scores with their items, statistics of differences."""
