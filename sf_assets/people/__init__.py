"""Data about people: import of existing lists, export, forgetting, expiry, anonymised pages."""
