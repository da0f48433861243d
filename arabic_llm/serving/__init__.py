"""Talking to a model: in the terminal, on a page, by the servers of others."""
