"""Embedded school data, generated: facts, the questions about them, and the text that states them."""
