"""The command line `sf-assets`."""

from sf_assets.cli.main import main

__all__ = ["main"]
