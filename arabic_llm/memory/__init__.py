"""Bytes a run needs, from the architecture's numbers alone."""
