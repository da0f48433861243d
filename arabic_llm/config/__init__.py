"""Configuration: the schemas, where the YAML lies, and the step from one to the other."""
