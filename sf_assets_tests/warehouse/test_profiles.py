"""The newest known profile of everybody: which list says what, and that nothing stale stays."""

from __future__ import annotations

import random
from typing import Any

import pytest

from sf_assets.model import RELATIONS, Relation

from ..lists import ID_BASE, Lists, Told, Who, who

DAYS = 7
HANDLES = ("ada", "bob", "cyd")


def shown(n: int, day: int, relation: Relation, chance: random.Random) -> Who:
    """Account `n` as a list shows it: most days as ever, some days changed, even within a day."""
    mood = chance.choice([0, 0, 0, 0, day])
    more: dict[str, Any] = {
        "displayName": f"Fan {n} {mood}",
        "metrics": {"followers": n + mood, "following": 2},
    }
    if relation == "followers":
        more["avatarUrls"] = dict.fromkeys(("large", "medium"), f"https://a.invalid/{n}/{mood}")
        more["privateAccount"] = mood > 3
    else:
        more["metrics"]["posts"] = mood
        more["region"] = chance.choice(["PT", "BR"])
        more["details"] = {"likes": mood}
    return who(n, **more)


def expected(told: list[Told]) -> dict[str, tuple[Any, ...]]:
    """account_id -> name, followers, private, avatars, posts, region: by the plainest reading."""
    sightings: dict[int, list[tuple[tuple[int, str, str], dict[str, Any]]]] = {}
    for one in told:
        for account in one.accounts:
            assert isinstance(account, Who)
            item = account.item(one.relation)
            sightings.setdefault(account.n, []).append(((one.day, one.relation, one.handle), item))
    found = {}
    for n, seen in sightings.items():
        newest = max(seen, key=lambda one: one[0])[1]
        of = {
            relation: max((one for one in seen if one[0][1] == relation), default=None,
                          key=lambda one: one[0])
            for relation in RELATIONS
        }  # fmt: skip
        follower = of["followers"][1] if of["followers"] else {}
        followed = of["following"][1] if of["following"] else {}
        found[str(ID_BASE + n)] = (
            newest["displayName"],
            newest["metrics"]["followers"],
            follower.get("privateAccount"),
            (follower.get("avatarUrls") or {}).get("large"),
            followed.get("metrics", {}).get("posts"),
            followed.get("region"),
        )
    return found


@pytest.mark.parametrize("seed", range(3))
def test_everybody_is_as_the_newest_list_shows_them(lists: Lists, seed: int) -> None:
    chance = random.Random(seed)
    listed = {
        (handle, relation): [n for n in range(40, 0, -1) if chance.random() < 0.5]
        for handle in HANDLES
        for relation in RELATIONS
    }
    told: list[Told] = []
    for day in range(1, DAYS + 1):
        today = []
        for (handle, relation), numbers in listed.items():
            if day > 1:
                numbers.insert(0, 40 + 10 * day + len(today))
                numbers.remove(chance.choice(numbers[1:]))
            accounts = tuple(shown(n, day, relation, chance) for n in numbers)
            today.append(Told(day, handle, accounts, relation=relation))
        # Whatever comes first: lists of a day arrive one by one, or all at once.
        chance.shuffle(today)
        at = chance.randrange(len(today))
        lists.tell(*today[:at])
        lists.tell(*today[at:])
        told += today
    rows = lists.rows(
        "SELECT account_id, display_name, followers, private_account, "
        "avatar_urls['large'], posts, region FROM accounts"
    )
    assert {row[0]: row[1:] for row in rows} == expected(told)


def test_an_avatar_signed_anew_is_no_change_but_a_new_picture_is(lists: Lists) -> None:
    def avatar(day: int, url: str) -> str:
        lists.day(day, "nova", [who(1, avatarUrl=url)])
        return str(lists.one("SELECT avatar_url FROM accounts"))

    first = avatar(1, "https://p16.invalid/face~1.webp?sign=a")
    assert first == "https://p16.invalid/face~1.webp"
    assert avatar(2, "https://p19.invalid/face~1.webp?sign=b") == first
    assert avatar(3, "https://p19.invalid/other~1.webp?sign=c") == (
        "https://p19.invalid/other~1.webp"
    )


