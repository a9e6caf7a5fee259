"""From snapshots to memberships, churn, growth and status changes: set-based, over all handles.

What is derived of a series (one relation of one handle) is a function of its usable snapshots in
order of their days, whatever the order in which they arrived: a snapshot that follows the last one
derived is compared with it; anything else (a day loaded late or again) replays the series from the
archive. Series advance together, one day a wave.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sf_assets.membership import (
    HOLE_SIZE,
    MIN_ORDER_AGREEMENT,
    Alignment,
    Claims,
    Floats,
    align,
    claims,
)
from sf_assets.places import pattern_of
from sf_assets.settings import SfAssetsError
from sf_assets.warehouse.connection import committed
from sf_assets.warehouse.statements import run_sql, sql

# So many accounts are compared at a time; bounds the memory of a wave.
ACCOUNTS_A_WAVE = 500_000

# Snapshots that are loaded and not compared.
_WAITING = (
    "internal.snapshots AS s ANTI JOIN internal.comparisons AS c ON c.relation = s.relation "
    "AND c.handle = s.handle AND c.snapshot_date = s.snapshot_date AND c.attempt = s.attempt "
    "AND c.pages = s.pages"
)


class ArchiveIncomplete(SfAssetsError):
    """A file of the archive that `snapshots` names is not there."""


@dataclass
class Derived:
    """What a derivation did: days whose churn, growth or status may have changed, by relation."""

    days: dict[str, set[date]] = field(default_factory=dict)
    handles: set[str] = field(default_factory=set)
    snapshots: int = 0
    replayed: int = 0

    def all_days(self) -> list[date]:
        return sorted(set().union(*self.days.values()) if self.days else set())


class _Snapshot(NamedTuple):
    """A snapshot waiting to be compared."""

    relation: str
    handle: str
    snapshot_date: date
    attempt: int
    pages: int
    listed: int
    reported_total: int | None
    completeness: str
    lookup_status: str
    until_known: bool
    path: str

    @property
    def series(self) -> tuple[str, str]:
        return self.relation, self.handle

    @property
    def comparable(self) -> bool:
        # Found with nobody listed under a total above zero: a window of nothing, not an exodus.
        return self.completeness == "complete" or (
            self.completeness == "window" and self.listed > 0
        )


def derive(con: duckdb.DuckDBPyConnection, archive: Path) -> Derived:
    """Bring everything derived up to what is loaded, in one transaction.

    `con` is the warehouse, open for writing. Raises ArchiveIncomplete; nothing is changed then.
    """
    enough = _memory(con)
    for megabytes in (enough, 4 * enough):
        con.execute("SET memory_limit = ?", [f"{megabytes}MB"])
        try:
            return committed(con, "derive", lambda: derive_within(con, archive))
        except duckdb.OutOfMemoryException:
            continue  # not everything can be spilled
    con.execute("RESET memory_limit")
    return committed(con, "derive", lambda: derive_within(con, archive))


def _memory(con: duckdb.DuckDBPyConnection) -> int:
    """Megabytes that DuckDB may hold before it spills to the disk; by itself it takes all it gets.

    A wave needs 550 bytes an account (measured on lists of 5,000 and of 200,000), and is hardly
    quicker with more; what many days change stays in memory until they are committed.
    """
    accounts, days = con.execute(
        "SELECT coalesce(max(greatest(least(accounts, ?), longest)), 0), count(*) FROM ("
        "SELECT sum(s.listed) AS accounts, max(s.listed) AS longest "
        f"FROM {_WAITING} GROUP BY s.snapshot_date)",
        [ACCOUNTS_A_WAVE],
    ).fetchall()[0]
    return max(48, 16 + int(accounts) * 600 // 1_000_000) + 64 * max(0, int(days) - 1)


def derive_within(con: duckdb.DuckDBPyConnection, archive: Path) -> Derived:
    """The same within a transaction that is the caller's."""
    return _Derivation(con, archive).run()


