"""A finished run in the forms that others load: adapter, merged, GGUF, Ollama; each proves itself."""
