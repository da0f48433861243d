"""Which rows stay, by what they say: profiles, filters, copies, items of a test."""
