"""The cost of a day: estimates, caps, shares, and the counter that all runs of a day share."""
