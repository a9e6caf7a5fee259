"""What a page says of the API, beside what it lists: the same each day, unless the API changes."""

from __future__ import annotations

from collections import Counter

from sf_assets.social_fetch import Answer, ListWalk
from sf_assets.social_fetch.quick import filled
from sf_assets.storage.records import Measures


def measures_of(answer: Answer, walk: ListWalk) -> Measures:
    """Of the next page of a walk: its accounts, those without number or secUid, those that came
    before, their fields that have a value, and why it was asked for again."""
    accounts = answer.response.data.accounts
    return Measures(
        page_size=len(accounts),
        accounts=len(accounts),
        no_number=sum(1 for one in accounts if not one.platform_user_id),
        no_sec_uid=sum(1 for one in accounts if not one.sec_uid),
        repeated=walk.repeats(accounts),
        fields=sum(filled(one) for one in accounts),
        troubles=Counter(answer.troubles),
    )
