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
        no_number=sum(1 for account in accounts if not account.platform_user_id),
        no_sec_uid=sum(1 for account in accounts if not account.sec_uid),
        repeated=walk.repeats(accounts),
        fields=sum(filled(account) for account in accounts),
        troubles=Counter(answer.troubles),
    )
