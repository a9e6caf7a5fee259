"""What is told, in which words, to whom, and what of it has gone out.

`kinds` has a module for each kind of alert, with what it finds and says; `news` asks all that are
on, `words` puts an alert into a message for chat, mail and machines, `delivery` posts it through
Apprise, `ledger` remembers. Each kind is off unless
SF_ASSETS_ALERTS names it; status changes and failed days are on by themselves.
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
