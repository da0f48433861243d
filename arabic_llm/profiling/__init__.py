"""The laboratory: training and evaluation rehearsed on meta, measured, and held against the plan."""
