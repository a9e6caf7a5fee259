"""Asset checks: each asks a question about the newest day and suggests what to do.

A check warns about what is normal in the world (TikTok cuts a list short, a profile stays private)
and fails with ERROR on what is broken here. Checks read the published file and the names of landing
files, never the warehouse. They run after every derivation and on request in the UI. They are not
partitioned, because Dagster's partitioned checks are a preview.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property, partial
from typing import Any

import dagster as dg
import duckdb

from sf_assets.alerts.kinds.drift import MEASURES, drifts, sentence
from sf_assets.defs.audience import Audience
from sf_assets.defs.churn import CHURN_OF
from sf_assets.defs.sources import SOCIAL_FETCH_API
from sf_assets.defs.specs import table
from sf_assets.handles.parse import registry_in_force
from sf_assets.handles.settings import ListSettings
from sf_assets.model import ASSET_OF, RELATIONS, Relation, SnapshotKey
from sf_assets.settings import Settings
from sf_assets.storage.home import Home
from sf_assets.storage.landings import landing_of
from sf_assets.text import counted
from sf_assets.warehouse.alignment import MIN_ORDER_AGREEMENT
from sf_assets.warehouse.connection import reading
from sf_assets.warehouse.statements import sql

# A run that reads a list lands a page every few seconds. After this pause nobody reads it.
IDLE_MINUTES = 15
STALE_DAYS = 2
CLOSED_DAYS = 7
# Share of the total, and number of accounts, that may stay unexplained: TikTok counts banned and
# private accounts and does not list them.
UNEXPLAINED = 0.01
UNEXPLAINED_ACCOUNTS = 5
NAMED = 50
CHECKS_OPERATION = "checks"


@dataclass
class Verdict:
    """The answer of a check: it passes if `bad` and `notable` are empty.

    Both hold rows for `columns`, the handle first. Rows in `bad` make it an ERROR.
    """

    summary: str
    columns: Sequence[str] = ()
    bad: list[tuple[Any, ...]] = field(default_factory=list)
    notable: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether there is nothing to report."""
        return not self.bad and not self.notable

    @property
    def severity(self) -> dg.AssetCheckSeverity:
        """ERROR for `bad` rows, else WARN."""
        return dg.AssetCheckSeverity.ERROR if self.bad else dg.AssetCheckSeverity.WARN