SEC_UIDS = (
    "MS4wLjABAAAA" + "AZaz09-_" * 8,
    "MS4wLjABAAAA" + "AZaz09-_" * 8 + "A",
    "MS4wLjABAAAA" + "AZaz09-_" * 8 + "AA",
    "MS4wLjABAAAA" + "AZaz09+/" * 8,
    "MS4wLjABAAAA" + "AZaz09-_" * 7 + "AZaz09==",
    "MS4wLjABAAAA",
    "MS4wLjABAAAAAAAA",
    "MS4wLjABAAAB" + "AZaz09-_" * 8,
    "MS4wLjABAAAA\n234",
    "ünïcödé!",
)


def test_a_sec_uid_is_given_back_as_it_came(lists: Lists) -> None:
    def told() -> list[tuple[str, str]]:
        return lists.rows("SELECT sec_uid, bio FROM accounts ORDER BY account_id")

    people = list(enumerate(SEC_UIDS, start=100))
    lists.day(1, "nova", [who(n, sec_uid=sec_uid) for n, sec_uid in people])
    assert told() == [(sec_uid, "") for sec_uid in SEC_UIDS]
    # Left out, they stay; another one, of whatever kind, takes the place of one.
    lists.day(2, "nova", [who(n, sec_uid=None, bio="new") for n, _ in people])
    assert told() == [(sec_uid, "new") for sec_uid in SEC_UIDS]
    others = ("MS4wLjABAAAA" + "-" * 64, "text", "other text", SEC_UIDS[0])
    for day, other in enumerate(others, start=3):
        lists.day(
            day, "nova", [who(100, sec_uid=other), *(who(n, sec_uid=s) for n, s in people[1:])]
        )
        assert told() == [(sec_uid, "") for sec_uid in (other, *SEC_UIDS[1:])]


def test_the_sizes_of_a_picture_stay_what_they_were_when_another_list_shows_a_new_one(
    lists: Lists,
) -> None:
    sizes = {
        "large": "https://p16.invalid/face~720.webp",
        "medium": "https://p16.invalid/face~300.webp",
        "thumb": "https://p77.invalid/tiny",
    }
    shown = "SELECT avatar_url, avatar_urls FROM accounts"
    lists.day(1, "nova", [who(1, avatarUrl=sizes["large"], avatarUrls=sizes)])
    assert lists.one(shown) == (sizes["large"], sizes)
    for day, url in ((2, "https://p16.invalid/other~720.webp"), (3, None)):
        lists.day(day, "nova", [who(1, avatarUrl=url)], relation="following")
        assert lists.one(shown) == (url, sizes)
    smaller = {"large": "https://p16.invalid/new~720.webp", "medium": None, "thumb": ""}
    lists.day(4, "nova", [who(1, avatarUrl="https://p16.invalid/new~1", avatarUrls={
        size: url for size, url in smaller.items() if url is not None
    })])  # fmt: skip
    assert lists.one(shown) == ("https://p16.invalid/new~1", smaller)


def test_an_archive_of_an_older_version_is_read(lists: Lists) -> None:
    """Its files do not have the column `profile_digest`."""
    lists.load([Told(1, "nova", (2, 1)), Told(1, "vega", (who(3, bio="here"),))])
    (path,) = lists.home.archive.glob("day=*/*.parquet")
    again = path.with_suffix(".again")
    metadata = lists.rows("SELECT key, value FROM parquet_kv_metadata(?)", str(path))
    kept = ", ".join(
        f"{bytes(key).decode()}: '{bytes(value).decode()}'" for key, value in metadata
        if bytes(key).startswith(b"sf_assets")
    )  # fmt: skip
    lists.con.execute(
        f"COPY (SELECT * EXCLUDE (profile_digest) FROM '{path}') TO '{again}' "
        f"(FORMAT parquet, KV_METADATA {{{kept}}})"
    )
    again.replace(path)
    lists.derive()
    assert lists.one("SELECT count(*) FROM accounts") == 3
    lists.tell(Told(2, "nova", (2, 1)), Told(2, "vega", (who(3, bio="there"),)))
    assert lists.rows("SELECT bio FROM accounts WHERE bio <> ''") == [("there",)]


def test_a_list_of_many_pages_is_loaded_whole(lists: Lists) -> None:
    accounts = tuple(range(2_200, 0, -1))
    lists.tell(Told(1, "nova", accounts, page_size=1))
    assert lists.one("SELECT pages, listed FROM snapshots") == (2_200, 2_200)
    assert list(lists.followers_on("nova", 1)) == list(accounts)
