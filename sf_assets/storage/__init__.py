"""Files: the home, the landing, and their counterparts in an object store."""