class CheckContext:
    """What the checks look at. Each query runs once."""

    def __init__(self, home: Home, settings: Settings, con: duckdb.DuckDBPyConnection) -> None:
        self.home, self.settings, self.con = home, settings, con
        self.today = settings.day()
        self.registry, self.registry_problem = registry_in_force(home.registry)

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of a query on the published file."""
        return self.con.execute(sql, list(parameters)).fetchall()

    @cached_property
    def day(self) -> date:
        """The newest day with a snapshot, or today without any snapshot."""
        newest: date | None = self.rows("SELECT max(snapshot_date) FROM main.snapshots")[0][0]
        return newest or self.today

    def tracked(self, relation: Relation) -> list[str]:
        """The handles whose list of this relation is tracked."""
        return [
            handle for handle, own in self.registry.handles.items() if relation in own.relations
        ]

    def due_since(self, relation: Relation, handle: str, last: date) -> int:
        """How many days since `last` the list was due, today included; 60 at most."""
        days = (self.today - last).days
        return sum(
            self.registry.due(handle, relation, self.today - timedelta(days=back))
            for back in range(min(days, 60))
        )

    @cached_property
    def newest(self) -> dict[tuple[str, str], tuple[date, date | None]]:
        """(relation, handle) -> day of the newest snapshot and of the newest usable snapshot."""
        rows = self.rows(
            "SELECT relation, handle, max(snapshot_date), "
            "max(snapshot_date) FILTER (completeness <> 'none') FROM main.snapshots GROUP BY ALL"
        )
        return {(relation, handle): (last, usable) for relation, handle, last, usable in rows}

    @cached_property
    def unfinished(self) -> dict[SnapshotKey, float]:
        """Lists of the last two days that have pages and are not loaded -> minutes since a page."""
        landing = landing_of(self.home)
        loaded = {
            SnapshotKey(day, handle, relation)
            for relation, handle, day in self.rows(
                "SELECT relation, handle, snapshot_date FROM main.snapshots "
                "WHERE snapshot_date >= ?",
                self.day - timedelta(days=1),
            )
        }
        now = time.time()
        return {
            key: (now - touched) / 60
            for day in landing.days()
            if day >= self.day - timedelta(days=1)
            for key in landing.keys(day)
            if key not in loaded
            and (touched := landing.modified(key)) is not None
            # `forecast` may buy the first page of a handle that is not tracked.
            and (key.handle in self.registry.handles or self.registry_problem)
        }


def finished_today(relation: Relation, context: CheckContext) -> Verdict:
    """Does every due handle have a snapshot of the newest day?"""
    due = [
        key.handle for key in context.registry.lists_due(context.day) if key.relation == relation
    ]
    missing = [
        handle
        for handle in due
        if context.newest.get((relation, handle), (date.min, None))[0] < context.day
    ]
    verdict = Verdict(
        f"{len(due) - len(missing)} of {counted(len(due), 'due handle')} have a snapshot of "
        f"their {relation} on {context.day}.",
        ("handle", "state"),
    )
    if context.registry_problem is not None:
        verdict.summary = f"{context.registry_problem}. {verdict.summary}"
        verdict.bad.append(("handles.yaml", context.registry_problem))
    for handle in missing:
        idle = context.unfinished.get(SnapshotKey(context.day, handle, relation))
        if idle is None:
            verdict.notable.append((handle, "not begun"))
        elif idle < IDLE_MINUTES:
            verdict.notable.append((handle, "in progress"))
        else:
            verdict.bad.append((handle, f"interrupted {idle:.0f} minutes ago"))
    return verdict


def reached_the_end(relation: Relation, context: CheckContext) -> Verdict:
    """Was every open list read to its end, or as deep as its settings ask?"""
    rows = context.rows(
        "SELECT handle, end_reason, listed, reported_total FROM main.snapshots "
        "WHERE relation = ? AND snapshot_date = ? AND lookup_status = 'found' ORDER BY handle",
        relation,
        context.day,
    )

    def own(handle: str) -> ListSettings:
        return context.registry.settings_of(handle).of(relation)

    # A list may end where its configured depth ends.
    short = [
        row
        for row in rows
        if row[1] != "exhausted"
        and not (row[1] == "page_limit" and own(row[0]).max_pages)
        and not (row[1] == "known" and own(row[0]).depth == "recent")
    ]
    return Verdict(
        f"{len(rows) - len(short)} of {len(rows)} open {relation} lists of {context.day} were read "
        "to the end.",
        ("handle", "end_reason", "listed", "total"),
        bad=[row for row in short if row[1] == "out_of_credits"],
        notable=[row for row in short if row[1] != "out_of_credits"],
    )


def fields_readable(relation: Relation, context: CheckContext) -> Verdict:
    """Do all fields of the newest lists match the contract?"""
    rows = context.rows(
        "SELECT handle, damaged_fields, listed FROM main.snapshots "
        "WHERE relation = ? AND snapshot_date = ? ORDER BY damaged_fields DESC, handle",
        relation,
        context.day,
    )
    damaged = [row for row in rows if row[1]]
    return Verdict(
        f"{len(rows) - len(damaged)} of {counted(len(rows), f'{relation} list')} of {context.day} "
        "have no damaged field.",
        ("handle", "damaged_fields", "listed"),
        notable=damaged,
    )


def fresh(relation: Relation, context: CheckContext) -> Verdict:
    """Does every tracked handle have a recent snapshot, and a recent usable one?"""
    verdict = Verdict(
        f"No tracked handle missed its {relation} on more than {STALE_DAYS} due days.",
        ("handle", "newest", "newest_usable"),
    )
    for handle in context.tracked(relation):
        if (relation, handle) not in context.newest:
            continue  # not read yet; `finished_today` reports it
        last, usable = context.newest[relation, handle]
        row = (handle, str(last), str(usable or "never"))
        if context.due_since(relation, handle, last) > STALE_DAYS:
            verdict.bad.append(row)
        elif usable is None or context.due_since(relation, handle, usable) > CLOSED_DAYS:
            verdict.notable.append(row)
    if not verdict.passed:
        verdict.summary = " ".join(
            f"{counted(len(rows), 'handle')} without {what} on more than {days} due days."
            for rows, what, days in (
                (verdict.bad, f"a snapshot of {relation}", STALE_DAYS),
                (verdict.notable, f"a usable list of {relation}", CLOSED_DAYS),
            )
            if rows
        )
    return verdict


def landing_finished(context: CheckContext) -> Verdict:
    """Are all landed pages of the last two days loaded?"""
    verdict = Verdict(
        "All landed pages of the last two days are loaded.",
        ("handle", "relation", "day", "idle_minutes"),
    )
    for key, idle in sorted(context.unfinished.items()):
        row = (key.handle, key.relation, str(key.day), round(idle))
        (verdict.notable if idle < IDLE_MINUTES else verdict.bad).append(row)
    if not verdict.passed:
        verdict.summary = (
            f"{counted(len(verdict.bad), 'interrupted list')}, "
            f"{len(verdict.notable):,} in progress."
        )
    return verdict


def credits_within_budget(context: CheckContext) -> Verdict:
    """Did the day stay within the daily cap, and did no list run out of credits?"""
    cap = context.settings.daily_credits
    ((spent, mean),) = context.rows(
        "SELECT coalesce(sum(credits) FILTER (snapshot_date = $day), 0), round(avg(credits)) FROM ("
        "SELECT snapshot_date, sum(credits) AS credits FROM main.credit_ledger "
        "WHERE snapshot_date > $day - 28 GROUP BY ALL)".replace("$day", f"DATE '{context.day}'")
    )
    stopped = context.rows(
        "SELECT handle, relation, end_reason FROM main.snapshots "
        "WHERE snapshot_date = ? AND end_reason IN ('budget', 'out_of_credits') ORDER BY ALL",
        context.day,
    )
    verdict = Verdict(
        f"{counted(spent, 'credit')} on {context.day} ({mean or 0:,.0f} per day in the last 28 "
        f"days, {'no cap' if cap is None else f'cap {cap:,}'}).",
        ("handle", "relation", "why"),
    )
    for row in stopped:
        (verdict.bad if row[2] == "out_of_credits" else verdict.notable).append(row)
    if cap is not None and spent > cap:
        verdict.bad.append(("all", "both", f"{counted(spent, 'credit')} exceed the cap of {cap:,}"))
    return verdict


def same_owner(relation: Relation, context: CheckContext) -> Verdict:
    """Do the lists still belong to the same person, or does handles.yaml explain the break?"""
    rows = context.con.execute(sql("alert_breaks"), {"since": context.day - timedelta(days=28)})
    unexplained = [
        (handle, str(day), before, total)
        for day, handle, of, _, total, before in rows.fetchall()
        if of == relation and day not in context.registry.settings_of(handle).breaks
    ]
    return Verdict(
        f"{counted(len(unexplained), f'{relation} list')} may belong to another person since a "
        "break in the last 28 days.",
        ("handle", "since", "total_before", "total"),
        notable=unexplained,
    )


def drift(context: CheckContext) -> Verdict:
    """Are the measures of the API's responses within the range of the 28 days before?"""
    rows = drifts(context.con, context.day)
    listed = "; ".join(sentence(*row[1:]) for row in rows)
    return Verdict(
        f"{counted(len(rows), 'measure')} of the API's responses on {context.day} left the range "
        f"of the 28 days before in many lists{f': {listed}' if listed else ''}.",
        ("measure", "lists", "of_lists", "was", "now", "means"),
        notable=[(*row[1:], MEASURES[row[1]][2]) for row in rows],
    )


