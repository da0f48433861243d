"""Running the jobs of a sweep: which, where, how many at a time, and how far each is."""
