"""Errors that the user can fix."""

from __future__ import annotations


class SfAssetsError(Exception):
    """Base class of errors that the user can fix. The message says what happened and what to do."""


class SettingsError(SfAssetsError):
    """A setting, the registry or the home is invalid. Nothing was written."""