def order_agreement(relation: Relation, context: CheckContext) -> Verdict:
    """Do the lists still come newest first?"""
    rows = context.rows(
        "SELECT handle, round(order_agreement, 3), common, reason FROM main.comparisons "
        "WHERE relation = ? AND snapshot_date = ? AND common > 0 ORDER BY ALL",
        relation,
        context.day,
    )
    low = [row for row in rows if row[1] is not None and row[1] < MIN_ORDER_AGREEMENT]
    return Verdict(
        f"{len(rows) - len(low)} of {len(rows)} {relation} lists of {context.day} kept their order "
        f"(at least {MIN_ORDER_AGREEMENT:.0%} of the accounts).",
        ("handle", "order_agreement", "common", "reason"),
        notable=low,
    )


def totals_explained(context: CheckContext) -> Verdict:
    """Do the changes of the lists explain the changes of the totals?"""
    rows = context.rows(
        # The next full read of a `recent` list shows all losses below the part that was read.
        "SELECT handle, followers_total, followers_net, net_unexplained "
        "FROM main.follower_growth AS g WHERE snapshot_date = ? AND net_unexplained IS NOT NULL "
        "AND NOT EXISTS (FROM main.comparisons AS c JOIN main.follower_snapshots AS s "
        "ON s.handle = c.handle AND s.snapshot_date IN (c.snapshot_date, c.previous_date) "
        "WHERE c.relation = 'followers' AND c.handle = g.handle "
        "AND c.snapshot_date = g.snapshot_date AND s.end_reason = 'known') "
        "ORDER BY abs(net_unexplained) DESC, handle",
        context.day,
    )
    large = [
        row for row in rows if abs(row[3]) > max(UNEXPLAINED_ACCOUNTS, UNEXPLAINED * (row[1] or 0))
    ]
    return Verdict(
        f"{len(rows) - len(large)} of {len(rows)} totals of {context.day} match their lists.",
        ("handle", "total", "net", "net_unexplained"),
        notable=large,
    )


