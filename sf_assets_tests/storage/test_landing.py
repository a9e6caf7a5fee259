"""Pages on disk: what was landed stays landed; what was torn or damaged is never read as a page."""

from __future__ import annotations

import base64
import json
import os
import signal
import stat
import subprocess
import sys
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sf_assets.model import SnapshotKey
from sf_assets.storage.landing import Landing, SnapshotLog, drop_days_before
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.storage.records import Landed, LandingDamaged, Page

DAY = date(2026, 3, 4)
KEY = SnapshotKey(DAY, "bob", "followers")

PRETTY = json.dumps({"data": {"followers": [1, 2]}, "meta": {}}, indent=2).encode()
ODD_BODIES = [
    b"{}",
    PRETTY,
    PRETTY.replace(b"\n", b"\r\n") + b"\r\n",
    b"\n\n" + PRETTY + b"\n",
    '{"bio": "Grüße 🎉\u2028\u2029\u0085 \\u0000 \\ud83d"}'.encode(),
    json.dumps({"bio": ',"body":{"crc":"00000000",\n}\r\n'}).encode(),
    b'{"a":{"crc":"00000000","kind":"end"}}',
    b'{"body":{"body":1},"kind":"page"}',
]


def page(number: int, body: bytes = b"{}", *, credits: int = 1, tries: int = 1) -> Page:
    return Page(
        number=number,
        cursor=None if number == 1 else f'cursor "{number}",\n"body":',
        received_at="2026-03-04T05:06:07.890Z",
        request_id=f"req_{number}",
        credits=credits,
        cached=False,
        tries=tries,
        body=body,
    )


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return DiskLanding(tmp_path / "landing")


@contextmanager
def opened(landing: Landing, key: SnapshotKey = KEY) -> Iterator[SnapshotLog]:
    log = landing.open(key)
    assert log is not None
    with log:
        yield log


def landed(landing: Landing, key: SnapshotKey = KEY) -> Landed:
    found = landing.read(key)
    assert found is not None
    return found


def write(
    landing: Landing, pages: int, end: str | None = "exhausted", key: SnapshotKey = KEY
) -> Path:
    with opened(landing, key) as log:
        log.begin("", "run-1")
        for number in range(1, pages + 1):
            log.add_page(page(number, json.dumps({"page": number}).encode()))
        if end is not None:
            log.finish("found", end, "run-1")
    return landing.path(key)


def read_pages(landing: Landing, key: SnapshotKey = KEY) -> list[Page]:
    with opened(landing, key) as log:
        return list(log.pages())


def some_key() -> SnapshotKey:
    """A list of its own for each example; hypothesis would repeat what `random` gives."""
    return SnapshotKey(DAY, uuid.uuid4().hex, "followers")


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process; it prints a line when it is ready."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


# --- appending and reading ------------------------------------------------------------------------


@pytest.mark.parametrize("body", ODD_BODIES)
def test_a_body_comes_back_with_the_same_meaning(landing: Landing, body: bytes) -> None:
    with opened(landing) as log:
        log.begin("", "run-1")
        log.add_page(page(1, body))
        log.add_page(page(2))
        first, second = log.pages()
    assert json.loads(first.body) == json.loads(body)
    assert second == page(2)


def test_a_body_on_one_line_comes_back_byte_by_byte(landing: Landing) -> None:
    body = '{ "bio" : "Grüße\\n🎉" , "n" : 1.50, "n" : 2 }'.encode()
    with opened(landing) as log:
        log.begin("", "run-1")
        log.add_page(page(1, body))
        assert next(log.pages()) == page(1, body)


@given(st.dictionaries(st.text(), st.text()), st.sampled_from([None, 0, 2]), st.booleans())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_json_comes_back(
    landing: Landing, value: dict[str, str], indent: int | None, ascii_only: bool
) -> None:
    body = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "replace")
    key = some_key()
    with opened(landing, key) as log:
        log.begin("", "run-1")
        log.add_page(page(1, body))
    assert [json.loads(one.body) for one in read_pages(landing, key)] == [json.loads(body)]


