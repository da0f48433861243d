"""Training: which rows each step sees, the trainer and its guards, checkpoints that are whole or absent."""
