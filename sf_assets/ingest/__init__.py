"""A day's reading: what is due, what is read, and what came of it."""