class _Derivation:
    def __init__(self, con: duckdb.DuckDBPyConnection, archive: Path) -> None:
        self.con, self.archive, self.done = con, archive, Derived()
        self.ids_bettered = False

    def run(self) -> Derived:
        con, done = self.con, self.done
        run_sql(con, "pending")
        pending = con.execute(
            "SELECT relation, handle, replay FROM pending_series ORDER BY ALL"
        ).fetchall()
        if not pending:
            return done
        con.execute("SET VARIABLE hole_size = ?", [HOLE_SIZE])
        replays = [(relation, handle) for relation, handle, replay in pending if replay]
        self._forget(replays, aliases_too=True)
        done.replayed = len(replays)
        done.handles = {handle for _, handle, _ in pending}
        todo = {(relation, handle) for relation, handle, _ in pending}
        while todo:
            restart: set[tuple[str, str]] = set()
            for wave in self._waves(todo):
                wave = [s for s in wave if s.series not in restart]
                restart |= self._advance(wave)
                done.snapshots += len(wave)
                for snapshot in wave:
                    done.days.setdefault(snapshot.relation, set()).add(snapshot.snapshot_date)
            # Two ids turned out to be one account: with that known, these series read differently
            # from their first day on.
            self._forget(sorted(restart), aliases_too=False)
            done.replayed += len(restart)
            todo = restart
        self._register("touched", pa.table({"handle": pa.array(sorted(done.handles))}))
        run_sql(con, "growth")
        run_sql(con, "status_changes")
        if done.replayed or self.ids_bettered:
            run_sql(con, "drop_unseen_profiles")
        return done

    def _waves(self, series: set[tuple[str, str]]) -> Iterator[list[_Snapshot]]:
        """Snapshots without a comparison, day by day, about ACCOUNTS_A_WAVE accounts at a time."""
        rows = self.con.execute(
            "SELECT s.relation, s.handle, s.snapshot_date, s.attempt, s.pages, s.listed, "
            "s.reported_total, s.completeness, s.lookup_status, "
            "coalesce(s.end_reason = 'known', false), s.archive_file "
            f"FROM {_WAITING} "
            "ORDER BY s.snapshot_date, s.relation, s.handle"
        ).fetchall()
        wave: list[_Snapshot] = []
        accounts = 0
        there: dict[str, bool] = {}
        for *values, archive_file in rows:
            path = self.archive / archive_file
            snapshot = _Snapshot._make([*values, str(path)])
            if snapshot.series not in series:
                continue
            if wave and (
                wave[0].snapshot_date != snapshot.snapshot_date
                or accounts + snapshot.listed > ACCOUNTS_A_WAVE
            ):
                yield wave
                wave, accounts = [], 0
            # A file holds the lists of a batch: each is asked for once.
            if archive_file not in there:
                there[archive_file] = path.exists()
            if not there[archive_file]:
                raise ArchiveIncomplete(
                    f"{path} is missing, which holds {snapshot.handle} {snapshot.relation} of "
                    f"{snapshot.snapshot_date}; restore it from a backup, or run "
                    "`sf-assets rebuild` to go on without it"
                )
            wave.append(snapshot)
            accounts += snapshot.listed
        if wave:
            yield wave

    def _advance(self, wave: list[_Snapshot]) -> set[tuple[str, str]]:
        """Compare each snapshot with the one before it; returns series to be started anew."""
        if not wave:
            return set()
        con = self.con
        self._register("wave_in", _wave_table(wave))
        run_sql(con, "wave_begin")
        comparable = [s for s in wave if s.comparable]
        if not comparable:
            return set()
        files = sorted({pattern_of(s.path) for s in comparable})
        con.execute("SET VARIABLE archive_files = ?", [files])
        run_sql(con, "wave_match")
        merged = set(con.execute("SELECT DISTINCT relation, handle FROM wave_merges").fetchall())
        if merged:
            run_sql(con, "wave_merge")
            return merged | self._advance([s for s in comparable if s.series not in merged])
        self._judge()
        run_sql(con, "wave_upgrade")
        upgrades = con.execute("SELECT count(*) FROM wave_upgrades").fetchall()[0][0]
        self.ids_bettered = self.ids_bettered or upgrades > 0
        run_sql(con, "wave_apply")
        run_sql(con, "wave_profiles")
        run_sql(con, "wave_end")
        return set()

    def _judge(self) -> None:
        """Lay each list of the wave over the one before: temp tables `aligned` and `judged`."""
        con = self.con
        series = con.execute(
            "SELECT series, previous_date, completeness, previous_completeness, listed, "
            "previous_listed, previous_agreement FROM wave ORDER BY series"
        ).fetchall()
        numbers = [row[0] for row in series]
        lists = con.sql(sql("wave_aligned")).to_arrow_table()
        positions = lists["position"].to_numpy()
        previous, remembered = (
            pc.fill_null(lists[name], float("nan")).to_numpy()
            for name in ("previous", "remembered")
        )
        places = con.sql(
            "SELECT w.series, m.place FROM internal.presences AS m JOIN wave AS w "
            "USING (relation, handle) WHERE m.place IS NOT NULL ORDER BY ALL"
        ).to_arrow_table()
        known = places["place"].to_numpy()
        aligned: list[Alignment] = []
        judged: list[dict[str, Any]] = []
        for row, (start, end), (low, high) in zip(
            series, _spans(lists, numbers), _spans(places, numbers), strict=True
        ):
            number, previous_date, current, before, listed, listed_before, agreement = row
            over = align(
                previous[start:end],
                remembered[start:end],
                known[low:high],
                established=agreement is not None and agreement >= MIN_ORDER_AGREEMENT,
            )
            aligned.append(over)
            verdict = (
                claims(
                    current,
                    before,
                    listed=listed,
                    listed_before=listed_before,
                    common=over.common,
                    chain=over.chain,
                )
                if previous_date is not None
                else Claims("baseline", "baseline", "the first usable snapshot")
            )
            judged.append(
                {
                    "series": number,
                    "common": over.common,
                    "chain": over.chain,
                    "front": int(positions[start + over.front]) if over.chain else 0,
                    "horizon": over.horizon,
                    "shown_to": over.shown_to,
                    "losses": verdict.losses,
                    "gains": verdict.gains,
                    "reason": verdict.reason,
                }
            )
            if over.renumbered is not None:
                self._renumber(number, *over.renumbered)
        self._register(
            "aligned",
            pa.table(
                {
                    "entry": lists["entry"],
                    # NaN is a place that nobody knows: null.
                    "place": pa.array(_joined([over.places for over in aligned]), from_pandas=True),
                    "ceiling": _joined([over.ceiling for over in aligned]),
                    "floor": _joined([over.floor for over in aligned]),
                }
            ),
        )
        self._register("judged", pa.Table.from_pylist(judged))

    def _renumber(self, series: int, old: Floats, new: Floats) -> None:
        """Give everybody ever seen in a series a new place, in the same order as before."""
        con = self.con
        known = con.sql(
            "SELECT account_id, first_seen, place FROM internal.presences JOIN wave "
            "USING (relation, handle) WHERE series = $series AND place IS NOT NULL",
            params={"series": series},
        ).to_arrow_table()
        moved = np.interp(known["place"].to_numpy(), old, new)
        self._register("moved", known.append_column("new_place", pa.array(moved)))
        con.execute(
            "UPDATE internal.presences SET place = m.new_place FROM moved AS m, wave AS w "
            "WHERE w.series = ? AND presences.relation = w.relation "
            "AND presences.handle = w.handle AND presences.account_id = m.account_id "
            "AND presences.first_seen = m.first_seen",
            [series],
        )
        con.execute(
            "UPDATE wave_known SET place = m.new_place FROM moved AS m "
            "WHERE wave_known.series = ? AND wave_known.account_id = m.account_id "
            "AND wave_known.first_seen = m.first_seen",
            [series],
        )

        reaches = con.execute(
            "SELECT c.snapshot_date, c.reach FROM internal.comparisons AS c JOIN wave AS w "
            "USING (relation, handle) WHERE w.series = ? AND isfinite(c.reach)",
            [series],
        ).fetchall()
        for day, reach in reaches:
            con.execute(
                "UPDATE internal.comparisons SET reach = ? FROM wave AS w WHERE w.series = ? "
                "AND comparisons.relation = w.relation AND comparisons.handle = w.handle "
                "AND comparisons.snapshot_date = ?",
                [float(np.interp(reach, old, new)), series, day],
            )
        if reaches:
            con.execute(
                "UPDATE wave SET previous_reach = c.reach FROM internal.comparisons AS c "
                "WHERE wave.series = ? AND c.relation = wave.relation AND c.handle = wave.handle "
                "AND c.snapshot_date = wave.previous_date",
                [series],
            )
            con.execute(
                "UPDATE wave_looks SET reach = c.reach FROM internal.comparisons AS c, wave AS w "
                "WHERE wave_looks.series = w.series AND w.series = ? "
                "AND c.relation = w.relation AND c.handle = w.handle "
                "AND c.snapshot_date = wave_looks.snapshot_date AND c.reach IS NOT NULL",
                [series],
            )

    def _forget(self, series: Sequence[tuple[str, str]], *, aliases_too: bool) -> None:
        if not series:
            return
        relations, handles = zip(*series, strict=True)
        self._register("forgotten", pa.table({"relation": relations, "handle": handles}))
        run_sql(self.con, "forget_series")
        if aliases_too:
            self.con.execute(
                "DELETE FROM internal.aliases USING forgotten AS f "
                "WHERE aliases.relation = f.relation AND aliases.handle = f.handle"
            )

    def _register(self, name: str, table: pa.Table) -> None:
        """A temp table from Arrow; a mere registration would not survive in a transaction."""
        self.con.register(f"{name}_arrow", table)
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM {name}_arrow")
        self.con.unregister(f"{name}_arrow")


def _spans(rows: pa.Table, series: Sequence[int]) -> list[tuple[int, int]]:
    """Where the rows of each series begin and end; `rows` are sorted by series."""
    of_series = rows["series"].to_numpy()
    starts = np.searchsorted(of_series, series, side="left").tolist()
    ends = np.searchsorted(of_series, series, side="right").tolist()
    return list(zip(starts, ends, strict=True))


def _joined(arrays: list[Floats]) -> Floats:
    return np.concatenate(arrays) if arrays else np.zeros(0)


def _wave_table(wave: Sequence[_Snapshot]) -> pa.Table:
    kinds = {
        "snapshot_date": pa.date32(),
        "attempt": pa.int32(),
        "pages": pa.int32(),
        "listed": pa.int64(),
        "reported_total": pa.int64(),
        "comparable": pa.bool_(),
        "until_known": pa.bool_(),
    }
    rows = [
        {
            "series": number,
            "comparable": snapshot.comparable,
            **snapshot._asdict(),
        }
        for number, snapshot in enumerate(wave)
    ]
    return pa.Table.from_pylist(
        rows,
        schema=pa.schema(
            [
                (name, pa.int32() if name == "series" else kinds.get(name, pa.string()))
                for name in rows[0]
            ]
        ),
    )
