"""Alerts: finds them, writes their messages and delivers each one once.

`kinds` has a module per kind of alert. `news` collects the alerts of all kinds that are on, `words`
writes messages for chat, mail and machines, `delivery` posts them through Apprise, and `ledger`
records what was delivered. A kind is on if SF_ASSETS_ALERTS names it; `status` and `failed` are on
by default.
"""

from sf_assets.alerts.delivery import Arrival, DeliveryFailed, deliver, send_sample, services
from sf_assets.alerts.kinds import Alert, StatusChange
from sf_assets.alerts.ledger import delivered, deliveries, note_delivered
from sf_assets.alerts.news import find, find_all, undelivered
from sf_assets.alerts.words import DIGEST_ABOVE, Message, body, messages, title

__all__ = [
    "DIGEST_ABOVE",
    "Alert",
    "Arrival",
    "DeliveryFailed",
    "Message",
    "StatusChange",
    "body",
    "deliver",
    "delivered",
    "deliveries",
    "find",
    "find_all",
    "messages",
    "note_delivered",
    "send_sample",
    "services",
    "title",
    "undelivered",
]
