"""Imported lists as evidence: what they prove, where they stand, how they go again."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from sf_assets.cli.tables import latest_snapshots
from sf_assets.defs.growth import describe
from sf_assets.model import SnapshotKey
from sf_assets.people.errors import ImportRefused
from sf_assets.people.land import remove
from sf_assets.report import gather
from sf_assets.simulator import ListSpec, ProfileSpec, World
from sf_assets.storage.home import Home
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.storage.records import Page
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.load import load
from sf_assets.warehouse.publish import publish
from sf_assets.warehouse.rebuild import rebuild
from sf_assets.warehouse.statements import sql
from sf_assets.warehouse.verify import verify

from ..homes import fill
from ..lists import ID_BASE, Told, on
from .importing import Importer, write

FIRST = date(2026, 9, 1)
DAYS = [FIRST + timedelta(days=n) for n in range(30)]


@dataclass
class Month:
    """Thirty days of an invented list, and what the API's home makes of them."""

    pages: dict[date, str]
    churn: set[tuple[Any, ...]]
    followed: dict[tuple[date, str], datetime] = field(default_factory=dict)

    def people(self, day: date) -> list[dict[str, Any]]:
        return list(json.loads(self.pages[day])["followers"])

    def total(self, day: date) -> int:
        return int(json.loads(self.pages[day])["totalFollowers"])


CHURN = "SELECT snapshot_date, account_handle, change, state FROM follower_churn WHERE handle = ?"


def month_of(root: Path, spec: ListSpec, days: Sequence[date] = DAYS) -> Month:
    world = World([ProfileSpec("nova", spec)], epoch=FIRST - timedelta(days=30), seed=3)
    home = Home(root)
    landing = DiskLanding(home.landing)
    landed, month = [], Month({}, set())
    before: dict[str, datetime] = {}
    for day in days:
        answer = world.page("nova", "followers", day, page_size=10_000)
        month.pages[day] = world.page_json(answer, "followers", day)
        log = landing.open(SnapshotKey(day, "nova", "followers"))
        assert log is not None
        with log:
            log.begin("test", "test")
            body = f'{{"data":{month.pages[day]},"meta":{{}}}}'.encode()
            log.add_page(Page(1, None, f"{day}T06:00:00Z", "r", 1, False, 1, body))
            log.finish("found", "exhausted", "test")
        read = landing.read(SnapshotKey(day, "nova", "followers"))
        assert read is not None
        landed.append(read)
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=timezone.utc)
        now = {
            one["handle"]: before.get(one["handle"]) or noon - timedelta(seconds=place)
            for place, one in enumerate(month.people(day))
        }
        month.followed |= {(day, handle): when for handle, when in now.items()}
        before = now
    rows, failures = load(lambda: writing(home.warehouse), home.archive, landed)
    assert (len(rows), failures) == (len(days), [])
    with writing(home.warehouse) as con:
        derive(con, home.archive)
        month.churn = set(con.execute(CHURN, ["nova"]).fetchall())
    return month


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Month:
    spec = ListSpec(size=120, gain=0.02, loss=0.02, refollow=0.4)
    return month_of(tmp_path_factory.mktemp("whole"), spec)


@pytest.fixture(scope="module")
def capped(tmp_path_factory: pytest.TempPathFactory) -> Month:
    spec = ListSpec(size=300, gain=0.01, loss=0.01, cap=100)
    return month_of(tmp_path_factory.mktemp("capped"), spec, DAYS[:15])


def pages(month: Month, day: date) -> str:
    return json.dumps({"data": json.loads(month.pages[day])})


def rows(month: Month, day: date) -> str:
    return "\n".join(
        json.dumps({"uniqueId": one["handle"], "id": one["platformUserId"],
                    "nickname": one["displayName"], "snapshot_date": str(day)})
        for one in month.people(day)
    )  # fmt: skip


def table(month: Month, day: date, *, ids: bool = True, sort: bool = False) -> str:
    out = io.StringIO()
    write_row = csv.writer(out).writerow
    some = ("handle", "platformUserId", "displayName") if ids else ("handle",)
    if day == DAYS[0]:
        write_row([*("username", "user_id", "full name")[: len(some)], "snapshot_date"])
    people = [(*(one[name] for name in some), day) for one in month.people(day)]
    for one in sorted(people) if sort else people:
        write_row(one)
    return out.getvalue()


