"""The code location for workspace.yaml: one home, configured by environment variables.

handles.yaml -> partitions (date x handle)
Social Fetch -> landing -> follower_snapshots, following_snapshots    once a day, in chunks
             -> churn, growth, status changes -> alerts      whenever something has landed

Importing this module does nothing; Dagster calls `defs` when it loads the code location. Other
Dagster projects use `sf_assets.build_definitions` instead.
"""

import gc
import os

import dagster as dg

from sf_assets.defs.build import build_definitions
from sf_assets.settings import load_settings


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of the home. Raises SettingsError that names invalid variables."""
    # The files hold lists of people, so only this user may read them, Dagster's files included.
    # The command line does the same.
    os.umask(0o077)
    # Imported objects stay; scanning them again and again takes a tenth of a run's time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    return build_definitions(load_settings(), name="", automation="running")
