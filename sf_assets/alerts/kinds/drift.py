"""`drift`: a measure of the API's responses left its range in many lists at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, ClassVar

import duckdb

from sf_assets.alerts.kinds.base import Alert, AlertContext, Words
from sf_assets.model import AlertKind
from sf_assets.warehouse.statements import sql

# Drifts within this many days of each other make one alert.
SPELL_DAYS = 3

# Measure -> its name, the format of its value, and what a change means.
MEASURES: dict[str, tuple[str, str, str]] = {
    "page_size": (
        "accounts on a page",
        "{:.0f}",
        "Lists cost more or fewer credits. Run sf-assets forecast and check the caps.",
    ),
    "without_number": (
        "share of accounts without a user id",
        "{:.0%}",
        "These accounts are matched by secUid or handle only: a rename can look like another "
        "account, and fewer losses and gains can be proved. Nothing false is claimed.",
    ),
    "without_sec_uid": (
        "share of accounts without a secUid",
        "{:.0%}",
        "These accounts are matched by user id or handle only. Without a user id, fewer losses and "
        "gains can be proved.",
    ),
    "repeated": (
        "share of accounts listed twice",
        "{:.0%}",
        "Pages overlap or repeat and waste credits. Lists still count each account once.",
    ),
    "fields": (
        "fields of an account",
        "{:.1f}",
        "Fields were added or removed. Columns made from them (profiles, audience) may be empty.",
    ),
    "new_fields": (
        "new fields on a page",
        "{:.1f}",
        "The API sends fields that are not in its contract. The archive keeps them. Look for a "
        "newer version of sf_assets.",
    ),
    "damaged_fields": (
        "damaged fields of an account",
        "{:.2f}",
        "They are stored as NULL. The API may have changed: look for a newer version of sf_assets.",
    ),
    "cached": (
        "share of pages from the API's cache",
        "{:.0%}",
        "Cached pages cost the full price and may show an earlier day, so changes come late.",
    ),
    "retries": ("failed requests per page", "{:.2f}", "The API often fails, so days take longer."),
    "seconds": ("seconds per page", "{:.1f}", "The API is slow, so days take longer."),
    "total_change": (
        "change of the totals per day",
        "{:.0%}",
        "Totals jumped for many handles, so the growth of this day may be an error of the API.",
    ),
    "order_agreement": (
        "share of accounts that kept their order",
        "{:.0%}",
        "Lists are not newest first. Only lists that show everyone prove gains and losses, and "
        "depth: recent reads lists completely. Nothing false is claimed.",
    ),
}


@dataclass(frozen=True)
class Drift(Alert):
    """Days on which measures left their range: measure -> (lists, of lists, before, now)."""

    kind: ClassVar[AlertKind] = "drift"

    measures: dict[str, tuple[int, int, float | None, float]]

    @classmethod
    def find(cls, context: AlertContext) -> list[Drift]:
        """One alert per spell, because one change of the API may move several measures."""
        found: list[Drift] = []
        last = None
        for day, measure, *figures in drifts(context.con, context.since):
            change_id = f"{day}/drift/{measure}"
            if last is not None and day - last <= timedelta(days=SPELL_DAYS):
                newest = found[-1]
                measures = {measure: tuple(figures), **newest.measures}
                ids = (*newest.change_ids, change_id)
                found[-1] = cls(ids, None, (), newest.day, None, measures)
            else:
                found.append(cls((change_id,), None, (), day, None, {measure: tuple(figures)}))
            last = day
        return found

    @property
    def ui_path(self) -> str:
        return "/assets/social_fetch_api?view=checks"

    @property
    def details(self) -> dict[str, Any]:
        names = ("lists", "of_lists", "was", "now")
        return {
            "measures": {
                measure: dict(zip(names, figures, strict=True))
                for measure, figures in self.measures.items()
            }
        }

    @property
    def words(self) -> Words:
        changes = "; ".join(sentence(measure, *self.measures[measure]) for measure in self.measures)
        means = dict.fromkeys(MEASURES[measure][2] for measure in self.measures)
        todo = "Make a bundle with sf-assets bundle and contact Social Fetch."
        return Words(
            "The API's responses have changed",
            f"Since {self.day} (UTC): {changes}.",
            " ".join([*means, todo]),
            "as before",
            ", ".join(MEASURES[measure][0] for measure in self.measures),
        )


def drifts(con: duckdb.DuckDBPyConnection | None, since: date) -> list[Any]:
    """The rows of drift.sql; empty if nothing is published, or by a version without measures."""
    try:
        return [] if con is None else con.execute(sql("drift"), {"since": since}).fetchall()
    except duckdb.CatalogException:
        return []


def sentence(measure: str, out: int, lists: int, was: float | None, now: float) -> str:
    """A drift in words: `accounts on a page: 30 instead of 20, in 6 of 6 lists`."""
    name, form, _ = MEASURES[measure]
    before = f" instead of {form.format(was)}" if was is not None else ""
    return f"{name}: {form.format(now)}{before}, in {out} of {lists} lists"