def test_nothing_landed_reads_as_nothing(landing: Landing) -> None:
    assert landing.read(KEY) is None
    assert landing.days() == []
    assert landing.keys(DAY) == []


def test_a_landing_counts_pages_credits_and_retries(landing: Landing) -> None:
    with opened(landing) as log:
        log.begin("", "run-1")
        log.add_page(page(1, credits=1, tries=3), doubted=True)
        log.add_page(page(1, credits=1))
        log.add_page(page(2, credits=0))
        log.finish("found", "exhausted", "run-2")
    (attempt,) = landed(landing).attempts
    assert (attempt.pages, attempt.doubted, attempt.credits, attempt.retries) == (2, 1, 2, 2)
    assert attempt.request_ids == ["req_1", "req_1", "req_2"]
    assert attempt.end is not None
    assert (attempt.end.lookup_status, attempt.end.end_reason) == ("found", "exhausted")
    assert attempt.end.run_id == "run-2"


def test_what_the_writer_knows_is_what_a_reader_reads(landing: Landing) -> None:
    with opened(landing) as log:
        log.begin("", "run-1")
        for number in (1, 2, 3):
            log.add_page(page(number))
            assert landed(landing).attempts == tuple(log.attempts)
        log.finish("found", "budget", "run-1")
        assert landed(landing).attempts == tuple(log.attempts)
        log.add_page(page(4))
        assert landed(landing).attempts == tuple(log.attempts)
        log.begin("intent", "run-2")
        log.adopt("another intent")
        assert landed(landing).attempts == tuple(log.attempts)


def test_every_line_is_json_of_its_own_for_any_tool(landing: Landing) -> None:
    with opened(landing) as log:
        log.begin("", "run-1")
        log.add_page(page(1, PRETTY))
        log.finish("found", "exhausted", "run-1")
    lines = [json.loads(line) for line in landing.path(KEY).read_bytes().splitlines()]
    assert [line["kind"] for line in lines] == ["start", "page", "end"]
    assert lines[1]["body"] == json.loads(PRETTY)
    assert lines[1]["cursor"] is None


def test_what_is_landed_is_for_its_owner_only(landing: Landing) -> None:
    path = write(landing, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_days_and_keys_are_found_again(landing: Landing) -> None:
    keys = [
        SnapshotKey(date(2026, 3, 3), "eve", "following"),
        KEY,
        SnapshotKey(DAY, "bob.jsonl", "following"),
    ]
    for key in keys:
        write(landing, 1, key=key)
    (landing.root / "2026-99-99").mkdir()
    (landing.root / "notes").mkdir()
    assert landing.days() == [date(2026, 3, 3), DAY]
    assert [key for day in landing.days() for key in landing.keys(day)] == keys


# --- torn and damaged -----------------------------------------------------------------------------


def test_a_torn_last_line_is_cut_off_and_the_pages_before_it_stay(landing: Landing) -> None:
    path = write(landing, 3, end=None)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    start_of_last = len(whole) - len(lines[-1])
    for length in range(start_of_last, len(whole)):
        path.write_bytes(whole[:length])
        assert landed(landing).attempts[0].pages == 2, length
        with opened(landing) as log:
            assert path.stat().st_size == start_of_last
            assert [one.number for one in log.pages()] == [1, 2]
            log.add_page(page(3, b'{"page": 3}'))
        assert landed(landing).attempts[0].pages == 3


@given(st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_cut_anywhere_a_file_holds_exactly_its_whole_lines(
    landing: Landing, data: st.DataObject
) -> None:
    key = some_key()
    path = write(landing, 4, key=key)
    whole = path.read_bytes()
    length = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:length])
    sound = whole[:length].count(b"\n")
    found = landed(landing, key)
    assert found.sound_bytes == sum(len(line) + 1 for line in whole.split(b"\n")[:sound])
    assert len(found.attempts) == min(sound, 1)
    assert sum(attempt.pages for attempt in found.attempts) == min(max(sound - 1, 0), 4)
    assert found.finished == (sound == 6)


