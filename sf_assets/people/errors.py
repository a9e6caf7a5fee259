"""What an import refuses, and what keeps somebody from being forgotten."""

from sf_assets.errors import SettingsError


class ImportRefused(SettingsError):
    """A file that is not imported; the message names it, and the line where there is one."""


class ForgetRefused(SettingsError):
    """Whom to forget is not clear, or something is in the way; the message says what to do."""
