"""What a day may cost: estimates, caps, shares, and the count that all runs of a day share."""
