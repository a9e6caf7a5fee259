"""What a file is taken for: each layout, told from its keys; each way a file can be wrong."""

from __future__ import annotations

import bz2
import gzip
import json
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from sf_assets.people.days import day_in_name, parse_days
from sf_assets.people.errors import ImportRefused
from sf_assets.people.shapes import read_mapping
from sf_assets.storage.home import Home

from ..lists import ID_BASE, on
from .importing import Importer, understood, write, write_xlsx

# Three made-up accounts, newest follow first: username, id, name, when they followed.
PEOPLE = (
    ("zoe.paints", 7_000_000_000_483_920_171, "Zoë", "2026-10-30 18:01:44"),
    ("al_fresco", 6_900_000_000_117_364_933, "Al", "2026-09-02 07:15:00"),
    ("mia.77", 7_100_000_000_905_118_245, "Mia 🌵", "2025-01-20 23:59:59"),
)
NAMES = [name for name, *_ in PEOPLE]


def export(path: str) -> dict[str, Any]:
    """TikTok's own export with the list of followers at a path, among much else."""
    rows = [{"Date": when, "UserName": name} for name, _, _, when in PEOPLE]
    other = [{"Date": "2026-01-01 00:00:00", "UserName": "somebody.else"}]
    whole: dict[str, Any] = {
        "Activity": {"Block List": {"BlockList": other}, "Like List": {"ItemFavoriteList": None}},
    }
    at = whole
    *groups, last = path.split(" > ")
    for group in groups:
        at = at.setdefault(group, {})
    at[last] = rows
    parent = whole[groups[0]]
    if "Following List" not in parent and groups[0] == "Activity":
        parent["Following List"] = {"Following": other}
    if groups[0] == "Profile And Settings":
        parent["Following"] = {"Following": other}
    return whole


def page(people: Any, more: bool, total: int | None = 3) -> dict[str, Any]:
    followers = [
        {"handle": name, "displayName": shown, "platformUserId": str(number), "verified": False,
         "secUid": f"MS4w{number}", "metrics": {"followers": 5, "following": 7}, "bio": ""}
        for name, number, shown, _ in people
    ]  # fmt: skip
    return {
        "data": {
            "lookupStatus": "found", "followers": followers, "totalFollowers": total,
            "page": {"nextCursor": "1" if more else None, "hasMore": more},
        },
        "meta": {"requestId": "r", "creditsCharged": 1, "version": "v1"},
    }  # fmt: skip


def flat() -> list[dict[str, Any]]:
    return [
        {"uniqueId": name, "id": str(number), "secUid": f"MS4w{number}", "nickname": shown,
         "createTime": 1500000000, "followerCount": 12}
        for name, number, shown, _ in PEOPLE
    ]  # fmt: skip


def nested(key: str, inner: Callable[[tuple[str, int, str, str]], dict[str, Any]]) -> list[Any]:
    return [{key: inner(one), "collected": "03/04/2026", "video": {"id": "1"}} for one in PEOPLE]


def dumped(value: Any) -> Callable[[Path], Path]:
    return lambda folder: write(folder / "some.json", json.dumps(value, ensure_ascii=False))


def told(text: str, name: str = "some.csv", encoding: str = "utf-8") -> Callable[[Path], Path]:
    return lambda folder: write(folder / name, text, encoding)


def parquet(folder: Path) -> Path:
    path = folder / "some.parquet"
    table = pa.table(
        {
            "username": [name for name, *_ in PEOPLE],
            "stats": [{"followerCount": 12}] * 3,
            "user_id": [number for _, number, *_ in PEOPLE],
        }
    )
    with duckdb.connect() as con:
        con.register("people", table)
        con.execute(f"COPY people TO '{path}'")
    return path