@pytest.mark.parametrize("tail", [b"\0" * 512, b"\0" * 511 + b"\n", b"garbage\n", b"{}\n", b"\n"])
def test_what_a_crash_left_behind_the_last_line_is_cut_off(landing: Landing, tail: bytes) -> None:
    path = write(landing, 2, end=None)
    sound = path.read_bytes()
    path.write_bytes(sound + tail)
    with opened(landing) as log:
        log.finish("found", "exhausted", "run-1")
    assert path.read_bytes().startswith(sound + b'{"crc"')
    assert landed(landing).finished


def test_a_file_that_was_only_made_is_as_good_as_none(landing: Landing) -> None:
    with opened(landing):
        pass
    assert landed(landing).attempts == ()
    assert landed(landing).to_load is None
    assert not landed(landing).finished


@pytest.mark.parametrize("line", [1, 2, 3, 4])
def test_a_damaged_line_in_the_middle_is_told_and_nothing_is_changed(
    landing: Landing, line: int
) -> None:
    path = write(landing, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(b'"attempt":1', b'"attempt":2')
    damaged = b"".join(lines)
    path.write_bytes(damaged)
    with pytest.raises(LandingDamaged, match=rf"bob\.jsonl:{line}: damaged line"):
        landing.read(KEY)
    with pytest.raises(LandingDamaged, match=rf"bob\.jsonl:{line}: "):
        landing.open(KEY)
    assert path.read_bytes() == damaged


def test_a_damaged_file_is_unlocked_again(landing: Landing) -> None:
    path = write(landing, 2)
    sound = path.read_bytes()
    path.write_bytes(b"x" + sound)
    with pytest.raises(LandingDamaged):
        landing.open(KEY)
    path.write_bytes(sound)
    with opened(landing) as log:
        assert log.finished


@given(st.data())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_one_flipped_bit_is_never_read_as_a_page(landing: Landing, data: st.DataObject) -> None:
    key = some_key()
    path = write(landing, 3, key=key)
    whole = bytearray(path.read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    try:
        pages = read_pages(landing, key)
    except LandingDamaged:
        return
    # Only the last line may be lost, and it is the end.
    assert [one.body for one in pages] == [b'{"page": %d}' % n for n in (1, 2, 3)]
    assert not landed(landing, key).finished


def test_a_file_of_a_newer_version_is_refused_and_not_changed(landing: Landing) -> None:
    path = write(landing, 1)
    first, *others = path.read_bytes().splitlines(keepends=True)
    rest = first[18:-1].replace(b'"format":1', b'"format":2')
    newer = b'{"crc":"%08x",' % zlib.crc32(rest) + rest + b"\n" + b"".join(others)
    path.write_bytes(newer)
    for act in (landing.read, landing.open):
        with pytest.raises(LandingDamaged, match=r"newer sf_assets \(format 2\); upgrade"):
            act(KEY)
    assert path.read_bytes() == newer


# --- one writer at a time -------------------------------------------------------------------------


def test_a_second_opener_gets_nothing_until_the_first_closes(landing: Landing) -> None:
    with opened(landing) as log:
        log.begin("", "run-1")
        assert landing.open(KEY) is None
        # Reading must neither wait for the lock nor give it away.
        assert landed(landing).attempts == tuple(log.attempts)
        assert list(log.pages()) == []
        assert landing.open(KEY) is None
    with opened(landing) as log:
        assert len(log.attempts) == 1


def test_other_lists_are_not_locked(landing: Landing) -> None:
    with opened(landing), opened(landing, SnapshotKey(DAY, "bob", "following")) as other:
        assert other.attempts == []


def test_closing_twice_is_fine(landing: Landing) -> None:
    with opened(landing) as log:
        log.close()


HOLD = """
import sys
from datetime import date
from pathlib import Path
from sf_assets.storage.landing import Landing, SnapshotKey
from sf_assets.storage.landing_disk import DiskLanding
log = DiskLanding(Path(sys.argv[1])).open(SnapshotKey(date(2026, 3, 4), "bob", "followers"))
log.begin("", "other process")
print("ready", flush=True)
sys.stdin.read()
log.close()
"""


def test_a_list_that_another_process_reads_is_locked(landing: Landing) -> None:
    with python(HOLD, landing.root) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        assert landing.open(KEY) is None
        assert landed(landing).attempts[0].run_id == "other process"
        other.communicate()
    with opened(landing) as log:
        assert [attempt.run_id for attempt in log.attempts] == ["other process"]


APPEND = """
import sys
from datetime import date
from pathlib import Path
from sf_assets.storage.landing import Landing, Page, SnapshotKey
from sf_assets.storage.landing_disk import DiskLanding
log = DiskLanding(Path(sys.argv[1])).open(SnapshotKey(date(2026, 3, 4), "bob", "followers"))
log.begin("", "killed")
print("ready", flush=True)
number = 0
while True:
    number += 1
    body = b'{"page": %d, "filler": "%s"}' % (number, b"x" * 50_000)
    log.add_page(Page(number, None, "2026-03-04T00:00:00Z", "req", 1, False, 1, body))
"""


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.11])
def test_a_process_killed_while_it_appends_leaves_sound_pages_and_no_lock(
    landing: Landing, seconds: float
) -> None:
    with python(APPEND, landing.root) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        time.sleep(seconds)
        os.kill(other.pid, signal.SIGKILL)
    with opened(landing) as log:
        pages = list(log.pages())
        assert [json.loads(one.body)["page"] for one in pages] == list(range(1, len(pages) + 1))
        log.add_page(page(len(pages) + 1))
        log.finish("found", "exhausted", "run-2")
    assert landed(landing).attempts[0].pages == len(pages) + 1
    assert landed(landing).finished


