"""What can be wrong with the warehouse; each says what is kept and what to do."""

from __future__ import annotations

from sf_assets.errors import SfAssetsError


class WarehouseBusy(SfAssetsError):
    """Another process holds the warehouse for writing longer than we wait."""


class WarehouseUnwritable(SfAssetsError):
    """The disk has no room, or gives no permission. Nothing of the transaction is lost or half
    there: landing and archive have it, and the next attempt loads it."""


class WarehouseUnreadable(SfAssetsError):
    """The warehouse file is damaged, missing, or of a format this version does not know."""
