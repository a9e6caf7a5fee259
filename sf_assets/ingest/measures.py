"""Measures a page of the API, to notice when the API changes."""

from __future__ import annotations

from collections import Counter

from sf_assets.social_fetch import Answer, ListWalk
from sf_assets.social_fetch.quick import filled
from sf_assets.storage.records import Measures


def measures_of(answer: Answer, walk: ListWalk) -> Measures:
    """The measures of the next page of a walk.

    They count its accounts, those without user id or secUid, repeated accounts, fields with a
    value, and the reasons of retries.
    """
    accounts = answer.response.data.accounts
    return Measures(
        page_size=len(accounts),
        accounts=len(accounts),
        no_number=[account.platform_user_id or None for account in accounts].count(None),
        no_sec_uid=[account.sec_uid or None for account in accounts].count(None),
        repeated=walk.repeats(accounts),
        fields=sum(map(filled, accounts)),
        troubles=Counter(answer.troubles) if answer.troubles else {},
    )
