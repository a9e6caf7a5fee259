"""The assets: snapshots on the grid, and what is derived of them by day."""
