"""Rows of data sets and mixes: cleaned, chosen, split and counted, in memory or on the disk."""