def usernames(month: Month, day: date) -> str:
    return table(month, day, ids=False)


def export(month: Month, day: date) -> str:
    people = [
        {"Date": f"{month.followed[day, one['handle']]:%Y-%m-%d %H:%M:%S}",
         "UserName": one["handle"]}
        for one in month.people(day)
    ]  # fmt: skip
    return json.dumps({"Profile And Settings": {"Follower": {"FansList": people[::-1]}}})


def of_losses(churn: set[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    return {row for row in churn if row[2] == "lost"}


Writes = Callable[[Month, date], str]
NEWEST: dict[str, Any] = {"everyone": True, "order": "newest"}

# What is written of each day, what is said of it, and what of the API's churn comes back: all, the
# losses of who did not come back, most of it and nothing else, or nothing. How many
# changes are the same stands in docs/import.md.
ROUND_TRIPS: dict[str, tuple[Writes, dict[str, Any], str, int]] = {
    "saved pages": (pages, {"everyone": True}, "all", 209),
    "rows with ids": (rows, NEWEST, "all", 209),
    "a table with ids": (table, NEWEST, "all", 209),
    "a table with ids, sorted by name": (
        lambda month, day: table(month, day, sort=True), {"everyone": True}, "losses", 195),
    "usernames": (usernames, NEWEST, "most", 166),
    "TikTok's export": (export, {"everyone": True}, "most", 166),
    "usernames, of which nothing is said": (usernames, {}, "nothing", 0),
}  # fmt: skip


@pytest.mark.parametrize("what", ROUND_TRIPS)
def test_a_month_that_is_imported_gives_the_churn_that_the_api_gave(
    what: str, whole: Month, tmp_path: Path
) -> None:
    writes, said, carried, same = ROUND_TRIPS[what]
    importer = Importer(Home(tmp_path / "home"))
    texts = {day: writes(whole, day) for day in DAYS}
    if "snapshot_date" in texts[FIRST]:  # a file of many days
        path = write(tmp_path / "month", "\n".join(map(str.strip, texts.values())))
        assert len(importer.add(path, **said).new) == len(DAYS)
    else:
        for day, text in texts.items():
            importer.add(write(tmp_path / f"{day}.txt", text), day, **said)
    churn = set(importer.rows(CHURN, "nova"))
    assert (len(churn & whole.churn), len(whole.churn)) == (same, 209)
    if carried == "all":
        assert churn == whole.churn
    elif carried == "losses":
        # Without order nobody can say whether who is back ever left; then the loss is retracted.
        back = {row[1] for row in whole.churn if row[2] == "returned"}
        stands = {row for row in churn if row[3] != "retracted"}
        assert {row[:3] for row in stands} <= {row[:3] for row in whole.churn}
        assert {row for row in of_losses(stands) if row[1] not in back} == {
            row for row in of_losses(whole.churn) if row[1] not in back
        }
    elif carried == "most":
        # A new name beside one that is gone may be a rename, so neither is claimed; and a loss that
        # a later list cannot tell from one stays provisional for longer.
        # Who is known by a name alone and comes back is a stranger of that name.
        known = {
            (day, who, change.replace("returned", "gained")) for day, who, change, _ in whole.churn
        }
        assert {row[:3] for row in churn} <= known
    else:
        assert churn == set()


def test_the_newest_part_proves_what_the_api_s_window_proved(capped: Month, tmp_path: Path) -> None:
    importer = Importer(Home(tmp_path / "home"))
    for day in capped.pages:
        path = write(tmp_path / f"{day}.json", rows(capped, day))
        importer.add(path, day, window=True, total=capped.total(day))
    churn = set(importer.rows(CHURN, "nova"))
    assert len(of_losses(churn)) > 10
    assert churn == capped.churn


# --- beside the API's days --------------------------------------------------------------------


def names(*numbers: int) -> str:
    """Usernames as the API's lists of these tests have them."""
    return "\n".join(f"fan{n}" for n in numbers)


@pytest.fixture
def home(tmp_path: Path) -> Importer:
    return with_two_days(tmp_path / "home")


def with_two_days(root: Path, *below: int) -> Importer:
    """Days 11 and 12 of `nova` are there from the API: everyone, in order."""
    importer = Importer(Home(root))
    landing = DiskLanding(importer.home.landing)
    landed = [
        Told(11, "nova", (9, 2, 7, 4, 1, *below)).land(landing),
        Told(12, "nova", (8, 9, 2, 7, 1, *below)).land(landing),
    ]
    _, failures = load(lambda: writing(importer.home.warehouse), importer.home.archive, landed)
    assert not failures
    return importer


def test_an_old_list_of_usernames_joins_the_accounts_by_their_ids(tmp_path: Path) -> None:
    below = tuple(range(30, 36))
    home = with_two_days(tmp_path / "home", *below)
    path = write(tmp_path / "a.txt", names(2, 5, 7, 4, 1, *below))
    home.add(path, on(1), everyone=True, order="newest")
    assert home.churn() == {
        (11, 9, "gained", "confirmed"),
        (11, "@fan5", "lost", "provisional"),
        (12, 8, "gained", "confirmed"),
        (12, 4, "lost", "provisional"),
    }
    assert (
        home.rows(
            "SELECT first_seen FROM memberships WHERE account_id LIKE '7%' ORDER BY ALL LIMIT 4"
        )
        == [(on(1),)] * 4
    )


@pytest.mark.parametrize("day", [1, 11.5, 20])
def test_what_nobody_vouches_for_changes_no_claim_of_the_lists_around_it(
    day: float, home: Importer, tmp_path: Path
) -> None:
    """Before, between and after them: a part of the list in any order, without a word."""
    before = home.churn()
    if day == 11.5:  # a list of another relation is no list before
        home.add(write(tmp_path / "b.txt", names(1, 2)), on(5), relation="following")
    when = on(1) if day == 1 else on(20)
    home.add(write(tmp_path / "a.txt", names(7, 1, 4)), when)
    added = home.churn() - before
    # Who was there once, and is not in a list that shows everyone, has left: that alone is new.
    assert {row[2] for row in added} <= {"lost"}
    assert before <= home.churn()
    ((compared,),) = home.rows(
        "SELECT losses FROM comparisons WHERE snapshot_date = ? AND relation = 'followers'", when
    )
    assert compared == ("baseline" if day == 1 else "unusable")
    shown = home.rows("SELECT account_handle[4:] FROM followers_on('nova', ?)", when)
    assert {n for (n,) in shown} == set("714" if day == 1 else "89271")
    assert home.rows("SELECT count(*) FROM list_days WHERE snapshot_date = ?", when) == [
        (3 if day == 1 else 0,)
    ]


def test_who_was_in_a_list_and_is_not_among_everyone_has_left(
    home: Importer, tmp_path: Path
) -> None:
    text = f"username,user_id\nfan6,{ID_BASE + 6}\nfan1,{ID_BASE + 1}\n"
    home.add(write(tmp_path / "a.csv", text), on(1))
    assert (11, 6, "lost", "provisional") in home.churn()
    assert not [row for row in home.churn() if row[2] == "gained" and row[0] == 11]


def test_a_list_sorted_by_name_is_in_no_order_whatever_is_said(tmp_path: Path) -> None:
    home = Importer(Home(tmp_path / "home"))
    path = write(tmp_path / "a.txt", names(1, 2, 3, 4, 5, 6))
    for said in ({"window": True}, NEWEST, {"order": "oldest"}):
        with pytest.raises(ImportRefused, match="sorted by username or id"):
            home.add(path, on(1), **said)
    home.add(path, on(1), everyone=True)
    assert home.rows("SELECT exhaustive, ordered FROM internal.snapshots") == [(True, False)]


def test_names_in_no_order_prove_no_rename_and_no_loss(tmp_path: Path) -> None:
    """alice calls herself zoe: sorted by name, the two stand far apart."""
    home = Importer(Home(tmp_path / "home"))
    rest = ["bob", "carol", "dave", "erin", "frank"]
    home.add(write(tmp_path / "a.txt", "\n".join(["alice", *rest])), on(1), everyone=True)
    home.add(write(tmp_path / "b.txt", "\n".join([*rest, "zoe"])), on(2), everyone=True)
    assert home.churn() == set()


@pytest.mark.parametrize(
    ("count", "said", "says"),
    [
        (1_000, {"everyone": True}, "1,000 accounts look like a limit"),
        (1_001, {"everyone": True}, None),
        (1_000, {"total": 1_000}, None),
    ],
)
def test_a_round_number_is_not_everyone(
    count: int, said: dict[str, Any], says: str | None, tmp_path: Path
) -> None:
    home = Importer(Home(tmp_path / "home"))
    path = write(tmp_path / "a.txt", "\n".join(f"{n * 7919 % 10007}_fan" for n in range(count)))
    if says is not None:
        with pytest.raises(ImportRefused, match=says):
            home.add(path, on(1), **said)
        return
    assert [row.exhaustive for row in home.add(path, on(1), **said).new] == [True]


@pytest.mark.parametrize(("total", "exhaustive"), [(4, True), (5, False), (3, False), (400, False)])
def test_a_total_says_everyone_only_where_it_is_who_is_listed(
    total: int, exhaustive: bool, tmp_path: Path
) -> None:
    home = Importer(Home(tmp_path / "home"))
    path = write(tmp_path / "a.txt", names(3, 1, 4, 2, 3))  # one of them twice
    (row,) = home.add(path, on(1), total=total).new
    assert (row.listed, row.exhaustive, row.reported_total) == (4, exhaustive, total)


def test_pages_that_go_on_are_not_everyone(tmp_path: Path) -> None:
    home = Importer(Home(tmp_path / "home"))
    page = {"followers": [{"handle": "a"}], "totalFollowers": 9, "page": {"hasMore": True}}
    path = write(tmp_path / "a.json", json.dumps({"data": page}))
    with pytest.raises(ImportRefused, match="its last page announces more"):
        home.add(path, on(1), everyone=True)


def test_a_list_in_no_order_leaves_the_order_of_the_lists_around_it(tmp_path: Path) -> None:
    """Of fifty, the API shows the newest; a table sorted by name is between two of its days."""
    home = Importer(Home(tmp_path / "home"))

    def read(day: int, accounts: Iterable[int]) -> None:
        told = Told(day, "nova", tuple(accounts), total=50, end="page_limit")
        landed = [told.land(DiskLanding(home.home.landing))]
        assert not load(lambda: writing(home.home.warehouse), home.home.archive, landed)[1]

    read(11, range(50, 30, -1))
    read(12, (n for n in range(50, 30, -1) if n != 48))
    everyone = [f"fan{n},{ID_BASE + n}" for n in range(1, 51) if n != 48]
    table = "\n".join(["username,user_id", *sorted(everyone)])
    home.add(write(tmp_path / "a.csv", table), on(13), everyone=True)
    read(14, (n for n in range(51, 30, -1) if n not in (48, 45)))
    assert home.churn() == {
        (12, 48, "lost", "provisional"),
        (14, 45, "lost", "provisional"),
        (14, 51, "gained", "confirmed"),
    }
    # Before all others it says nothing of their order.
    home.add(write(tmp_path / "b.csv", table), on(10), everyone=True, name="first")
    assert {row for row in home.churn() if row[0] > 12} == {
        (14, 45, "lost", "provisional"),
        (14, 51, "gained", "confirmed"),
    }


def test_rows_without_a_name_may_be_anybody(tmp_path: Path) -> None:
    home = Importer(Home(tmp_path / "home"))
    home.add(write(tmp_path / "a.csv", "username,x\nzed,1\nal,1\nkim,1\n"), on(1), everyone=True)
    home.add(write(tmp_path / "b.csv", "username,x\nzed,1\n,1\nkim,1\n"), on(2), everyone=True)
    assert home.churn() == set()
    assert home.rows("SELECT listed, damaged_fields, exhaustive FROM snapshots") == [
        (3, 0, True),
        (2, 1, False),
    ]


# --- the same day, the same file, and out again -----------------------------------------------


def test_the_same_file_twice_is_nothing_new(home: Importer, tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", names(6, 1))
    assert len(home.add(path, on(1)).new) == 1
    assert (home.add(path, on(1)).new, len(home.add(path, on(1)).known)) == ([], 1)
    with pytest.raises(
        ImportRefused, match="nova followers 2026-11-01 already exists from import:old"
    ):
        home.add(write(path, names(6, 2)), on(1))
    assert len(home.add(path, on(1), replace=True).new) == 1
    assert home.rows("SELECT count(*), sum(listed) FROM snapshots WHERE source = 'import:old'") == [
        (1, 2)
    ]


def test_a_day_of_the_api_stays_unless_it_is_to_be_replaced_and_comes_back(
    home: Importer, tmp_path: Path
) -> None:
    before = home.churn()
    path = write(tmp_path / "a.txt", names(9, 2, 7, 1))
    with pytest.raises(
        ImportRefused, match="nova followers 2026-11-11 already exists from the API"
    ):
        home.add(path, on(11), everyone=True)
    assert home.churn() == before
    home.add(path, on(11), everyone=True, order="newest", replace=True)
    assert home.rows("SELECT source, credits_charged FROM snapshots ORDER BY snapshot_date") == [
        ("import:old", 0),
        ("api", 1),
    ]
    remove(home.home, "old")
    assert home.rows("SELECT source FROM snapshots") == [("api",), ("api",)]
    assert home.churn() == before
    assert len(list(home.home.archive.rglob("*.parquet"))) == 1 + 1


def test_the_api_s_reading_of_a_day_stands_over_an_import_of_it(
    home: Importer, tmp_path: Path
) -> None:
    home.add(write(tmp_path / "a.txt", names(3, 1)), on(13))
    landed = Told(13, "nova", (8, 9, 2)).land(DiskLanding(home.home.landing))
    load(lambda: writing(home.home.warehouse), home.home.archive, [landed])
    standing = [("api", 3)]
    ask = "SELECT source, listed FROM snapshots WHERE snapshot_date = '2026-11-13'"
    assert home.rows(ask) == standing
    home.home.root.joinpath("home.json").write_text('{"format": 1, "start_date": "2026-11-01"}')
    rebuild(home.home)
    assert home.rows(ask) == standing


def test_a_home_with_imports_is_rebuilt_verified_and_emptied_again(tmp_path: Path) -> None:
    home = Importer(fill(tmp_path / "home", days=2))
    alone = home.rows("SELECT * FROM internal.presences ORDER BY ALL")
    profiles = home.rows("FROM accounts ORDER BY ALL")
    home.add(write(tmp_path / "a.txt", names(5, 2, 9, 3)), date(2026, 10, 1), everyone=True)
    home.add(
        write(tmp_path / "b.csv", "username,followed_at\nfan5,2026-10-01\nfan77,2026-09-30\n"),
        date(2026, 10, 2),
        relation="following",
        name="other",
    )
    with_imports = home.rows("SELECT * FROM internal.presences ORDER BY ALL")
    assert with_imports != alone
    # Usernames say nothing of a profile that is known better.
    assert {row[:4] for row in profiles} <= {row[:4] for row in home.rows("FROM accounts")}
    assert [one.problems for one in verify(home.home, full=True) if one.problems] == []
    rebuild(home.home)
    assert home.rows("SELECT * FROM internal.presences ORDER BY ALL") == with_imports
    assert home.rows("SELECT name, file, relation, days, accounts FROM imports ORDER BY ALL") == [
        ("old", "a.txt", "followers", 1, 4),
        ("other", "b.csv", "following", 1, 2),
    ]
    with pytest.raises(Exception, match="no import is called 'else'; there is old, other"):
        remove(home.home, "else")
    for name in ("old", "other"):
        remove(home.home, name)
    assert home.rows("SELECT * FROM internal.presences ORDER BY ALL") == alone
    assert home.rows("FROM accounts ORDER BY ALL") == profiles
    assert [one.problems for one in verify(home.home, full=True) if one.problems] == []


def test_who_is_known_only_by_an_import_costs_no_better_profile(tmp_path: Path) -> None:
    """A later list of mere usernames leaves the name, bio and counts as they were."""
    home = Importer(fill(tmp_path / "home", days=2))
    names_before = home.rows("SELECT account_id, display_name FROM accounts ORDER BY ALL")
    home.add(write(tmp_path / "a.txt", names(11, 9, 8)), date(2026, 11, 9), everyone=True)
    assert home.rows("SELECT account_id, display_name FROM accounts ORDER BY ALL") == names_before


# --- follow times, totals ---------------------------------------------------------------------


def test_follow_times_are_shown_with_their_source_and_are_no_first_sight(
    home: Importer, tmp_path: Path
) -> None:
    text = (
        "Date: 2025-03-01 10:00:00\nUsername: fan4\n\nDate: 2024-02-29 23:59:59\nUsername: fan1\n"
    )
    home.add(write(tmp_path / "Follower.txt", text), on(1))
    ask = (
        "SELECT account_id[-1:], first_seen, followed_at AT TIME ZONE 'UTC', followed_at_source "
        "FROM memberships WHERE followed_at IS NOT NULL ORDER BY 1"
    )
    told = [
        ("1", on(1), datetime(2024, 2, 29, 23, 59, 59), "import:old"),
        ("4", on(1), datetime(2025, 3, 1, 10), "import:old"),
    ]
    assert home.rows(ask) == told
    home.home.root.joinpath("home.json").write_text('{"format": 1, "start_date": "2026-11-01"}')
    rebuild(home.home)
    assert home.rows(ask) == told


def test_who_followed_again_does_not_keep_the_old_time(tmp_path: Path) -> None:
    home = Importer(Home(tmp_path / "home"))
    days: list[tuple[int, list[tuple[str, str]]]] = [
        (1, [("zed", "2026-01-03"), ("al", "2026-01-02"), ("kim", "2026-01-01")]),
        (2, [("zed", "2026-01-03"), ("kim", "2026-01-01")]),
        (3, [("zed", "2026-01-03"), ("kim", "2026-01-01")]),
        (4, [("al", "2026-11-04"), ("zed", "2026-01-03"), ("kim", "2026-01-01")]),
    ]
    for day, listed in days:
        text = "username,followed_at\n" + "".join(f"{n},{when}\n" for n, when in listed)
        home.add(write(tmp_path / f"{day}.csv", text), on(day), everyone=True)
    assert home.rows(
        "SELECT first_seen, CAST(followed_at AT TIME ZONE 'UTC' AS DATE), start_kind "
        "FROM memberships WHERE account_id = '@al' ORDER BY ALL"
    ) == [(on(1), date(2026, 1, 2), "baseline"), (on(4), on(4), "gained")]


def test_a_total_does_not_say_that_a_profile_is_open_again(home: Importer, tmp_path: Path) -> None:
    told = Told(13, "nova", status="private").land(DiskLanding(home.home.landing))
    load(lambda: writing(home.home.warehouse), home.home.archive, [told])
    home.add_counts(write(tmp_path / "c.csv", "day,followers\n2026-11-14,5\n"))
    ((_, usable, _, _, last, status),) = home.rows(sql("alert_stale"))
    assert (usable, last, status) == (on(12), on(13), "private")
    with writing(home.home.warehouse) as con:
        assert [one.status for one in gather(con).handles] == ["private"]
    publish(home.home)
    assert latest_snapshots(home.home)["followers", "nova"]["status"] == "private"


COUNTS = 'Date,Followers,Following\n2026-11-09,"1,200",7\n2026-11-10,1210,\n2026-11-11,1220,8\n'


def test_totals_alone_are_growth_without_a_word_about_people(
    home: Importer, tmp_path: Path
) -> None:
    churn = home.churn()
    landed = home.add_counts(write(tmp_path / "blade.csv", COUNTS))
    # Day 11 has a list of followers already, which says more; following has none.
    assert (len(landed.new), landed.kept) == (4, 1)
    assert home.rows(
        "SELECT snapshot_date, followers_total, following_total, followers_net, followers_gained, "
        "followers_lost, followers_unknown, completeness FROM follower_growth ORDER BY ALL"
    ) == [
        (on(9), 1200, 7, None, None, None, None, "none"),
        (on(10), 1210, None, 10, None, None, None, "none"),
        (on(11), 5, 8, -1205, None, None, None, "complete"),
        (on(12), 5, None, 0, 1, 0, 0, "complete"),
    ]
    assert home.churn() == churn
    assert home.rows("SELECT count(*) FROM followers_on('nova', '2026-11-10')") == [(0,)]
    assert home.add_counts(tmp_path / "blade.csv").new == []
    with writing(home.home.warehouse) as con:
        shown = describe(con, [on(10)])[on(10)]
    assert (
        "lighter" in base64.b64decode(re.split("[,)]", str(shown["top_movers"].value))[-2]).decode()
    )
    assert "counts" in str(shown["by_handle"].value)
    # Who came is compared with the list before, and so is the total; not with that of day 14.
    told = Told(15, "nova", (6, 8, 9, 2, 7, 1), total=6).land(DiskLanding(home.home.landing))
    load(lambda: writing(home.home.warehouse), home.home.archive, [told])
    home.add_counts(write(tmp_path / "later.csv", "day,followers\n2026-11-14,900\n"))
    assert home.rows(
        "SELECT followers_net, followers_gained, net_unexplained, followers_lost_estimate "
        "FROM follower_growth WHERE snapshot_date = '2026-11-15'"
    ) == [(-894, 1, 0, 0)]
    # A list takes the place of a mere total.
    assert len(home.add(write(tmp_path / "a.txt", names(9, 2)), on(10)).new) == 1
    remove(home.home, "old")
    assert {row for row in home.churn() if row[0] < 15} == churn
    assert home.rows("SELECT count(*) FROM follower_growth") == [(3,)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("day,subscribers\n03/04/2026,5\n", "c.csv, line 2: '03/04/2026' is ambiguous"),
        ("date,followers\n2026-11-01,many\n", "c.csv, line 2: 'many' is not a number"),
        ("date,followers\n2027-11-01,5\n", "c.csv, line 2: 2027-11-01 is in the future"),
        (
            "date,followers\n2026-11-01,5\n2026-11-01,6\n",
            "line 3: 2026-11-01 has a different number",
        ),
        ("date,followers\n\n\n2026-11-01,many\n", "c.csv, line 4: 'many' is not a number"),
        ("date,likes\n2026-11-01,5\n", "--counts needs a column `date`"),
        ('date,followers\n2026-11-01,"1,5"\n', "line 2: '1,5' is not a number"),
        ("date,followers\n2026-11-01,1 5\n", "line 2: '1 5' is not a number"),
        (f"date,followers\n2026-11-01,{2**63}\n", f"line 2: '{2**63}' is not a number"),
    ],
)
def test_totals_that_are_wrong_are_refused(text: str, says: str, tmp_path: Path) -> None:
    home = Importer(Home(tmp_path / "home"))
    with pytest.raises(ImportRefused, match=says):
        home.add_counts(write(tmp_path / "c.csv", text))
    assert not home.home.archive.exists()


def test_totals_are_read_as_people_write_them(tmp_path: Path) -> None:
    home = Importer(Home(tmp_path / "home"))
    text = (
        'date,followers\n2026-11-01,"1,234,567"\n2026-11-02,1 234\n2026-11-03,0\n2026-11-04,7.0\n'
    )
    home.add_counts(write(tmp_path / "c.csv", text))
    totals = home.rows("SELECT reported_total FROM internal.snapshots ORDER BY snapshot_date")
    assert totals == [(1_234_567,), (1_234,), (0,), (7,)]


@pytest.mark.parametrize("total", [10**25, -3, True, "7", 1e3])
def test_a_total_of_pages_that_is_none_says_nothing(total: object, tmp_path: Path) -> None:
    pages = {
        "data": {"followers": [{"username": "al"}, {"username": "zoe"}], "totalFollowers": total}
    }
    home = Importer(Home(tmp_path / "home"))
    (row,) = home.add(write(tmp_path / "p.json", json.dumps(pages)), on(1)).new
    assert (row.listed, row.reported_total, row.exhaustive) == (2, None, False)


def test_an_import_that_was_killed_before_it_was_loaded_is_not_there_twice(tmp_path: Path) -> None:
    home = Importer(fill(tmp_path / "home", days=2))
    before = home.home.warehouse.read_bytes()
    file = write(tmp_path / "a.txt", names(5, 2))
    home.add(file, date(2026, 10, 1), everyone=True)
    home.home.warehouse.write_bytes(before)
    (row,) = home.add(file, date(2026, 10, 1), everyone=True).new
    assert [path.name for path in home.home.archive.glob("day=2026-10-01/*")] == [
        Path(row.archive_file).name
    ]
    tables = home.rows("FROM internal.snapshots ORDER BY ALL")
    rebuild(home.home)
    assert home.rows("FROM internal.snapshots ORDER BY ALL") == tables


def test_a_day_that_has_not_begun_is_refused(tmp_path: Path) -> None:
    home = Importer(Home(tmp_path / "home"))
    path = write(tmp_path / "a.txt", names(1))
    with pytest.raises(ImportRefused, match="2027-01-01 is in the future"):
        home.add(path, date(2027, 1, 1))
    with pytest.raises(ImportRefused, match="unknown day"):
        home.add(path)
    assert not home.home.archive.exists()
