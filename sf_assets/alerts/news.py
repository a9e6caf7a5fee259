"""What there is to tell, found in the published file: each thing once, under an id of its own.

An id names what happened, not when it was looked for, so deriving a day again gives the same one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import groupby

import duckdb

from sf_assets.alerts.kinds import (
    Alert,
    ChurnSpike,
    CreditsLow,
    DayFailed,
    NotableAccount,
    NotableChange,
    Reading,
    Stale,
    StatusChange,
)
from sf_assets.alerts.ledger import switched_on
from sf_assets.handles.parse import registry_in_force
from sf_assets.handles.settings import Registry
from sf_assets.ingest import days
from sf_assets.model import RELATIONS, Relation
from sf_assets.settings import Settings
from sf_assets.storage.home import Home
from sf_assets.warehouse.connection import reading

# A day's losses (or gains) are a spike where they are at least so many, at least so many times the
# handle's median of the 28 days before, and more than on any of these. A handle with fewer days to
# compare with has no usual yet.
SPIKE_ACCOUNTS = 20
SPIKE_TIMES = 3
SPIKE_MIN_DAYS = 7
# So many days on which a list was due without a usable snapshot make a handle stale.
STALE_DAYS = 3
# Credits are low where they do not last so many days as the last 7 were.
CREDIT_DAYS = 3
# What is older than this is history, also where it comes to light only now: an account that grew
# notable long after it came.
NEWS_DAYS = 30


def find_all(home: Home, settings: Settings, *, remember: bool = True) -> list[Alert]:
    """The news of a home, as `find` finds them, also where nothing is published yet."""
    try:
        with reading(home.readable) as con:
            return find(con, home, settings, remember=remember)
    except FileNotFoundError:
        return find(None, home, settings, remember=remember)


def find(
    con: duckdb.DuckDBPyConnection | None,
    home: Home,
    settings: Settings,
    *,
    remember: bool = True,
) -> list[Alert]:
    """All news of the kinds that are on, told or not, oldest first.

    `con` is None where nothing is published; `remember` False leaves no note that a kind was seen
    switched on.
    """
    today = settings.day()
    since = switched_on(home, settings.alerts, today, remember=remember)
    found: list[Alert] = []
    for kind, first in since.items():
        recent = max(first, today - timedelta(days=NEWS_DAYS))
        if kind == "failed":
            found += failed_days(con, home, registry_in_force(home.registry)[0], recent)
        elif con is None:
            continue
        elif kind == "status":
            found += status_changes(con, first)
        elif kind == "churn":
            found += churn_spikes(con, recent)
        elif kind == "notable":
            found += notable_changes(con, recent)
        elif kind == "stale":
            # How things stand, not what happened: told whenever it was that it began.
            found += stale_handles(con, registry_in_force(home.registry)[0], today)
        else:
            found += credits_low(con)
    return sorted(found, key=lambda one: (one.day, one.handle or ""))


def undelivered(found: Sequence[Alert], told: Collection[str]) -> list[Alert]:
    """Alerts nobody was told of, oldest first."""
    return [left for one in found if (left := one.untold(told)) is not None]


def status_changes(con: duckdb.DuckDBPyConnection, since: date | None = None) -> list[StatusChange]:
    """Status changes, oldest first; both lists of a handle changing alike are one."""
    rows = con.execute(
        "SELECT changed_on, handle, from_status, to_status, previous_date, relation, change_id "
        "FROM main.status_changes WHERE changed_on >= ? ORDER BY ALL",
        [since or date.min],
    ).fetchall()
    found = []
    for (changed_on, handle, from_status, to_status), group in groupby(rows, key=lambda r: r[:4]):
        parts = list(group)
        found.append(
            StatusChange(
                change_ids=tuple(part[6] for part in parts),
                handle=handle,
                relations=tuple(part[5] for part in parts),
                from_status=from_status,
                to_status=to_status,
                changed_on=changed_on,
                previous_date=max(part[4] for part in parts),
            )
        )
    return found


# One row is one handle-day and direction whose count can be claimed, beside the 28 days before it.
# Counts are per day: a snapshot after a gap shows the churn of all its days.
_SPIKES = """
WITH figures AS (
    SELECT g.handle, g.snapshot_date, c.previous_date, g.followers_total, u.change, u.accounts,
        u.accounts / (g.snapshot_date - c.previous_date) AS rate
    FROM main.follower_growth AS g
    JOIN main.comparisons AS c
        ON c.relation = 'followers' AND c.handle = g.handle AND c.snapshot_date = g.snapshot_date
    JOIN main.follower_snapshots AS s
        ON s.handle = g.handle AND s.snapshot_date = g.snapshot_date
    LEFT JOIN main.follower_snapshots AS p
        ON p.handle = g.handle AND p.snapshot_date = c.previous_date
    CROSS JOIN LATERAL (
        SELECT 'lost' AS change, g.followers_lost AS accounts
        WHERE c.losses IN ('all', 'window')
            -- Read from the top, a list shows later who left below, and then all at once.
            AND NOT coalesce(s.end_reason = 'known', false)
            AND NOT coalesce(p.end_reason = 'known', false)
        UNION ALL
        SELECT 'gained', g.followers_gained WHERE c.gains IN ('front', 'all')
    ) AS u
    WHERE c.previous_date IS NOT NULL AND u.accounts IS NOT NULL
        AND g.snapshot_date >= CAST($since AS DATE) - 28
),
beside AS (
    SELECT *, median(rate) OVER past AS usual, max(rate) OVER past AS most,
        count(*) OVER past AS days
    FROM figures
    WINDOW past AS (
        PARTITION BY handle, change ORDER BY snapshot_date
        RANGE BETWEEN INTERVAL 28 DAYS PRECEDING AND INTERVAL 1 DAY PRECEDING
    )
)
SELECT snapshot_date, handle, change, accounts, usual, most, previous_date, followers_total
FROM beside
WHERE snapshot_date >= $since AND days >= $min_days AND accounts >= $accounts
    AND rate >= $times * usual AND rate > most
