"""What several tasks do alike: rows for training, fine-tuning, evaluating, comparing."""
