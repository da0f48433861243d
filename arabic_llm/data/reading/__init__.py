"""Files as records, one module a kind; each yields what it read with its line, and what is broken."""