ORDER BY ALL
"""


def churn_spikes(con: duckdb.DuckDBPyConnection, since: date) -> list[ChurnSpike]:
    """Days from `since` on with far more losses or gains than the handle's 28 days before."""
    rows = con.execute(
        _SPIKES,
        {
            "since": since,
            "min_days": SPIKE_MIN_DAYS,
            "accounts": SPIKE_ACCOUNTS,
            "times": SPIKE_TIMES,
        },
    ).fetchall()
    return [
        ChurnSpike(
            change_ids=(f"{day}/{handle}/followers/churn-{change}",),
            handle=handle,
            relations=("followers",),
            change=change,
            accounts=accounts,
            usual=usual,
            most=most,
            snapshot_date=day,
            previous_date=previous,
            followers_total=total,
        )
        for day, handle, change, accounts, usual, most, previous, total in rows
    ]


def notable_changes(con: duckdb.DuckDBPyConnection, since: date) -> list[NotableChange]:
    """Notable accounts that came or left from `since` on, one alert a list, day and direction.

    Only what is confirmed: a loss is told two lists later, and no false one is.
    """
    rows = con.execute(
        "SELECT n.snapshot_date, n.handle, n.relation, n.change = 'lost', c.previous_date, "
        "n.change, n.account_id, n.account_handle, n.display_name, n.verified, n.followers "
        "FROM main.notable_changes AS n JOIN main.comparisons AS c "
        "ON c.relation = n.relation AND c.handle = n.handle AND c.snapshot_date = n.snapshot_date "
        "WHERE n.snapshot_date >= ? AND n.state = 'confirmed' "
        "ORDER BY ALL",
        [since],
    ).fetchall()
    found = []
    for (day, handle, relation, gone, previous), group in groupby(rows, key=lambda row: row[:5]):
        accounts = tuple(
            NotableAccount(f"{day}/{handle}/{relation}/notable-{change}/{account}", account, *rest)
            for *_, change, account, name, shown, verified, followers in group
            for rest in [(name, shown, verified, followers)]
        )
        # The largest first; the verified before all others.
        accounts = tuple(
            sorted(accounts, key=lambda one: (not one.verified, -(one.followers or 0)))
        )
        found.append(
            NotableChange(
                change_ids=tuple(one.change_id for one in accounts),
                handle=handle,
                relations=(relation,),
                change="left" if gone else "came",
                snapshot_date=day,
                previous_date=previous,
                accounts=accounts,
            )
        )
    return found


