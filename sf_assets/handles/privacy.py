"""Whether a home keeps names of listed accounts: what `handles.yaml` says, and what is stored."""

from __future__ import annotations

from sf_assets.errors import SettingsError
from sf_assets.handles.settings import Registry
from sf_assets.storage.door import Door, note_everybody
from sf_assets.storage.home import Home
from sf_assets.storage.landings import landing_of


class PrivacyRefused(SettingsError):
    """`privacy` in handles.yaml is not what the home was begun with; nothing was bought."""


def door_of(home: Home, registry: Registry) -> Door:
    """The door of a home, closed for everybody where `handles.yaml` says `privacy: pseudonyms`.

    Raises PrivacyRefused where the home holds names already, or never kept them.
    """
    door = Door(home)
    if registry.pseudonyms and not door.everybody:
        if any(home.archive.glob("day=*/*.parquet")) or landing_of(home).days():
            raise PrivacyRefused(
                f"handles.yaml says `privacy: pseudonyms`, and {home} holds lists with names: "
                "run `sf-assets forget --everybody`, which replaces them (there is no way back), "
                "or begin a new home"
            )
        note_everybody(home, "privacy: pseudonyms")
    elif door.everybody and not registry.pseudonyms:
        raise PrivacyRefused(
            f"{home} holds no names, and nobody can get them back: put `privacy: pseudonyms` "
            "into handles.yaml again, or begin a new home for lists with names"
        )
    return door
