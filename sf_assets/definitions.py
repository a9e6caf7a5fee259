"""Our own code location, for workspace.yaml: one home, the one that the environment names.

handles.yaml -> partitions (date x handle)
Social Fetch -> landing -> follower_snapshots, following_snapshots    once a day, in chunks
             -> churn, growth, status changes -> alerts      whenever something has landed

Importing this does nothing; Dagster calls `defs` when it loads the code location. Projects of their
own take `sf_assets.build_definitions` instead.
"""

import gc
import os

import dagster as dg

from sf_assets.defs.build import build_definitions
from sf_assets.settings import load_settings


@dg.definitions
def defs() -> dg.Definitions:
    """Everything Dagster sees. Raises SettingsError naming the variables that are wrong."""
    # Lists of people: what a process of this code location writes, Dagster's own files too, is for
    # this user's eyes, whoever started it. The command line does the same.
    os.umask(0o077)
    # What was imported stays; to look at it again and again is a tenth of a run's time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    return build_definitions(load_settings(), name="", automation="running")
