"""Errors of import and forget."""

from sf_assets.errors import SettingsError


class ImportRefused(SettingsError):
    """A file is not imported. The message names the file, and the line if there is one."""


class ForgetRefused(SettingsError):
    """It is unclear whom to forget, or something blocks it. The message says what to do."""
