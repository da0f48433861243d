"""Rows: where they come from, how they are read, checked, split, and turned into token ids."""
