"""The API is not what it was: a measure of its answers left its range in many lists at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, ClassVar

import duckdb

from sf_assets.alerts.kinds.base import Alert, Look, Words
from sf_assets.model import AlertKind
from sf_assets.warehouse.statements import sql

# What happens again within so many days is told as one.
SPELL_DAYS = 3

# Of each measure: its name, how its value is written, and what a change means.
MEASURES: dict[str, tuple[str, str, str]] = {
    "page_size": (
        "accounts on a page",
        "{:.0f}",
        "Lists cost more or fewer credits: see sf-assets forecast, and whether caps still fit.",
    ),
    "without_number": (
        "share of accounts without a number",
        "{:.0%}",
        "Those accounts are known by secUid or handle alone: renames look like unknown people, and "
        "fewer losses and gains can be proved. Nothing false is claimed.",
    ),
    "without_sec_uid": (
        "share of accounts without a secUid",
        "{:.0%}",
        "Those accounts are known by number or handle alone; where both are missing, fewer losses "
        "and gains can be proved.",
    ),
    "repeated": (
        "share of accounts listed twice",
        "{:.0%}",
        "Pages overlap or repeat, and cost credits for nothing; the lists count each account once.",
    ),
    "fields": (
        "fields of an account",
        "{:.1f}",
        "Fields went missing or came: what is derived of them (profiles, audience) may be empty.",
    ),
    "new_fields": (
        "new fields on a page",
        "{:.1f}",
        "The API sends what its contract does not have; the archive keeps it. Look for a newer "
        "version of sf_assets.",
    ),
    "damaged_fields": (
        "damaged fields of an account",
        "{:.2f}",
        "They are stored as NULL. The API may have changed: look for a newer version of sf_assets.",
    ),
    "cached": (
        "share of pages from the vendor's cache",
        "{:.0%}",
        "Cached pages cost the full price and may be those of an earlier day: changes come late.",
    ),
    "retries": ("tries that failed, a page", "{:.2f}", "The API is unwell; days take longer."),
    "seconds": ("seconds a page", "{:.1f}", "The API is slow; days take longer."),
    "total_change": (
        "change of the totals in a day",
        "{:.0%}",
        "Totals jumped in many handles: growth of this day may be the API's doing, not people's.",
    ),
    "order_agreement": (
        "share of accounts that kept their order",
        "{:.0%}",
        "Lists do not come newest first: only lists that show everyone prove who came and left, "
        "and depth: recent reads lists whole. Nothing false is claimed.",
    ),
}


@dataclass(frozen=True)
class Drift(Alert):
    """Days on which measures left their range: measure -> (lists, of lists, was, now)."""

    kind: ClassVar[AlertKind] = "drift"

    measures: dict[str, tuple[int, int, float | None, float]]

    @classmethod
    def find(cls, look: Look) -> list[Drift]:
        """One alert a spell, however many measures one change of the API moves."""
        found: list[Drift] = []
        last = None
        for day, measure, *figures in drifts(look.con, look.since):
            change_id = f"{day}/drift/{measure}"
            if last is not None and day - last <= timedelta(days=SPELL_DAYS):
                known = found[-1]
                measures = {measure: tuple(figures), **known.measures}
                ids = (*known.change_ids, change_id)
                found[-1] = cls(ids, None, (), known.day, None, measures)
            else:
                found.append(cls((change_id,), None, (), day, None, {measure: tuple(figures)}))
            last = day
        return found

    @property
    def place(self) -> str:
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
        said = "; ".join(sentence(measure, *self.measures[measure]) for measure in self.measures)
        means = dict.fromkeys(MEASURES[measure][2] for measure in self.measures)
        todo = "Pack what you saw with sf-assets bundle, and tell the vendor."
        return Words(
            "The API does not answer as it did",
            f"Since {self.day} (UTC): {said}.",
            " ".join([*means, todo]),
            "as before",
            ", ".join(MEASURES[measure][0] for measure in self.measures),
        )


def drifts(con: duckdb.DuckDBPyConnection | None, since: date) -> list[Any]:
    """The rows of drift.sql; none where nothing is published, or by a version without measures."""
    try:
        return [] if con is None else con.execute(sql("drift"), {"since": since}).fetchall()
    except duckdb.CatalogException:
        return []


def sentence(measure: str, out: int, lists: int, was: float | None, now: float) -> str:
    """`accounts on a page: 30 instead of 20, in 6 of 6 lists`."""
    name, form, _ = MEASURES[measure]
    before = f" instead of {form.format(was)}" if was is not None else ""
    return f"{name}: {form.format(now)}{before}, in {out} of {lists} lists"
