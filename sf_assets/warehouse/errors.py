"""The errors of the warehouse. Each message says what is kept and what to do."""

from __future__ import annotations

from sf_assets.errors import SfAssetsError


class WarehouseBusy(SfAssetsError):
    """Another process held the warehouse for writing for longer than the wait time."""


class WarehouseUnwritable(SfAssetsError):
    """The disk is full or there is no permission. The transaction is rolled back and no data is
    lost: landing and archive have it, and the next attempt loads it."""


class WarehouseUnreadable(SfAssetsError):
    """The warehouse file is damaged, missing, or of a format that this version does not know."""
