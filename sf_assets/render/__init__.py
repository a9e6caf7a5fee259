"""Charts and sparklines, in one style."""
