"""What answers say of models: scores, honest statistics, kinds of mistakes; no torch."""