@dataclass(frozen=True)
class Check:
    """A check of an asset: its question, and what to do if the answer is no."""

    asset: str
    name: str
    question: str
    to_do: str
    judge: Callable[[CheckContext], Verdict]

    def spec(self, audience: Audience) -> dg.AssetCheckSpec:
        """The spec of the check, with question and advice as its description."""
        return dg.AssetCheckSpec(
            self.name,
            asset=audience.key(self.asset),
            description=f"{self.question} **What to do:** {self.to_do}",
        )


def _all() -> Iterator[Check]:
    for relation in RELATIONS:
        yield Check(
            ASSET_OF[relation],
            "finished_today",
            "Does every tracked handle have a snapshot of the newest day?",
            "Run the partition of an interrupted list again within 6 hours (`sf-assets snapshot "
            "HANDLE`); it continues where it stopped, and the failed run gives the reason. The "
            "daily run reads lists that are not begun.",
            partial(finished_today, relation),
        )
        yield Check(
            ASSET_OF[relation],
            "reached_the_end",
            "Were all open lists read to the end?",
            "`budget`: raise SF_ASSETS_DAILY_CREDITS or set a depth for the handle. "
            "`out_of_credits`: top up and run the day again. `stalled`: the API repeated a cursor "
            "or the list did not end, so wait a day. No loss is claimed below the part that was "
            "read.",
            partial(reached_the_end, relation),
        )
        yield Check(
            ASSET_OF[relation],
            "damaged_fields",
            "Do all fields of the newest lists match the API's contract?",
            "A few damaged fields need no action: they are stored as NULL, and the rest of the "
            "list is kept. Many mean that the API has changed: look for a newer version of "
            "sf_assets and contact Social Fetch.",
            partial(fields_readable, relation),
        )
        yield Check(
            ASSET_OF[relation],
            "fresh",
            "Does every tracked handle have a recent snapshot?",
            "Look at the handle's failed partitions and run `sf-assets doctor`. To stop reading a "
            "handle that stays private, hidden or missing, run `sf-assets untrack HANDLE`.",
            partial(fresh, relation),
        )
        yield Check(
            CHURN_OF[relation],
            "same_owner",
            "Do the lists still belong to the same people?",
            "Look at the profile. If it belongs to the same person, run `sf-assets track HANDLE "
            "--continue` to compare the lists. If not, run `sf-assets track HANDLE --new-series` "
            "to keep the new series. Until then, nothing is claimed across the break.",
            partial(same_owner, relation),
        )
        yield Check(
            CHURN_OF[relation],
            "order_agreement",
            "Do the lists still come newest first?",
            "One day needs no action: without order, a loss is claimed only if the list shows "
            "everyone. If it lasts, look at `comparisons` and contact Social Fetch.",
            partial(order_agreement, relation),
        )
    yield Check(
        ASSET_OF["followers"],
        "landing_finished",
        "Are all pages that were bought loaded?",
        "Run the handle's partition again; landed pages are not bought twice. After 6 hours the "
        "day is final, and the next day is compared across the gap.",
        landing_finished,
    )
    yield Check(
        SOCIAL_FETCH_API,
        "credits_within_budget",
        "Does the day's spend stay within SF_ASSETS_DAILY_CREDITS and the balance?",
        "Top up, raise the cap, or read less: `sf-assets track HANDLE --pages N`.",
        credits_within_budget,
    )
    yield Check(
        SOCIAL_FETCH_API,
        "drift",
        "Does the API still respond as in the 28 days before?",
        "See the column `means` below. Look for a newer version of sf_assets, make a bundle with "
        "`sf-assets bundle`, and contact Social Fetch.",
        drift,
    )
    yield Check(
        "follower_growth",
        "totals_explained",
        "Do the changes of the lists explain the changes of the totals?",
        "A few accounts are normal: TikTok counts banned and private accounts and does not list "
        "them. Many on one day are a purge by TikTok or a list that was cut short: look at "
        "`completeness` and `followers_unknown`.",
        totals_explained,
    )


