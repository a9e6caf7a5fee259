"""Whether a home keeps names of listed accounts, by `handles.yaml` and by the stored data."""

from __future__ import annotations

from sf_assets.errors import SettingsError
from sf_assets.handles.settings import Registry
from sf_assets.storage.door import Door, note_everybody
from sf_assets.storage.home import Home
from sf_assets.storage.landings import landing_at


class PrivacyRefused(SettingsError):
    """`privacy` in handles.yaml does not fit the stored data. Nothing was bought."""


def door_of(home: Home, registry: Registry) -> Door:
    """The filter for new data, closed for all names with `privacy: pseudonyms` in handles.yaml.

    Raises PrivacyRefused if that setting does not fit the stored data.
    """
    door = Door(home.root)
    if registry.pseudonyms and not door.everybody:
        if any(home.archive.glob("day=*/*.parquet")) or landing_at(home.landing, home.root).days():
            raise PrivacyRefused(
                f"handles.yaml has `privacy: pseudonyms`, but {home.root} has lists with names; "
                "run `sf-assets forget --everybody`, which replaces them (cannot be undone), or "
                "start a new home"
            )
        note_everybody(home.root, "privacy: pseudonyms")
    elif door.everybody and not registry.pseudonyms:
        raise PrivacyRefused(
            f"{home.root} has no names, and they cannot be restored; put `privacy: pseudonyms` "
            "back into handles.yaml, or start a new home for lists with names"
        )
    return door
