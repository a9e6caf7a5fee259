"""Charts, and how they look everywhere."""