CHECKS = tuple(_all())


def evaluate(home: Home, settings: Settings) -> Iterator[tuple[Check, Verdict]]:
    """Run all checks. Raises FileNotFoundError if nothing is published yet."""
    with reading(home.readable) as con:
        context = CheckContext(home, settings, con)
        for check in CHECKS:
            yield check, check.judge(context)


def evaluations(
    audience: Audience, keys: Mapping[str, dg.AssetKey]
) -> list[dg.AssetCheckEvaluation]:
    """Run all checks and return their events for a derivation run.

    `keys` maps a table to the key of its asset in this code location. Raises FileNotFoundError.
    """
    return [
        dg.AssetCheckEvaluation(
            asset_key=keys.get(check.asset, audience.key(check.asset)), **_result(check, verdict)
        )
        for check, verdict in evaluate(audience.home, audience.settings)
    ]


def build_checks(audience: Audience) -> dg.AssetChecksDefinition:
    """The checks as a step of their own, for runs that somebody starts in the UI."""

    @dg.multi_asset_check(
        name=audience.named(CHECKS_OPERATION),
        specs=[check.spec(audience) for check in CHECKS],
        can_subset=True,
        description="Checks the published file. Each derivation also runs these checks.",
    )
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        # A project that merged the definitions may have changed the keys.
        selected = {
            (key.asset_key.path[-1], key.name): key for key in context.selected_asset_check_keys
        }
        for check, verdict in evaluate(audience.home, audience.settings):
            key = selected.get((check.asset, check.name))
            if key is not None:
                yield dg.AssetCheckResult(asset_key=key.asset_key, **_result(check, verdict))

    return checks


def _result(check: Check, verdict: Verdict) -> dict[str, Any]:
    return {
        "check_name": check.name,
        "passed": verdict.passed,
        "severity": verdict.severity,
        "description": verdict.summary,
        "metadata": _metadata(check, verdict),
    }


def _metadata(check: Check, verdict: Verdict) -> Mapping[str, dg.MetadataValue]:
    rows = [*verdict.bad, *verdict.notable]
    # Also where the check passes: Dagster plots the number over time.
    concerned = {"concerned": dg.MetadataValue.int(len(rows))}
    if verdict.passed:
        return concerned
    columns = {
        name: "int" if all(isinstance(row[at], int) for row in rows) else "string"
        for at, name in enumerate(verdict.columns)
    }
    return {
        "what_to_do": dg.MetadataValue.text(check.to_do.replace("`", "")),
        **concerned,
        "who": table(columns, rows[:NAMED]),
    }
