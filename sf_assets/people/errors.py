"""What an import refuses."""

from sf_assets.errors import SettingsError


class ImportRefused(SettingsError):
    """A file that is not imported; the message names it, and the line where there is one."""