# --- attempts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["budget", "out_of_credits"])
def test_a_walk_that_our_purse_ended_can_be_loaded_and_goes_on(landing: Landing, end: str) -> None:
    write(landing, 2, end)
    found = landed(landing)
    assert not found.finished
    assert found.to_load is not None
    assert found.to_load.pages == 2
    with opened(landing) as log:
        assert not log.finished
        log.add_page(page(3))
        assert landed(landing).to_load is None  # a walk that goes on has no end yet
        log.finish("found", "exhausted", "run-2")
    found = landed(landing)
    assert found.finished
    assert found.to_load is not None
    assert found.to_load.pages == 3


@pytest.mark.parametrize("end", ["exhausted", "page_limit", "stalled"])
def test_any_other_end_settles_the_day(landing: Landing, end: str) -> None:
    write(landing, 1, end)
    assert landed(landing).finished


@pytest.mark.parametrize("status", ["private", "hidden", "not_found"])
def test_a_list_that_cannot_be_read_settles_the_day(landing: Landing, status: str) -> None:
    with opened(landing) as log:
        log.begin("", "run-1")
        log.add_page(page(1))
        log.finish(status, None, "run-1")
    assert landed(landing).finished


def test_a_walk_that_broke_off_is_not_loaded(landing: Landing) -> None:
    write(landing, 2, end=None)
    assert not landed(landing).finished
    assert landed(landing).to_load is None


def test_pages_are_those_of_the_last_attempt(landing: Landing) -> None:
    write(landing, 3)
    with opened(landing) as log:
        attempt = log.begin("intent", "run-2")
        assert (attempt.number, attempt.token) == (2, "intent")
        log.add_page(page(1, b'{"again": true}'))
        log.add_page(page(2, b'{"doubt": true}'), doubted=True)
        assert [one.body for one in log.pages()] == [b'{"again": true}']
    assert landed(landing).credits == 5


def test_a_refresh_that_ended_stands_for_the_day(landing: Landing) -> None:
    write(landing, 3)
    with opened(landing) as log:
        log.begin("intent", "run-2")
        log.add_page(page(1))
        log.finish("found", "exhausted", "run-2")
    to_load = landed(landing).to_load
    assert to_load is not None
    assert to_load.number == 2


