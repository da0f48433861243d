"""Rows as the model sees them: ids and labels, counted and looked over."""
