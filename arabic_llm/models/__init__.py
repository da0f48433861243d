"""Base models and adapters: where they lie, how they are loaded, on what."""