@pytest.mark.parametrize("end", ["budget", "out_of_credits", None])
def test_a_refresh_that_was_cut_does_not_replace_a_fuller_reading(
    landing: Landing, end: str | None
) -> None:
    write(landing, 3)
    with opened(landing) as log:
        log.begin("intent", "run-2")
        log.add_page(page(1))
        if end:
            log.finish("found", end, "run-2")
    found = landed(landing)
    assert found.finished
    assert found.to_load is not None
    assert found.to_load.number == 1


def test_a_later_intent_that_goes_on_with_an_attempt_owns_it(landing: Landing) -> None:
    write(landing, 1, end=None)
    with opened(landing) as log:
        log.adopt("intent")
        log.add_page(page(2))
    (attempt,) = landed(landing).attempts
    assert (attempt.token, attempt.pages) == ("intent", 2)


# --- beside and after -----------------------------------------------------------------------------


def test_a_body_that_breaks_the_contract_is_kept_with_its_reason(landing: Landing) -> None:
    body = b'\xff\xfe<html>\n"not json"\x00'
    write(landing, 1, end=None)
    before = landing.path(KEY).read_bytes()
    for reason in ("not JSON", "again"):
        path = landing.quarantine(KEY, 2, reason, body)
    first, second = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert (first["page"], first["reason"], second["reason"]) == (2, "not JSON", "again")
    assert base64.b64decode(first["body_base64"]) == body
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert landing.path(KEY).read_bytes() == before
    assert landing.keys(DAY) == [KEY]


def test_a_handle_called_quarantine_is_a_handle_like_any_other(landing: Landing) -> None:
    other = SnapshotKey(DAY, "bob.quarantine", "followers")
    write(landing, 2, key=other)
    write(landing, 1)
    landing.quarantine(KEY, 2, "not JSON", b"<html>")
    assert landed(landing, other).finished
    assert landing.keys(DAY) == [KEY, other]


def test_old_days_go_except_what_is_not_archived(landing: Landing) -> None:
    old = [SnapshotKey(date(2026, 2, day), "bob", "followers") for day in (1, 2)]
    kept = SnapshotKey(date(2026, 2, 2), "eve", "following")
    for key in (*old, kept, KEY):
        write(landing, 1, key=key)
        landing.quarantine(key, 1, "why", b"{}")
    kept_bytes = landing.path(kept).read_bytes()
    assert drop_days_before(landing, DAY, keep={kept}) == 2
    assert landing.days() == [date(2026, 2, 2), DAY]
    assert landing.keys(date(2026, 2, 2)) == [kept]
    assert landing.keys(DAY) == [KEY]
    assert landing.path(kept).read_bytes() == kept_bytes
    left = {path.name for path in landing.root.rglob("*") if path.is_file()}
    assert left == {
        "bob.jsonl",
        "bob.jsonl.quarantine",
        "eve.jsonl",
        "eve.jsonl.quarantine",
    }


def test_the_day_itself_and_later_ones_stay(landing: Landing) -> None:
    write(landing, 1)
    assert drop_days_before(landing, DAY, keep=set()) == 0
    assert landing.keys(DAY) == [KEY]


FILL = """
import resource, sys
from datetime import date
from pathlib import Path
from sf_assets.storage.landing import Landing, Page, SnapshotKey
from sf_assets.storage.landing_disk import DiskLanding
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
log = DiskLanding(Path(sys.argv[1])).open(SnapshotKey(date(2026, 3, 4), "bob", "followers"))
log.begin("", "run-1")
body = b'{"filler": "%s"}' % (b"x" * 30_000)
for number in range(1, 10):
    try:
        log.add_page(Page(number, None, "2026-03-04T00:00:00Z", "req", 1, False, 1, body))
    except OSError:
        print(number)
        break
"""


