"""The errors that a person can mend."""

from __future__ import annotations


class SfAssetsError(Exception):
    """Root of the errors that a person can mend; the message is one clear sentence."""


class SettingsError(SfAssetsError):
    """A setting, the registry or the home is wrong. Nothing was written."""
