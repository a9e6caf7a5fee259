"""Daily TikTok follower and following snapshots as Dagster assets in DuckDB."""

__version__ = "0.1.0"