def test_a_page_the_disk_had_no_room_for_is_no_page(landing: Landing) -> None:
    with python(FILL, landing.root) as other:
        told, _ = other.communicate()
    assert told == "4\n"
    assert landing.path(KEY).stat().st_size == 100_000  # a part of it was written
    assert landed(landing).attempts[0].pages == 3
    with opened(landing) as log:
        log.add_page(page(4))
        assert [one.number for one in log.pages()] == [1, 2, 3, 4]


# --- compressed -----------------------------------------------------------------------------------


def packed(landing: Landing, pages: int = 3) -> Path:
    """A landed list, compressed; returns its file."""
    path = write(landing, pages)
    assert landing.pack(KEY, (1, pages))
    assert not path.exists()
    return path.with_name("bob.jsonl.zst")


def test_a_compressed_list_reads_as_it_did_and_any_tool_reads_it(
    landing: Landing, tmp_path: Path
) -> None:
    path = write(landing, 3)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    lines, before = path.read_bytes(), landed(landing)
    assert landing.not_packed(DAY) == [KEY]
    assert landing.pack(KEY, (1, 3))
    (file,) = path.parent.iterdir()
    assert (file.name, stat.S_IMODE(file.stat().st_mode)) == ("bob.jsonl.zst", 0o600)
    after = landed(landing)
    assert (after.key, after.attempts) == (before.key, before.attempts)
    assert (after.modified, landing.modified(KEY)) == (1_700_000_000, 1_700_000_000)
    assert after.on_disk(tmp_path).read_bytes() == lines
    assert (landing.days(), landing.keys(DAY), landing.not_packed(DAY)) == ([DAY], [KEY], [])
    assert landing.unsettled(DAY, {KEY: "whenever"}) == []
    assert landing.unsettled(DAY, {}) == [KEY]
    with duckdb.connect() as con:
        rows = con.execute("SELECT kind FROM read_json(?)", [str(file)]).fetchall()
    assert rows == [("start",), ("page",), ("page",), ("page",), ("end",)]
    assert drop_days_before(landing, date(2026, 3, 5), keep=set()) == 1
    assert list(landing.root.iterdir()) == []


def test_what_is_torn_behind_the_end_is_not_compressed(landing: Landing, tmp_path: Path) -> None:
    path = write(landing, 2)
    lines = path.read_bytes()
    path.write_bytes(lines + b'{"crc":"0123')
    assert landing.pack(KEY, (1, 2))
    assert landed(landing).on_disk(tmp_path).read_bytes() == lines


@pytest.mark.parametrize(
    ("end", "archived"), [(None, (1, 2)), ("exhausted", (1, 1)), ("budget", (2, 2))]
)
def test_a_list_that_goes_on_or_is_not_archived_as_it_is_stays_plain(
    landing: Landing, end: str | None, archived: tuple[int, int]
) -> None:
    path = write(landing, 2, end)
    before = path.read_bytes()
    assert not landing.pack(KEY, archived)
    assert path.read_bytes() == before
    if end == "exhausted":
        with opened(landing) as log:
            assert not landing.pack(KEY, (1, 2))  # somebody holds it
            log.begin("refresh", "run-2")
        assert not landing.pack(KEY, (1, 2))


def test_a_compressed_list_goes_on_as_a_plain_one(landing: Landing) -> None:
    file = packed(landing)
    with opened(landing) as log:
        assert not file.exists()
        assert [one.number for one in log.pages()] == [1, 2, 3]
        log.begin("refresh", "run-2")
        log.add_page(page(1))
        log.finish("found", "exhausted", "run-2")
    assert len(landed(landing).attempts) == 2
    assert landing.pack(KEY, (2, 1))
    assert len(landed(landing).attempts) == 2


def test_of_both_forms_the_one_with_more_counts(landing: Landing, tmp_path: Path) -> None:
    """As when what another copy of the home has landed since is copied over."""
    file = packed(landing)
    older = file.read_bytes()
    with opened(landing) as log:
        log.begin("refresh", "run-2")
        log.add_page(page(1))
    for end in (None, "exhausted"):
        file.write_bytes(older)
        before = landed(landing).attempts
        assert len(before) == 2
        assert landing.pack(KEY, (2, 1)) is (end is not None)
        with opened(landing) as log:
            assert tuple(log.attempts) == before
            if end is None:
                log.finish("found", "exhausted", "run-2")