def zipped(folder: Path) -> Path:
    path = folder / "TikTok_Data.zip"
    texts = {
        "Follower.txt": "".join(f"Date: {when} UTC\nUsername: {n}\n\n" for n, _, _, when in PEOPLE),
        "Following.txt": "Date: 2026-01-01 00:00:00\nUsername: somebody.else\n",
        "Login History.txt": "Date: 2026-01-01 00:00:00\nIP: 192.0.2.1\n",
    }
    with zipfile.ZipFile(path, "w") as packed:
        for name, text in texts.items():
            packed.writestr(f"TikTok/Activity/{name}", text)
    return path


def packed(pack: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "some.packed"
        path.write_bytes(pack("\n".join(NAMES).encode()))
        return path

    return make


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


IDS = [["username", "user id"], *([name, number] for name, number, *_ in PEOPLE)]
HEAD = "User Name;Nickname;User ID\n"
ROWS = "".join(f"@{name};{shown};{number}\n" for name, number, shown, _ in PEOPLE)

# What -> (how it is made, its layout, and of what it shows: numeric ids, follow times).
SHAPES: dict[str, tuple[Callable[[Path], Path], str, int, int]] = {
    "export, older": (
        dumped(export("Activity > Follower List > FansList")), "TikTok export", 0, 3),
    "export, newer": (
        dumped(export("Profile And Settings > Follower > FansList")), "TikTok export", 0, 3),
    "export, between": (
        dumped(export("Your Activity > Follower > FansList")), "TikTok export", 0, 3),
    "export as text": (
        told("".join(f"Date: {w}\nUsername: {n}\n\n" for n, _, _, w in PEOPLE), "Follower.txt"),
        "rows", 0, 3),
    "export as a zip of texts": (zipped, "rows", 0, 3),
    "usernames": (told("\n".join(NAMES)), "plain list", 0, 0),
    "usernames with @ and blank lines": (
        told("\n\n".join(f"@{one}" for one in NAMES)), "plain list", 0, 0),
    "addresses": (
        told("\n".join(f"https://www.tiktok.com/@{n}?lang=en" for n in NAMES)), "plain list", 0, 0),
    "usernames under a title": (told("\n".join(["Username", *NAMES])), "rows", 0, 0),
    "usernames, JSON": (dumped(NAMES), "plain list", 0, 0),
    "usernames in a JSON list": (dumped({"followers": NAMES}), "rows in a list", 0, 0),
    "a saved page": (dumped(page(PEOPLE, False)), "saved pages", 3, 0),
    "saved pages, a list": (
        dumped([page(PEOPLE[:2], True), page(PEOPLE[2:], False)]), "saved pages", 3, 0),
    "saved pages, JSON lines": (
        told("\n".join(map(json.dumps, (page(PEOPLE[:2], True), page(PEOPLE[2:], False))))),
        "saved pages", 3, 0),
    "flat rows": (dumped(flat()), "rows", 3, 0),
    "flat rows, JSON lines": (told("\n".join(map(json.dumps, flat()))), "rows", 3, 0),
    "flat rows in a list": (dumped({"code": 0, "userList": flat()}), "rows in a list", 3, 0),
    "rows with a user and stats": (
        dumped(nested("user", lambda one: {"uniqueId": one[0], "id": str(one[1])})), "rows", 3, 0),
    "rows with authorMeta": (
        dumped(nested("authorMeta", lambda one: {
            "name": one[0], "id": str(one[1]), "nickName": one[2], "fans": 12})), "rows", 3, 0),
    "a table with authorMeta": (
        told("authorMeta/name,authorMeta/id,authorMeta/fans\n"
             + "".join(f"{name},{number},12\n" for name, number, *_ in PEOPLE)), "rows", 3, 0),
    "a list of user objects": (
        dumped({"followers": [{"user": {"unique_id": n, "uid": i}} for n, i, *_ in PEOPLE]}),
        "rows in a list", 3, 0),
    "only addresses": (
        told("name,profile url\n" + "".join(
            f"{shown},tiktok.com/@{n}\n" for n, _, shown, _ in PEOPLE)), "rows", 0, 0),
    "with a follow time": (
        told("username,followed_at\n" + "".join(f"{n},{when}\n" for n, _, _, when in PEOPLE)),
        "rows", 0, 3),
    "semicolons": (told(HEAD + ROWS), "rows", 3, 0),
    "tabs": (told((HEAD + ROWS).replace(";", "\t")), "rows", 3, 0),
    "a mark and CRLF": (told("\ufeff" + (HEAD + ROWS).replace("\n", "\r\n")), "rows", 3, 0),
    "UTF-16": (told(HEAD + ROWS, encoding="utf-16"), "rows", 3, 0),
    "quotes before what a spreadsheet computes": (
        told("username\n" + "".join(f"'@{n}\n" for n in NAMES)), "rows", 0, 0),
    "Parquet": (parquet, "rows", 3, 0),
    "XLSX, ids as text": (
        lambda folder: write_xlsx(folder / "a.xlsx", [[str(c) for c in row] for row in IDS]),
        "rows", 3, 0),
    "XLSX, ids as numbers, which lost digits": (
        lambda folder: write_xlsx(folder / "a.xlsx", [
            [cell if isinstance(cell, str) else float(cell) for cell in row] for row in IDS]),
        "rows", 0, 0),
    "JSON by a script that rounds": (
        dumped([{"username": n, "id": round(i, -3)} for n, i, *_ in PEOPLE]), "rows", 0, 0),
    "gzip": (packed(gzip.compress), "plain list", 0, 0),
    "bzip2": (packed(bz2.compress), "plain list", 0, 0),
    "zstd": (packed(zstd), "plain list", 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("what", SHAPES)
def test_each_layout_is_known_by_its_keys(what: str, tmp_path: Path) -> None:
    make, layout, numbers, times = SHAPES[what]
    found = understood(make(tmp_path))
    assert found.shape is not None
    assert [row[0] for row in found.sample] == NAMES
    assert (found.shape.layout, found.facts["numbers"]) == (layout, numbers)
    assert found.facts["times"] == times
    assert [row.listed for row in found.rows] == [3]
    # Nothing was said, so nothing is claimed of who is not in it.
    assert [(row.exhaustive, row.end_reason) for row in found.rows] == [(False, "partial")]


def test_the_other_list_of_an_export(tmp_path: Path) -> None:
    for path in (
        "Activity > Follower List > FansList",
        "Profile And Settings > Follower > FansList",
    ):
        found = understood(dumped(export(path))(tmp_path), relation="following")
        assert [row[0] for row in found.sample] == ["somebody.else"]
    assert [row[0] for row in understood(zipped(tmp_path), relation="following").sample] == [
        "somebody.else"
    ]


def test_a_table_of_ours_has_days_of_its_own(tmp_path: Path) -> None:
    rows = "".join(
        f"nova,{relation},2026-11-0{day},{ID_BASE + n},fan{n}\n"
        for relation in ("followers", "following")
        for day in (1, 2)
        for n in (5, 3, 9)
    )
    head = "handle,relation,snapshot_date,account_id,account_handle"
    path = write(tmp_path / "a.csv", f"{head}\n{rows}")
    importer = Importer(Home(tmp_path / "home"))
    assert len(importer.add(path, everyone=True).new) == 2
    assert importer.rows("SELECT handle, snapshot_date, listed, exhaustive FROM snapshots") == [
        ("nova", on(1), 3, True),
        ("nova", on(2), 3, True),
    ]


def test_a_mapping_says_what_nobody_can_know(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.json",
        json.dumps({"result": {"people": [{"Konto": n, "Nr.": str(i)} for n, i, *_ in PEOPLE]}}),
    )
    with pytest.raises(ImportRefused, match="no column with usernames"):
        understood(path)
    mapping = write(
        tmp_path / "mapping.yaml",
        "list: result.people\ncolumns:\n  handle: Konto\n  platform_user_id: /Nr.\n",
    )
    found = understood(path, columns=read_mapping(mapping))
    assert [row[:2] for row in found.sample] == [(n, str(i)) for n, i, *_ in PEOPLE]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("columns: {id: x}", "unknown column 'id'; use handle, platform_user_id"),
        ("columns: {bio: x}", "needs handle or profile_url"),
        ("list: a", "must have `columns`"),
        ("columns: {handle: x}\nday: y", "nothing else"),
        ("columns: [", "cannot read"),
    ],
)
def test_a_mapping_that_is_wrong_says_why(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=says):
        read_mapping(write(tmp_path / "mapping.yaml", text))


def bomb(folder: Path) -> Path:
    path = folder / "bomb.gz"
    path.write_bytes(gzip.compress(b"0" * (100 << 20)))
    return path


def zip_bomb(folder: Path) -> Path:
    path = folder / "bomb.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("xl/worksheets/sheet1.xml", b"0" * (100 << 20))
    return path


def parquet_bomb(folder: Path) -> Path:
    path = folder / "bomb.parquet"
    with duckdb.connect() as con:
        con.execute(f"COPY (SELECT 'al' AS username FROM range(30_000_000)) TO '{path}'")
    return path


def damaged(path: Path) -> Path:
    """Half of its bytes are turned around."""
    whole = path.read_bytes()
    middle = slice(len(whole) // 4 + 4, 3 * len(whole) // 4 + 4)
    path.write_bytes(whole[: middle.start] + whole[middle][::-1] + whole[middle.stop :])
    return path


def truncated(folder: Path) -> Path:
    path = folder / "cut.gz"
    path.write_bytes(gzip.compress("\n".join(NAMES * 500).encode())[:-20])
    return path


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty": (told("", "a.csv"), "a.csv: the file is empty"),
    "blank": (told("\n \n", "a.csv"), "a.csv: the file is empty"),
    "no rows": (told("username,id\n", "a.csv"), "no column with usernames|contains no rows"),
    "an empty export": (
        dumped({"Activity": {"Follower List": {"FansList": []}}}), "list of followers is empty"),
    "an export without followers": (
        dumped({"Activity": {"Follower List": {"FansList": None}}}), "list of followers is empty"),
    "the other list": (
        dumped({"following": [{"uniqueId": "a"}]}), "unclear which list has the followers"),
    "a web page": (
        told("<!doctype html><html><body>Too many requests</body></html>", "a.csv"),
        r"a.csv, line 1: this is a web page"),
    "Latin-1": (
        told("username,nickname\nal,Al\nzoe,Zoë\n", "a.csv", "latin-1"),
        r"a.csv, line 3: not utf-8; give its encoding, such as --encoding lat"),
    "UTF-16 without a mark": (
        told("username\nal\n", "a.csv", "utf-16-le"), "not a text file.*--encoding utf-16-le"),
    "UTF-16 without a mark, the other way": (
        told("username\nal\n", "a.csv", "utf-16-be"), "not a text file.*--encoding utf-16-be"),
    "bytes": (told("\x89PNG\0\1\2", "a"), "a: not a text file"),
    "cut JSON": (told('[{"uniqueId": "al"}, {"uniqueId": "z', "a.json"), "a.json.*: "),
    "cut JSON lines": (told('{"uniqueId": "al"}\n{"uniqueId": \n', "a.json"), "a.json, line 3: "),
    "a column too many": (
        told("username,id\nal,1\nzoe,2,3\n", "a.csv"),
        "a.csv, line 3: 3 columns instead of 2"),
    "a quote that does not end": (told('username,id\n"al,1\nzoe,2\n', "a.csv"), "a.csv, line 2: "),
    "two columns of one name": (
        told("username,username\nal,al\n"), "line 1: two columns are called"),
    "no usernames": (
        told("name,score\nAl,3\n", "a.csv"), "a.csv: no column with usernames.*name, sco"),
    "mixed profiles": (
        told("target,username\nnova,al\nnova,zoe\nvega,mia\n", "a.csv"),
        "a.csv, line 4: this row belongs to 'vega', not nova"),
    "formulas": (
        told('username\n"=HYPERLINK(""x"")"\n=1+1\nal\n', "a.csv"),
        r"a.csv, line 2: '=HYPERLINK\(\"x\"\)' is not a username; 2 of 3 rows have none"),
    "prose": (
        told("Dear all,\nthis is a letter.\n", "a.txt"), "a.txt, line 2: 1 columns instead of 2"),
    "a follow after the day": (
        told("username,followed_at\nal,2026-11-05 10:00:00\n", "a.csv"),
        "a.csv, line 2: this account followed on 2026-11-05, after 2026-11-01"),
    "two files in one": (
        told("username,id\nal,1\nusername,id\nzoe,2\n", "a.csv"),
        "a.csv, line 3: the header is repeated"),
    "a time that could be two": (
        told("username,followed_at\nal,2025-01-02\nzoe,03/04/2025\n", "a.csv"),
        "a.csv, line 3: '03/04/2025' is not a follow time; write it as"),
    "rows of another day": (
        told("username,snapshot_date\nal,2026-11-01\nzoe,2026-11-02\n", "a.csv"),
        "a.csv: its rows are from 2026-11-02, not 2026-11-01; leave out --day"),
    "a row without the day that others have": (
        told("username,snapshot_date\nal,2026-11-01\nzoe,\n", "a.csv"),
        "a.csv, line 3: this row has no day, but others have one"),
    "rows of a day that could be two": (
        told("username,snapshot_date\nal,2026-11-01\nzoe,03/04/2026\n", "a.csv"),
        "a.csv, line 3: '03/04/2026' is ambiguous"),
    "a row after blank lines": (
        told("username,id\n\n\nal,1\n \r\n\nzoe,x,3\n".replace(" ", ""), "a.csv"),
        "a.csv, line 7: 3 columns instead of 2"),
    "a name after blank lines": (
        told("username,id\n\n\nal,1\n\nb@@d,2\n", "a.csv"), "a.csv, line 6: 'b@@d' is not a us"),
    "a name after blank lines, in one column": (
        told("\n\nusername\n\nal\n\nb@@d\n", "a.csv"), "a.csv, line 7: 'b@@d' is not a us"),
    "a name after blank lines, with other line ends": (
        told("\r\nusername;id\r\n\r\nal;1\r\n;\r\n\r\nb@@d;2\r\n", "a.csv"),
        "a.csv, line 7: 'b@@d' is not a us.*1 of 2 rows"),
    "a name after a text with line ends": (
        told('username,bio\nal,"a\n\nb ""c"""\n\nb@@d,x\n', "a.csv"),
        "a.csv, line 6: 'b@@d' is not a us"),
    "a name after blank lines of JSON": (
        told('{"uniqueId": "al"}\n\n\n{"uniqueId": "b@@d"}\n', "a.jsonl"),
        "a.jsonl, line 4: 'b@@d' is not a us"),
    "a name in a list of JSON": (
        dumped([{"uniqueId": "al"}, {"uniqueId": "b@@d"}]), "some.json, entry 2: 'b@@d' is not"),
    "a name in a list within JSON": (
        dumped({"followers": [{"uniqueId": "al"}, {"uniqueId": "b@@d"}]}),
        "some.json, entry 2: 'b@@d' is not"),
    "a name after blank rows of a workbook": (
        lambda folder: write_xlsx(
            folder / "a.xlsx", [[], ["username", "id"], ["al", 1], [], ["b@@d", 2]]),
        "a.xlsx, row 5: 'b@@d' is not a us.*1 of 2 rows"),
    "no list in JSON": (dumped([]), "a.json|some.json: contains no rows"),
    "null": (dumped(None), "some.json: the file is empty"),
    "JSON without end": (
        told("[" * 5000 + "]" * 5000, "a.json"), "a.json: nested too deeply"),
    "a zip with damage": (
        lambda folder: damaged(zipped(folder)), "TikTok_Data.zip: broken zip"),
    "gzip with damage": (
        lambda folder: damaged(packed(gzip.compress)(folder)), "cannot unpack"),
    "zstd that is cut": (packed(lambda data: zstd(data)[:20]), "cannot unpack"),
    "Parquet with damage": (lambda folder: damaged(parquet(folder)), "some.parquet: "),
    "a bomb of Parquet": (parquet_bomb, r"has 30,000,000 rows; the limit is"),
    "a bomb": (bomb, "unpacks from .* too much for a list"),
    "a bomb as a workbook": (zip_bomb, "unpacks from .* too much for a list"),
    "a broken archive": (truncated, "cannot unpack"),
    "packed twice": (
        lambda folder: packed(lambda data: gzip.compress(gzip.compress(data)))(folder),
        "packed twice; unpack it first"),
    **{f"a plain list under {title!r}": (
        told(f"{title}\nal\nzoe\n", "a.txt"),
        f"a.txt, line 1: '{title}' looks like a column title")
       for title in ("Followers", "Name", "Profile URL", "Accounts")},
    "a workbook without sheets": (
        lambda folder: zip_bomb(folder) and write_xlsx(folder / "b.xlsx", []), "no sheet has rows"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_each_bad_file_is_one_sentence(what: str, tmp_path: Path) -> None:
    make, says = BAD[what]
    with pytest.raises(ImportRefused, match=says) as refused:
        understood(make(tmp_path))
    assert "\n" not in str(refused.value)


def test_another_encoding_is_read_when_it_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "username,nickname\nzoe,Zoë\n", "latin-1")
    assert understood(path, encoding="latin-1").sample[0][2] == "Zoë"
    with pytest.raises(ImportRefused, match="unknown encoding"):
        understood(path, encoding="latin-99")


@pytest.mark.parametrize(
    ("texts", "days"),
    [
        (["2026-03-04"], ["2026-03-04"]),
        (["20260304", "2026/3/5", "2026_03_06", "2026.3.7"], ["03-04", "03-05", "03-06", "03-07"]),
        (["2026-03-04T23:59:59Z", "2026-03-05 00:00"], ["03-04", "03-05"]),
        (["4.3.2026"], ["2026-03-04"]),
        (["13/04/2026", "03/04/2026"], ["2026-04-13", "2026-04-03"]),
        (["03/04/2026", "04/13/2026"], ["2026-03-04", "2026-04-13"]),
        (["05-05-2026"], ["2026-05-05"]),
        (["4 March 2026", "Mar 5, 2026"], ["2026-03-04", "2026-03-05"]),
    ],
)
def test_days_are_read_as_they_are_written(texts: list[str], days: list[str]) -> None:
    whole = [day if len(day) == 10 else f"2026-{day}" for day in days]
    assert [str(day) for day in parse_days(texts, ["a.csv"] * len(texts))] == whole


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (
            ["03/04/2026"],
            "line 2: '03/04/2026' is ambiguous; write it as 2026-04-03 or 2026-",
        ),
        (["13/04/2026", "04/13/2026", "01/02/2026"], "line 4: .* is ambiguous|line 2"),
        (["2026-02-30"], "line 2: '2026-02-30' is not a day"),
        (["2026-03-04", "soon"], "line 3: 'soon' is not a day"),
        (["30/30/2026"], "line 2: '30/30/2026' is not a day"),
        ([None], "line 2: None is not a day"),
    ],
)
def test_a_day_that_could_be_two_is_refused(texts: list[str], says: str) -> None:
    with pytest.raises(ImportRefused, match=says):
        parse_days(texts, [f"a.csv, line {at}" for at in range(2, 2 + len(texts))])


def test_the_day_in_a_name() -> None:
    assert day_in_name("fans_2026-10-01.csv", "fans_{date}.csv") == date(2026, 10, 1)
    assert day_in_name("x-20261001.json.gz", "*-{date}.*") == date(2026, 10, 1)
    for name, says in (
        ("fans.csv", "no day in the position"),
        ("fans_03-04-2026.csv", "ambiguous"),
    ):
        with pytest.raises(ImportRefused, match=f"^{name}: .*{says}"):
            day_in_name(name, "fans*{date}.csv" if "_" not in name else "fans_{date}.csv")
