"""Daily TikTok follower and following snapshots as Dagster assets in DuckDB.

    from sf_assets import Settings, build_definitions

    defs = build_definitions(Settings(home="/srv/audience"), name="audience")

Importing this package loads no other module, reads no variable and touches no file.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sf_assets.components import AudienceComponent
    from sf_assets.defs.build import build_definitions
    from sf_assets.defs.reader import AudienceReader
    from sf_assets.settings import Settings

__all__ = ["AudienceComponent", "AudienceReader", "Settings", "build_definitions"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    from importlib import import_module

    modules = {
        "AudienceComponent": "components",
        "AudienceReader": "defs.reader",
        "Settings": "settings",
        "build_definitions": "defs.build",
    }
    if name not in modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{modules[name]}"), name)