STEP = """
import sys
from datetime import date
from pathlib import Path
from sf_assets.model import SnapshotKey
from sf_assets.storage.landing_disk import DiskLanding
landing, key = DiskLanding(Path(sys.argv[1])), SnapshotKey(date(2026, 3, 4), "bob", "followers")
print("ready", flush=True)
if sys.argv[2] == "pack":
    landing.pack(key, (1, 3))
elif sys.argv[2] == "open":
    landing.open(key)
elif sys.argv[2] == "packs":
    while not sys.stdin.closed and not (Path(sys.argv[1]) / "stop").exists():
        number = len(landing.read(key).attempts)
        landing.pack(key, (number, 1))
"""


@pytest.mark.parametrize("step", ["landing_packing", "landing_packed", "landing_unpacked"])
def test_killed_between_any_two_steps_nothing_is_lost(
    landing: Landing, monkeypatch: pytest.MonkeyPatch, step: str, tmp_path: Path
) -> None:
    path = write(landing, 3)
    lines, before = path.read_bytes(), landed(landing).attempts
    if step == "landing_unpacked":
        landing.pack(KEY, (1, 3))
    with monkeypatch.context() as patched:
        patched.setenv("SF_ASSETS_CRASH_AT", step)
        patched.setenv("SOCIALFETCH_BASE_URL", "http://127.0.0.1:9")
        process = python(STEP, landing.root, "open" if step == "landing_unpacked" else "pack")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert landed(landing).attempts == before
    assert landing.not_packed(DAY) == [KEY]
    if step == "landing_unpacked":  # killed a moment earlier, while the plain file was filled
        for part in (lines[:100], bytes(len(lines)), lines[:200] + bytes(50)):
            path.write_bytes(part)
            assert landed(landing).attempts == before
    with opened(landing) as log:  # whoever comes by goes on with it
        assert tuple(log.attempts) == before
    assert landing.pack(KEY, (1, 3))
    assert [file.name for file in path.parent.iterdir()] == ["bob.jsonl.zst"]
    assert landed(landing).on_disk(tmp_path).read_bytes() == lines


def test_what_is_written_while_another_process_compresses_is_never_lost(landing: Landing) -> None:
    write(landing, 1)
    with python(STEP, landing.root, "packs") as other:
        assert other.stdout is not None
        other.stdout.readline()
        written = 1
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            log = landing.open(KEY)
            if log is not None:
                with log:
                    assert len(log.attempts) == written
                    log.begin("refresh", "run")
                    log.add_page(page(1))
                    log.finish("found", "exhausted", "run")
                written += 1
            assert len(landed(landing).attempts) == written
        (landing.root / "stop").touch()
        other.communicate()
    assert other.returncode == 0
    assert written > 10
    assert len(landed(landing).attempts) == written


@given(st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_compressed_list_is_never_read_as_fewer_pages(
    landing: Landing, data: st.DataObject
) -> None:
    key = some_key()
    path = write(landing, 4, key=key)
    before = landed(landing, key).attempts
    assert landing.pack(key, (1, 4))
    file = path.with_name(path.name + ".zst")
    body = bytearray(file.read_bytes())
    cut, bit = data.draw(st.booleans()), data.draw(st.integers(0, 7))
    at = data.draw(st.integers(0, 10_000)) % len(body)
    if cut:
        body = body[:at]
    else:
        body[at] ^= 1 << bit
    file.write_bytes(body)
    for act in (landing.read, landing.open):
        try:
            found = act(key)
        except LandingDamaged:
            assert file.read_bytes() == bytes(body)
        else:  # a bit that says nothing of the content
            assert found is not None
            assert tuple(found.attempts) == before
            return
