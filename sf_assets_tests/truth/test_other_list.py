"""What another tracked handle's list proves: whom it does not follow, and whom it still does."""

from __future__ import annotations

from pathlib import Path

from .player import Row, Tables, played
from .worlds import ListDay, World, account

# The two are tracked, and each stands in the other's lists under its handle.
HERE, OTHER = account(1, "p901"), account(1, "p900")
FOLLOWERS, FOLLOWING = (HERE.handle, "followers"), (OTHER.handle, "following")


def followers(day: int, *people: int, total: int | None) -> ListDay:
    return ListDay(day, tuple(account(1, f"p{n}") for n in people), total)


def followed(day: int, *people: int, total: int | None = None) -> ListDay:
    entries = tuple(account(1, f"p{n}") for n in people)
    return ListDay(day, entries, len(entries) if total is None else total)


def play(root: Path, *lists: list[ListDay]) -> list[Tables]:
    world = World("1", dict(zip((FOLLOWERS, FOLLOWING), map(tuple, lists), strict=True)))
    return [tables for _, tables in played(root, [world], ["follower_churn"])]


def claims(tables: Tables) -> list[Row]:
    """Losses of the other handle in the followers of this one."""
    rows = tables.of("churn", FOLLOWERS)  # type: ignore[arg-type]
    return [r for r in rows if r["change"] == "lost" and r["account_id"] == OTHER.user_id]


def test_a_loss_below_the_window_is_found(tmp_path: Path) -> None:
    """Three come a day; from day 1 on the list of twelve has no room for the other handle."""
    lists = [
        followers(day, *range(40 + 3 * day, 29 + 3 * day, -1), *([900] if day == 0 else []),
                  total=60 + 3 * day)
        for day in range(9)
    ]  # fmt: skip
    other = [followed(d, 3, *([901] if d < 3 else []), 2, 1) for d in range(9)]
    days = play(tmp_path, lists, other)
    for tables in days[:3]:
        assert claims(tables) == []
    for tables in days[3:5]:
        assert all(row["state"] != "retracted" for row in claims(tables))
    (row,) = claims(days[-1])
    assert (row["state"], row["evidence"]) == ("confirmed", "other_list")
    assert row["previous_date"] < 3 <= row["snapshot_date"]


def test_a_window_of_the_other_list_proves_nothing(tmp_path: Path) -> None:
    lists = [
        followers(day, *range(40 + 3 * day, 29 + 3 * day, -1), *([900] if day == 0 else []),
                  total=60 + 3 * day)
        for day in range(7)
    ]  # fmt: skip
    other = [followed(d, 3, 901 if d < 3 else 2, total=9) for d in range(7)]
    for tables in play(tmp_path, lists, other):
        assert claims(tables) == []


def test_who_is_missing_here_and_still_follows_by_its_own_list_is_not_lost(tmp_path: Path) -> None:
    """Missing for five days above the horizon, and no total tells whether it left."""
    whole, short = (9, 8, 7, 900, 6, 5, 4, 3), (9, 8, 7, 6, 5, 4, 3)
    lists = [followers(d, *(short if 2 <= d < 7 else whole), total=None) for d in range(9)]
    other = [followed(d, 3, 901, 2, 1) for d in range(9)]
    days = play(tmp_path, lists, other)
    for tables in days:
        assert all(row["state"] != "confirmed" for row in claims(tables)), claims(tables)
    assert all(row["state"] == "retracted" for row in claims(days[-1]))
