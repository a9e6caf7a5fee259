"""Whose profiles they are: counted as the lists showed them on the day, by plain Python."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from ..lists import Lists, Told, Who, on, who

# The largest count that is stored.
MOST = 2**63 - 1
BANDS = {"0 to 99": 100, "100 to 999": 1_000, "1,000 to 9,999": 10_000, "10,000 to 99,999": 100_000}


def yes(said: bool | None) -> str:
    return "unknown" if said is None else "yes" if said else "no"


def traits(item: dict[str, Any], relation: str) -> dict[str, str]:
    """What a list shows of an account, as the page of the API has it."""
    followers, following = item["metrics"]["followers"], item["metrics"]["following"]
    if followers == 0:
        ratio = "no followers"
    else:
        steps = ((0.5, "under 0.5"), (2, "0.5 to 2"), (10, "2 to 10"))
        ratio = next((name for end, name in steps if following / followers < end), "10 and more")
    found = {
        "private": yes(item.get("privateAccount")),
        "verified": yes(item["verified"]),
        "picture": yes(bool(item["avatarUrl"])),
        "bio": yes(bool(item["bio"] and item["bio"].strip())),
        "mass_follower": yes(following > 1_500),
        "following_per_follower": ratio,
        "followers": next(
            (name for name, end in BANDS.items() if followers < end), "100,000 and more"
        ),
    }
    if relation == "following":
        found["region"] = item.get("region", "unknown")
        found["language"] = item.get("language", "unknown")
        made = item.get("accountCreatedAt")
        years = {"2026": "under 1 year", "2024": "1 to 3 years", "2022": "3 to 5 years"}
        found["account_age"] = years.get(made[:4], "5 years and more") if made else "unknown"
    return found


def profile(rng: random.Random, n: int, relation: str) -> Who:
    """Another one on each day: nothing of it may come from a later list."""
    more: dict[str, Any] = {
        "bio": rng.choice(["", "  ", None, "hello"]),
        "verified": rng.random() < 0.2,
        "avatarUrl": rng.choice([None, f"https://a.test/{n}.webp?x=1"]),
        "metrics": {
            "followers": rng.choice([0, 7, 99, 100, 5_000, 10_000, 99_999, 100_000, MOST]),
            "following": rng.choice([0, 3, 50, 1_500, 1_501, 9_000, MOST]),
        },
    }
    if relation == "followers":
        more["privateAccount"] = rng.random() < 0.5
    else:
        more["metrics"]["posts"] = 1
        if rng.random() < 0.5:
            more |= {"region": rng.choice(["DE", "US"]), "language": "en", "privateAccount": True}
            more["accountCreatedAt"] = (
                f"{rng.choice(['2016', '2022', '2024', '2026'])}-03-01T00:00:00Z"
            )
    return who(n, **more)


def counted(lists: Lists, relation: str, day: int, segment: str) -> Counter[tuple[str, str]]:
    rows = lists.rows(
        "SELECT trait, value, accounts, accounts_in_all, share FROM audience_profile "
        "WHERE handle = 'nova' AND relation = ? AND snapshot_date = ? AND segment = ?",
        *(relation, on(day), segment),
    )
    assert all(share == accounts / in_all for *_, accounts, in_all, share in rows)
    return Counter({(trait, value): accounts for trait, value, accounts, *_ in rows})


def test_profiles_are_counted_as_the_list_of_the_day_showed_them(lists: Lists) -> None:
    rng = random.Random(4)
    stays = {
        "followers": [
            [*range(40, 0, -1)],
            [42, 41, *range(40, 3, -1)],
            [42, 41, *range(40, 3, -1)],
        ],
        "following": [[*range(90, 60, -1)], [91, *range(90, 62, -1)], [91, *range(90, 62, -1)]],
    }
    for numbers in stays.values():
        numbers += [numbers[-1]] * 2
    shown: dict[tuple[str, int], dict[int, dict[str, str]]] = {}
    told: list[Told] = []
    for relation, days in stays.items():
        for day, numbers in enumerate(days, start=1):
            accounts = [profile(rng, n, relation) for n in numbers]
            items = {one.n: one.item(relation) for one in accounts}  # type: ignore[arg-type]
            shown[relation, day] = {n: traits(item, relation) for n, item in items.items()}
            told.append(
                Told(day, "nova", tuple(accounts), relation=relation, total=len(numbers) + 2)  # type: ignore[arg-type]
                if day == 5
                else Told(day, "nova", tuple(accounts), relation=relation)  # type: ignore[arg-type]
            )
    for day in range(1, 6):
        lists.tell(*(one for one in told if one.day == day))
        if day == 2:  # nobody has left for sure
            assert not counted(lists, "followers", 2, "left")
    for (relation, day), accounts in shown.items():
        expected = Counter(one for found in accounts.values() for one in found.items())
        assert counted(lists, relation, day, "listed") == expected
        (coverage,) = {
            row[0]
            for row in lists.rows(
                "SELECT coverage FROM audience_profile "
                "WHERE relation = ? AND snapshot_date = ? AND segment = 'listed'",
                *(relation, on(day)),
            )
        }
        assert coverage == (len(accounts) / (len(accounts) + 2) if day == 5 else 1)
    for relation, came, left in (("followers", [41, 42], [1, 2, 3]), ("following", [91], [61, 62])):
        for segment, day, numbers in (("came", 2, came), ("left", 1, left)):
            expected = Counter(one for n in numbers for one in shown[relation, day][n].items())
            assert counted(lists, relation, 2, segment) == expected
    # Nothing waits: another derivation reads no file again.
    before = lists.tables()
    lists.tell(Told(6, "twin", (1,)))
    assert before["internal.churn_profiles"] == lists.tables()["internal.churn_profiles"]


def test_without_a_total_nobody_knows_how_much_is_shown(lists: Lists) -> None:
    lists.tell(Told(1, "nova", (3, 2, 1), no_total=True, end="page_limit"))
    assert lists.rows("SELECT DISTINCT coverage FROM audience_profile") == [(None,)]
    lists.day(2, "nova", status="private")
    assert lists.rows("FROM audience_profile WHERE snapshot_date = ?", on(2)) == []
