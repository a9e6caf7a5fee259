"""The kinds of alerts. To add one: a module here, a line in `KINDS`, its name in `model.py`."""

from sf_assets.alerts.kinds.base import Alert, AlertContext, Level
from sf_assets.alerts.kinds.breaks import Break
from sf_assets.alerts.kinds.churn import ChurnSpike
from sf_assets.alerts.kinds.credits import CreditsLow
from sf_assets.alerts.kinds.drift import Drift
from sf_assets.alerts.kinds.events import Milestone, Purge, Wave
from sf_assets.alerts.kinds.failed import DayFailed
from sf_assets.alerts.kinds.notable import NotableAccount, NotableChange
from sf_assets.alerts.kinds.stale import Stale
from sf_assets.alerts.kinds.status import StatusChange
from sf_assets.alerts.kinds.weekly import Weekly
from sf_assets.model import AlertKind

KINDS: dict[AlertKind, type[Alert]] = {
    kind.kind: kind
    for kind in (
        *(StatusChange, DayFailed, ChurnSpike, NotableChange, Stale, CreditsLow),
        *(Purge, Wave, Milestone, Weekly, Break, Drift),
    )
}

__all__ = [
    "KINDS",
    "Alert",
    "AlertContext",
    "Break",
    "ChurnSpike",
    "CreditsLow",
    "DayFailed",
    "Drift",
    "Level",
    "Milestone",
    "NotableAccount",
    "NotableChange",
    "Purge",
    "Stale",
    "StatusChange",
    "Wave",
    "Weekly",
]