def stale_handles(con: duckdb.DuckDBPyConnection, registry: Registry, today: date) -> list[Stale]:
    """Tracked handles whose lists had no usable snapshot on STALE_DAYS days they were due.

    One alert a spell: its id is the last usable day. A handle that never had a snapshot at all is
    not here; the check `finished_today` has it.
    """
    rows = con.execute(
        "SELECT handle, max(snapshot_date) FILTER (completeness <> 'none') AS usable, relation, "
        "min(snapshot_date), max(snapshot_date), arg_max(lookup_status, snapshot_date) "
        "FROM main.snapshots GROUP BY handle, relation ORDER BY handle, usable, relation"
    ).fetchall()
    tracked = [
        row
        for row in rows
        if row[0] in registry.handles and row[2] in registry.settings_of(row[0]).relations
    ]
    found = []
    for (handle, usable), group in groupby(tracked, key=lambda row: row[:2]):
        parts = list(group)
        # One that was never usable is counted from its first snapshot.
        base = usable or min(part[3] for part in parts)
        since = {
            part[2]: day
            for part in parts
            if (day := _missed(registry, handle, part[2], base, today)) is not None
        }
        parts = [part for part in parts if part[2] in since]
        if not parts:
            continue
        newest = max(parts, key=lambda part: part[4])
        found.append(
            Stale(
                change_ids=tuple(f"{base}/{handle}/{part[2]}/stale" for part in parts),
                handle=handle,
                relations=tuple(part[2] for part in parts),
                since=min(since.values()),
                last_usable=usable,
                last_snapshot=newest[4],
                last_status=newest[5],
                today=today,
            )
        )
    return found


def _missed(
    registry: Registry, handle: str, relation: Relation, base: date, today: date
) -> date | None:
    """The day, after `base`, with which a list had been due STALE_DAYS times; None before that."""
    days = (base + timedelta(days=number) for number in range(1, (today - base).days + 1))
    due = [day for day in days if registry.due(handle, relation, day)]
    return due[STALE_DAYS - 1] if len(due) >= STALE_DAYS else None


def failed_days(
    con: duckdb.DuckDBPyConnection | None, home: Home, registry: Registry, since: date
) -> list[DayFailed]:
    """Outages that began or ended on `since` or later: one alert when they begin, one when all of
    their lists are stored again."""
    noted = days.notes(home)
    handles = {key.handle for one in noted for key in one.lists}
    first = min((one.day for one in noted), default=since)
    stored = days.stored_lists(con, first, handles) if con is not None and noted else {}
    found = []
    for outage in days.outages(noted, stored, registry):
        handles_of_it = tuple(sorted({handle for handle, _ in outage.lists}))
        # Whoever was told of one knows it by the day alone.
        which = f"-{outage.number}" if outage.number > 1 else ""
        failed = DayFailed(
            change_ids=(f"{outage.day}/failed{which}",),
            handle=handles_of_it[0] if len(handles_of_it) == 1 else None,
            relations=tuple(one for one in RELATIONS if one in {key[1] for key in outage.lists}),
            since=outage.day,
            lists=len(outage.lists),
            handles=handles_of_it,
            reasons=outage.reasons,
        )
        found.append(failed)
        if outage.healed_on is not None:
            ids = (f"{outage.day}/healed{which}",)
            found.append(replace(failed, change_ids=ids, healed_on=outage.healed_on))
    return [one for one in found if one.day >= since]


def credits_low(con: duckdb.DuckDBPyConnection) -> list[CreditsLow]:
    """The balance with which the credits got low, where they still are.

    Low is less than CREDIT_DAYS days as the 7 before it were, or nothing left. It stays low until
    credits are added: one alert a spell, however the spending goes up and down.
    """
    spent = dict(
        con.execute(
            "SELECT snapshot_date, sum(credits_charged) FROM main.snapshots GROUP BY ALL"
        ).fetchall()
    )
    try:
        rows = con.execute(
            "SELECT strftime(asked_at AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%gZ'), snapshot_date, "
            "balance_after FROM main.credit_balances ORDER BY asked_at"
        ).fetchall()
    except duckdb.CatalogException:
        return []  # published by a version that did not ask for balances
    low_since: tuple[Reading, float | None] | None = None
    before: Reading | None = None
    for left in (Reading(*row) for row in rows):
        a_day = _usual_spending(spent, left.day)
        low = left.balance == 0 or (a_day is not None and left.balance < CREDIT_DAYS * a_day)
        if low and low_since is None:
            low_since = left, a_day
        elif not low and before is not None and left.balance > before.balance:
            low_since = None
        before = left
    if low_since is None:
        return []
    left, a_day = low_since
    return [CreditsLow((f"{left.at}/credits",), None, (), left, a_day)]


def _usual_spending(spent: Mapping[date, int], day: date) -> float | None:
    """Mean credits of the 7 days before `day`, of those on which any were spent."""
    past = [spent.get(day - timedelta(days=back), 0) for back in range(1, 8)]
    bought = [float(one) for one in past if one]
    return sum(bought) / len(bought) if bought else None
