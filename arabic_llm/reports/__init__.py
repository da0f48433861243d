"""Tables, figures and pages; no model code."""
