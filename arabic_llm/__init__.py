"""Adapt language models to Arabic and Chinese with LoRA and QLoRA on small GPUs."""
