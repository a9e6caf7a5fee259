"""Asset checks: what to look at, how bad it is, what to do.

WARN is what is normal in the world (a list TikTok cuts short, a profile that stays private), ERROR
what is broken here. They read the published file and the names of landing files, never the
warehouse, and run after every derivation; the UI can run them by hand too. They are about the
newest day: Dagster's partitioned checks are a preview.
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

# A list that is being read gets a page every few seconds; one that nobody touched for so long is
# not being read any more.
IDLE_MINUTES = 15
STALE_DAYS = 2
CLOSED_DAYS = 7
# Share of the total, and accounts, that may stay unexplained: banned and private accounts are
# counted and not listed.
UNEXPLAINED = 0.01
UNEXPLAINED_ACCOUNTS = 5
NAMED = 50
CHECKS_OPERATION = "checks"


@dataclass
class Verdict:
    """Fine where `bad` and `notable` are empty; both are rows for `columns`, handles first."""

    said: str
    columns: Sequence[str] = ()
    bad: list[tuple[Any, ...]] = field(default_factory=list)
    notable: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.bad and not self.notable

    @property
    def severity(self) -> dg.AssetCheckSeverity:
        return dg.AssetCheckSeverity.ERROR if self.bad else dg.AssetCheckSeverity.WARN


class Look:
    """What the checks look at, each thing read once."""

    def __init__(self, home: Home, settings: Settings, con: duckdb.DuckDBPyConnection) -> None:
        self.home, self.settings, self.con = home, settings, con
        self.today = settings.day()
        self.registry, self.registry_problem = registry_in_force(home.registry)

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self.con.execute(sql, list(parameters)).fetchall()

    @cached_property
    def day(self) -> date:
        """The newest day with a snapshot; today where there is none."""
        newest: date | None = self.rows("SELECT max(snapshot_date) FROM main.snapshots")[0][0]
        return newest or self.today

    def tracked(self, relation: Relation) -> list[str]:
        return [
            handle for handle, own in self.registry.handles.items() if relation in own.relations
        ]

    def due_since(self, relation: Relation, handle: str, last: date) -> int:
        """On how many days after `last` the list was due, today included."""
        days = (self.today - last).days
        return sum(
            self.registry.due(handle, relation, self.today - timedelta(days=back))
            for back in range(min(days, 60))
        )

    @cached_property
    def newest(self) -> dict[tuple[str, str], tuple[date, date | None]]:
        """(relation, handle) -> day of the newest snapshot, and of the newest usable one."""
        found = self.rows(
            "SELECT relation, handle, max(snapshot_date), "
            "max(snapshot_date) FILTER (completeness <> 'none') FROM main.snapshots GROUP BY ALL"
        )
        return {(relation, handle): (last, usable) for relation, handle, last, usable in found}

    @cached_property
    def begun(self) -> dict[SnapshotKey, float]:
        """Lists of the last two days that were begun and not loaded -> minutes since touched."""
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
            # A page bought for a forecast is nobody's list yet.
            and (key.handle in self.registry.handles or self.registry_problem)
        }


def finished_today(relation: Relation, look: Look) -> Verdict:
    due = [key.handle for key in look.registry.lists_due(look.day) if key.relation == relation]
    missing = [
        handle
        for handle in due
        if look.newest.get((relation, handle), (date.min, None))[0] < look.day
    ]
    verdict = Verdict(
        f"{len(due) - len(missing)} of {counted(len(due), 'due handle')} have their "
        f"{relation} of {look.day}",
        ("handle", "state"),
    )
    if look.registry_problem is not None:
        verdict.said = f"{look.registry_problem}. {verdict.said}"
        verdict.bad.append(("handles.yaml", look.registry_problem))
    for handle in missing:
        idle = look.begun.get(SnapshotKey(look.day, handle, relation))
        if idle is None:
            verdict.notable.append((handle, "not begun"))
        elif idle < IDLE_MINUTES:
            verdict.notable.append((handle, "is being read"))
        else:
            verdict.bad.append((handle, f"broke off {idle:.0f} minutes ago"))
    return verdict


def reached_the_end(relation: Relation, look: Look) -> Verdict:
    rows = look.rows(
        "SELECT handle, end_reason, listed, reported_total FROM main.snapshots "
        "WHERE relation = ? AND snapshot_date = ? AND lookup_status = 'found' ORDER BY handle",
        relation,
        look.day,
    )

    def own(handle: str) -> ListSettings:
        return look.registry.settings_of(handle).of(relation)

    # A depth that was asked for is an end.
    short = [
        row
        for row in rows
        if row[1] != "exhausted"
        and not (row[1] == "page_limit" and own(row[0]).max_pages)
        and not (row[1] == "known" and own(row[0]).depth == "recent")
    ]
    return Verdict(
        f"{len(rows) - len(short)} of {len(rows)} open {relation} lists of {look.day} were read "
        "to their end",
        ("handle", "end_reason", "listed", "total"),
        bad=[row for row in short if row[1] == "out_of_credits"],
        notable=[row for row in short if row[1] != "out_of_credits"],
    )


def fields_readable(relation: Relation, look: Look) -> Verdict:
    rows = look.rows(
        "SELECT handle, damaged_fields, listed FROM main.snapshots "
        "WHERE relation = ? AND snapshot_date = ? ORDER BY damaged_fields DESC, handle",
        relation,
        look.day,
    )
    damaged = [row for row in rows if row[1]]
    return Verdict(
        f"{len(rows) - len(damaged)} of {counted(len(rows), f'{relation} list')} of {look.day} "
        "came without a damaged field",
        ("handle", "damaged_fields", "listed"),
        notable=damaged,
    )


def fresh(relation: Relation, look: Look) -> Verdict:
    verdict = Verdict(
        f"no tracked handle missed more than {STALE_DAYS} days on which its {relation} were due",
        ("handle", "newest", "newest_usable"),
    )
    for handle in look.tracked(relation):
        if (relation, handle) not in look.newest:
            continue  # tracked since a moment ago
        last, usable = look.newest[relation, handle]
        row = (handle, str(last), str(usable or "never"))
        if look.due_since(relation, handle, last) > STALE_DAYS:
            verdict.bad.append(row)
        elif usable is None or look.due_since(relation, handle, usable) > CLOSED_DAYS:
            verdict.notable.append(row)
    if not verdict.passed:
        verdict.said = "; ".join(
            f"{counted(len(rows), 'handle')} without {what} on more than {days} days that were due"
            for rows, what, days in (
                (verdict.bad, f"a snapshot of {relation}", STALE_DAYS),
                (verdict.notable, f"a usable list of {relation}", CLOSED_DAYS),
            )
            if rows
        )
    return verdict


def landing_finished(look: Look) -> Verdict:
    verdict = Verdict(
        "no list broke off: all landed pages of the last two days are loaded",
        ("handle", "relation", "day", "idle_minutes"),
    )
    for key, idle in sorted(look.begun.items()):
        row = (key.handle, key.relation, str(key.day), round(idle))
        (verdict.notable if idle < IDLE_MINUTES else verdict.bad).append(row)
    if not verdict.passed:
        broken, read = len(verdict.bad), len(verdict.notable)
        verdict.said = (
            f"{counted(broken, 'list')} broke off, {read:,} {'is' if read == 1 else 'are'} being "
            "read"
        )
    return verdict


def credits_within_budget(look: Look) -> Verdict:
    cap = look.settings.daily_credits
    ((spent, mean),) = look.rows(
        "SELECT coalesce(sum(credits) FILTER (snapshot_date = $day), 0), round(avg(credits)) FROM ("
        "SELECT snapshot_date, sum(credits) AS credits FROM main.credit_ledger "
        "WHERE snapshot_date > $day - 28 GROUP BY ALL)".replace("$day", f"DATE '{look.day}'")
    )
    stopped = look.rows(
        "SELECT handle, relation, end_reason FROM main.snapshots "
        "WHERE snapshot_date = ? AND end_reason IN ('budget', 'out_of_credits') ORDER BY ALL",
        look.day,
    )
    said = f"{counted(spent, 'credit')} on {look.day}, {mean or 0:,.0f} a day in the last 28 days"
    said += f", cap {cap:,}" if cap is not None else ", no cap"
    verdict = Verdict(said, ("handle", "relation", "why"))
    for row in stopped:
        (verdict.bad if row[2] == "out_of_credits" else verdict.notable).append(row)
    if cap is not None and spent > cap:
        verdict.bad.append(
            ("all", "both", f"{counted(spent, 'credit')}, more than the cap of {cap:,}")
        )
    return verdict


def same_owner(relation: Relation, look: Look) -> Verdict:
    rows = look.con.execute(sql("alert_breaks"), {"since": look.day - timedelta(days=28)})
    open_ = [
        (handle, str(day), before, total)
        for day, handle, of, _, total, before in rows.fetchall()
        if of == relation and day not in look.registry.settings_of(handle).breaks
    ]
    return Verdict(
        f"{counted(len(open_), f'{relation} list')} may be somebody else's since a day of the last "
        "28, and handles.yaml does not say",
        ("handle", "since", "total_before", "total"),
        notable=open_,
    )


def drift(look: Look) -> Verdict:
    rows = drifts(look.con, look.day)
    return Verdict(
        f"{counted(len(rows), 'measure')} of the API's answers of {look.day} left the range of the "
        "28 days before in many lists" + "".join(f"; {sentence(*row[1:])}" for row in rows),
        ("measure", "lists", "of_lists", "was", "now", "means"),
        notable=[(*row[1:], MEASURES[row[1]][2]) for row in rows],
    )


def order_agreement(relation: Relation, look: Look) -> Verdict:
    rows = look.rows(
        "SELECT handle, round(order_agreement, 3), common, reason FROM main.comparisons "
        "WHERE relation = ? AND snapshot_date = ? AND common > 0 ORDER BY ALL",
        relation,
        look.day,
    )
    low = [row for row in rows if row[1] is not None and row[1] < MIN_ORDER_AGREEMENT]
    return Verdict(
        f"{len(rows) - len(low)} of {len(rows)} {relation} lists of {look.day} kept their order "
        f"({MIN_ORDER_AGREEMENT:.0%} or more of the accounts)",
        ("handle", "order_agreement", "common", "reason"),
        notable=low,
    )


def totals_explained(look: Look) -> Verdict:
    rows = look.rows(
        # A list that is read from the top shows later who left below, and all at once.
        "SELECT handle, followers_total, followers_net, net_unexplained "
        "FROM main.follower_growth AS g WHERE snapshot_date = ? AND net_unexplained IS NOT NULL "
        "AND NOT EXISTS (FROM main.comparisons AS c JOIN main.follower_snapshots AS s "
        "ON s.handle = c.handle AND s.snapshot_date IN (c.snapshot_date, c.previous_date) "
        "WHERE c.relation = 'followers' AND c.handle = g.handle "
        "AND c.snapshot_date = g.snapshot_date AND s.end_reason = 'known') "
        "ORDER BY abs(net_unexplained) DESC, handle",
        look.day,
    )
    large = [
        row for row in rows if abs(row[3]) > max(UNEXPLAINED_ACCOUNTS, UNEXPLAINED * (row[1] or 0))
    ]
    return Verdict(
        f"{len(rows) - len(large)} of {len(rows)} totals of {look.day} changed as their lists did",
        ("handle", "total", "net", "net_unexplained"),
        notable=large,
    )


@dataclass(frozen=True)
class Check:
    """A check: of which asset, what it asks, and what to do where the answer is no."""

    asset: str
    name: str
    asks: str
    to_do: str
    judge: Callable[[Look], Verdict]

    def spec(self, audience: Audience) -> dg.AssetCheckSpec:
        return dg.AssetCheckSpec(
            self.name,
            asset=audience.key(self.asset),
            description=f"{self.asks} **What to do:** {self.to_do}",
        )


def _all() -> Iterator[Check]:
    for relation in RELATIONS:
        yield Check(
            ASSET_OF[relation],
            "finished_today",
            "Has every tracked handle a snapshot of the newest day?",
            "a list that broke off goes on where it stopped when its partition is run again "
            "within 6 hours (`sf-assets snapshot HANDLE`); the failed run says why. What was not "
            "begun comes with the daily run.",
            partial(finished_today, relation),
        )
        yield Check(
            ASSET_OF[relation],
            "reached_the_end",
            "Were the open lists read to their end?",
            "`budget`: raise SF_ASSETS_DAILY_CREDITS or give the handle a depth; "
            "`out_of_credits`: top up and run the day again; `stalled`: the vendor's cursor "
            "repeated or the list had no end, wait a day. Losses are claimed only as deep as a "
            "list was read.",
            partial(reached_the_end, relation),
        )
        yield Check(
            ASSET_OF[relation],
            "damaged_fields",
            "Were all fields of the newest lists what the contract says?",
            "nothing, for a few: they are stored as NULL, and the rest of the list as it came. "
            "Many are a change of the API: look for a newer version of sf_assets and tell the "
            "vendor.",
            partial(fields_readable, relation),
        )
        yield Check(
            ASSET_OF[relation],
            "fresh",
            "Is there a recent snapshot of each tracked handle?",
            "look at the handle's failed partitions and run `sf-assets doctor`; a handle that "
            "stays private, hidden or missing can be taken out with `sf-assets untrack HANDLE`.",
            partial(fresh, relation),
        )
        yield Check(
            CHURN_OF[relation],
            "same_owner",
            "Are the lists those of the same people as before?",
            "look at the profile. If it is the same person, `sf-assets track HANDLE --continue` "
            "compares the lists; else `sf-assets track HANDLE --new-series` keeps the new series "
            "that has begun. Nothing is claimed across the break meanwhile.",
            partial(same_owner, relation),
        )
        yield Check(
            CHURN_OF[relation],
            "order_agreement",
            "Do the lists still come newest first?",
            "nothing, for a day: without order, losses are claimed only where both lists are "
            "complete. If it lasts, tell the vendor and read `comparisons`.",
            partial(order_agreement, relation),
        )
    yield Check(
        ASSET_OF["followers"],
        "landing_finished",
        "Is everything loaded that was bought?",
        "run the handle's partition again: what is landed is never bought twice. After 6 hours "
        "the day stays as it is, and the next one compares across the gap.",
        landing_finished,
    )
    yield Check(
        SOCIAL_FETCH_API,
        "credits_within_budget",
        "Does the day's spending stay within SF_ASSETS_DAILY_CREDITS and the balance?",
        "top up, raise the cap, or read less: `sf-assets track HANDLE --pages N`.",
        credits_within_budget,
    )
    yield Check(
        SOCIAL_FETCH_API,
        "drift",
        "Does the API still answer as in the 28 days before?",
        "read what it means below; look for a newer version of sf_assets, pack what you saw with "
        "`sf-assets bundle`, and tell the vendor.",
        drift,
    )
    yield Check(
        "follower_growth",
        "totals_explained",
        "Do the changes of the lists explain the changes of the totals?",
        "a few accounts are normal: banned and private ones are counted and not listed. Many on "
        "one day are a purge by TikTok, or a list cut short: compare `completeness` and "
        "`followers_unknown`.",
        totals_explained,
    )


CHECKS = tuple(_all())


def evaluate(home: Home, settings: Settings) -> Iterator[tuple[Check, Verdict]]:
    """All checks. Raises FileNotFoundError where nothing is published yet."""
    with reading(home.readable) as con:
        look = Look(home, settings, con)
        for check in CHECKS:
            yield check, check.judge(look)


def evaluations(
    audience: Audience, keys: Mapping[str, dg.AssetKey]
) -> list[dg.AssetCheckEvaluation]:
    """All checks as events for a run that derives; `keys` are those its assets have now.

    Raises FileNotFoundError.
    """
    return [
        dg.AssetCheckEvaluation(
            asset_key=keys.get(check.asset, audience.key(check.asset)), **_result(check, verdict)
        )
        for check, verdict in evaluate(audience.home, audience.settings)
    ]


def build_checks(audience: Audience) -> dg.AssetChecksDefinition:
    """The same checks, run by hand."""

    @dg.multi_asset_check(
        name=audience.named(CHECKS_OPERATION),
        specs=[check.spec(audience) for check in CHECKS],
        can_subset=True,
        description="Looks at the published file; runs by itself after each derivation.",
    )
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        # The keys are those that the checks have now.
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
        "description": verdict.said,
        "metadata": _metadata(check, verdict),
    }


def _metadata(check: Check, verdict: Verdict) -> Mapping[str, dg.MetadataValue]:
    rows = [*verdict.bad, *verdict.notable]
    # Said where all is well too: Dagster plots it over time.
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
