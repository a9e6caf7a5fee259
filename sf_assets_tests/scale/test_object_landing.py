"""Pages in an object store: landed one by one, whole or absent, and nobody locks anything."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from sf_assets.model import SnapshotKey
from sf_assets.storage import landing_objects
from sf_assets.storage.landing import (
    Landing,
    LandingBusy,
    SnapshotLog,
    drop_days_before,
    spent_on,
)
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.storage.landing_objects import ObjectLanding, ObjectLog
from sf_assets.storage.landings import landing_at
from sf_assets.storage.object_store import place
from sf_assets.storage.records import LandingDamaged, LandingTaken, Page

from .conftest import DAY1, DAY2, Far

pytestmark = pytest.mark.scale

KEY = SnapshotKey(DAY1, "nova", "followers")


@pytest.fixture
def landing(far: Far) -> ObjectLanding:
    made = landing_at(place(far.storage, "landing"))
    assert isinstance(made, ObjectLanding)
    return made


def page(number: int) -> Page:
    body = json.dumps({"data": {"page": number}}).encode()
    return Page(number, None, "2026-11-01T06:00:00Z", f"req_{number}", 1, False, 1, body)


def opened(landing: Landing, key: SnapshotKey = KEY) -> SnapshotLog:
    log = landing.open(key)
    assert log is not None
    return log


def patient(landing: ObjectLanding) -> ObjectLanding:
    """Another worker, who takes any list that is not finished for left alone."""
    return ObjectLanding(landing.root, lease_seconds=0)


def walk_on(log: SnapshotLog, pages: range, *, begin: bool = True) -> None:
    if begin:
        log.begin("", "run")
    for number in pages:
        log.add_page(page(number))
    log.finish("found", "exhausted", "run")
    log.make_durable()


def walk(landing: Landing, pages: int, key: SnapshotKey = KEY) -> None:
    with opened(landing, key) as log:
        walk_on(log, range(1, pages + 1))


def names(landing: ObjectLanding) -> list[str]:
    return [name.rsplit("/landing/", 1)[-1] for name in landing.fs.find(landing.base)]


def test_every_page_is_an_object_before_the_next_and_all_are_one_at_the_end(
    landing: ObjectLanding, tmp_path: Path
) -> None:
    folder = "2026-11-01/followers/nova.jsonl"
    with opened(landing) as log:
        log.begin("", "run")
        log.add_page(page(1))
        assert names(landing) == [f"{folder}.open/00000001", f"{folder}.open/00000002"]
        log.add_page(page(2))
        log.finish("found", "exhausted", "run")
        log.make_durable()
    assert names(landing) == [f"{folder}.zst"]
    landed = landing.read(KEY)
    assert landed is not None
    assert landed.finished
    assert (landed.attempts[0].pages, landed.credits) == (2, 2)
    # Its bytes are a file of the landing on disk.
    copy = DiskLanding(tmp_path).path(KEY)
    copy.parent.mkdir(parents=True)
    landed.on_disk(tmp_path).rename(copy)
    on_disk = DiskLanding(tmp_path).read(KEY)
    assert on_disk is not None
    assert on_disk.attempts == landed.attempts
    assert landing.days() == [DAY1]
    assert landing.keys(DAY1) == [KEY]


def test_who_goes_on_has_all_the_pages_that_were_landed(
    landing: ObjectLanding, request: pytest.FixtureRequest
) -> None:
    log = opened(landing)
    request.addfinalizer(log.close)
    log.begin("", "run")
    log.add_page(page(1))
    log.add_page(page(2))
    with opened(patient(landing)) as later:
        assert [one.body for one in later.pages()] == [page(1).body, page(2).body]
        later.add_page(page(3))
        later.finish("found", "exhausted", "later")
        later.make_durable()
    landed = landing.read(KEY)
    assert landed is not None
    assert (len(landed.attempts), landed.attempts[0].pages, landed.credits) == (1, 3, 3)


def test_a_list_that_is_being_read_is_waited_for(landing: ObjectLanding) -> None:
    with opened(landing) as log:
        log.begin("", "run")
        assert ObjectLanding(landing.root).open(KEY) is None
        assert landing.open(KEY) is None
        log.finish("private", None, "run")
        log.make_durable()
    with opened(ObjectLanding(landing.root)) as later:
        assert later.finished


def test_of_two_who_begin_at_once_one_is_told(landing: ObjectLanding) -> None:
    with opened(landing) as one, opened(ObjectLanding(landing.root)) as other:
        one.begin("", "one")
        with pytest.raises(LandingTaken):
            other.begin("", "other")
    landed = landing.read(KEY)
    assert landed is not None
    assert [attempt.run_id for attempt in landed.attempts] == ["one"]


def test_who_was_slow_and_taken_for_dead_writes_nothing_more(landing: ObjectLanding) -> None:
    slow = opened(landing)
    slow.begin("", "slow")
    slow.add_page(page(1))
    with opened(patient(landing)) as quick:
        with pytest.raises(LandingTaken):
            slow.add_page(page(2))
        quick.add_page(page(2))
        quick.finish("found", "exhausted", "quick")
        quick.make_durable()
    landed = landing.read(KEY)
    assert landed is not None
    assert (landed.credits, landed.attempts[0].pages) == (2, 2)


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("begun", [False, True])
def test_who_was_slow_notices_that_another_one_finished_the_list(
    landing: ObjectLanding, monkeypatch: pytest.MonkeyPatch, begun: bool, whole: bool, batch: bool
) -> None:
    monkeypatch.setattr(landing_objects, "BEGIN_SECONDS", 0)
    if whole:
        walk(landing, 2)
    slow = opened(ObjectLanding(landing.root, lease_seconds=0, batch=batch))
    if begun:
        slow.begin("", "slow")
        slow.add_page(page(1))
    with opened(patient(landing)) as other:  # its records are one object in the end
        walk_on(other, range(1, 6), begin=not begun)
    before, there = landing.read(KEY), names(landing)
    with pytest.raises(LandingTaken):
        walk_on(slow, range(2, 8), begin=not begun)
    after = landing.read(KEY)
    assert before is not None
    assert after is not None
    assert (after.attempts, names(landing)) == (before.attempts, there)


def test_who_was_slow_does_not_finish_a_list_that_another_one_continues(
    landing: ObjectLanding,
) -> None:
    slow = opened(ObjectLanding(landing.root, lease_seconds=0, batch=True))
    slow.begin("", "slow")
    slow.add_page(page(1))
    with opened(patient(landing)) as other:
        other.add_page(page(1))
        slow.finish("found", "exhausted", "slow")
        with pytest.raises(LandingTaken):
            slow.make_durable()
        other.add_page(page(2))
        other.finish("found", "exhausted", "other")
        other.make_durable()
    landed = landing.read(KEY)
    assert landed is not None
    assert [(one.run_id, one.pages) for one in landed.attempts] == [("slow", 2)]
    assert len(names(landing)) == 1


def test_a_record_that_goes_while_its_number_is_found_taken(
    landing: ObjectLanding, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = opened(landing)
    walk(patient(landing), 2)

    def taken(*_: object, **__: object) -> None:
        raise FileExistsError

    # Its number is taken when it asks, and the record is removed before it is read.
    with monkeypatch.context() as during:
        during.setattr(landing.fs._fs, "pipe_file", taken)
        with pytest.raises(LandingTaken):
            slow.begin("", "slow")
    landed = landing.read(KEY)
    assert landed is not None
    assert len(landed.attempts) == 1


def test_a_page_that_could_not_be_put_is_counted(
    landing: ObjectLanding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing_objects, "BATCH_RECORDS", 3)
    batched = ObjectLanding(landing.root, tmp_path, batch=True)

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("cannot reach")

    with opened(batched) as log:
        log.begin("", "run")
        log.add_page(page(1))
        with monkeypatch.context() as during:
            during.setattr(batched.fs._fs, "pipe_file", unreachable)
            log.add_page(page(2))
            with pytest.raises(OSError, match="cannot reach"):
                log.add_page(page(3))
    with opened(batched) as log:
        assert log.attempts[-1].pages == 3
        assert [one.number for one in log.pages()] == [1, 2, 3]
    batched.tidy()
    landed = landing.read(KEY)
    assert landed is not None
    assert landed.credits == 3


def test_killed_while_the_records_become_one_object_nothing_is_there_twice(
    landing: ObjectLanding,
) -> None:
    with opened(landing) as log:
        log.begin("", "run")
        for number in (1, 2, 3):
            log.add_page(page(number))
        log.finish("found", "exhausted", "run")
    records = {name: landing.fs.cat_file(name) for name in landing.fs.find(landing.base)}
    before = landing.read(KEY)
    with opened(landing) as log:
        log.make_durable()
    # As if it had died with only some of them removed.
    for name, record in list(records.items())[1:]:
        landing.fs.pipe_file(name, record)
    after = landing.read(KEY)
    assert before is not None
    assert after is not None
    assert after.attempts == before.attempts
    # A list that is walked again goes on behind them.
    with opened(landing) as log:
        log.begin("again", "again")
        log.add_page(page(1))
        log.finish("found", "exhausted", "again")
        log.make_durable()
    again = landing.read(KEY)
    assert again is not None
    assert [attempt.pages for attempt in again.attempts] == [3, 1]


def test_a_list_that_becomes_one_object_while_it_is_looked_at_is_read_all_the_same(
    landing: ObjectLanding, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(landing) as log:
        log.begin("", "run")
        log.add_page(page(1))
        log.finish("found", "exhausted", "run")
        other = ObjectLanding(landing.root)
        find, looked = other._find, []

        def listed_just_before(key: SnapshotKey) -> object:
            found = find(key)
            if not looked:
                log.make_durable()
            looked.append(found)
            return found

        monkeypatch.setattr(other, "_find", listed_just_before)
        landed = other.read(KEY)
    assert len(looked) == 2
    assert landed is not None
    assert landed.finished


def test_a_damaged_or_missing_record_is_named_and_nothing_is_used(landing: ObjectLanding) -> None:
    with opened(landing) as log:
        log.begin("", "run")
        log.add_page(page(1))
        log.add_page(page(2))
    second = f"{landing.base}/2026-11-01/followers/nova.jsonl.open/00000002"
    record = landing.fs.cat_file(second)
    landing.fs.pipe_file(second, record.replace(b"req_1", b"req_7"))
    with pytest.raises(LandingDamaged, match="nova"):
        landing.read(KEY)
    landing.fs.rm(second)
    with pytest.raises(LandingDamaged, match="record 2 is missing"):
        landing.read(KEY)


def test_an_object_of_an_older_version_is_read_and_goes_on(
    landing: ObjectLanding, tmp_path: Path
) -> None:
    walk(landing, 2)
    (name,) = landing.fs.find(landing.base)
    before = landing.read(KEY)
    assert before is not None
    lines = before.on_disk(tmp_path).read_bytes()
    landing.fs.pipe_file(name.removesuffix(".zst"), lines)
    both = landing.read(KEY)
    landing.fs.rm(name)
    alone = landing.read(KEY)
    assert both is not None
    assert alone is not None
    assert before.attempts == both.attempts == alone.attempts
    assert alone.on_disk(tmp_path).read_bytes() == lines
    walk(landing, 1)
    assert landing.fs.find(landing.base) == [name]
    after = landing.read(KEY)
    assert after is not None
    assert [attempt.pages for attempt in after.attempts] == [2, 1]
    landing.fs.pipe_file(name, landing.fs.cat_file(name)[:-9])
    with pytest.raises(LandingDamaged, match="damaged"):
        landing.read(KEY)


def test_old_days_go_with_all_their_objects(landing: ObjectLanding) -> None:
    walk(landing, 2)
    kept = SnapshotKey(date(2026, 10, 1), "kept", "following")
    walk(landing, 1, kept)
    walk(landing, 1, SnapshotKey(DAY2, "nova", "followers"))
    landing.quarantine(KEY, 1, "odd", b"{}")
    assert drop_days_before(landing, DAY2, {kept}) == 1
    assert names(landing) == [
        "2026-10-01/following/kept.jsonl.zst",
        "2026-11-02/followers/nova.jsonl.zst",
    ]


def test_handles_that_begin_alike_are_kept_apart(landing: ObjectLanding) -> None:
    for handle in ("nova", "nova.jsonl", "nova.jsonl.zst", "nova.jsonl.open", "nov"):
        walk(landing, 1, SnapshotKey(DAY1, handle, "followers"))
    for handle in ("nova", "nova.jsonl", "nova.jsonl.zst", "nova.jsonl.open", "nov"):
        landed = landing.read(SnapshotKey(DAY1, handle, "followers"))
        assert landed is not None, handle
        assert landed.credits == 1
    assert len(landing.keys(DAY1)) == 5


def test_a_list_that_was_left_for_a_while_is_gone_on_with_at_once(landing: ObjectLanding) -> None:
    with opened(landing) as log:
        log.begin("", "run")
        log.add_page(page(1))
    assert ObjectLanding(landing.root).open(KEY) is None, "another worker waits for the lease"
    with opened(landing) as log:
        assert [one.body for one in log.pages()] == [page(1).body]
        log.add_page(page(2))
    with opened(patient(landing)) as other:
        other.add_page(page(3))
        assert landing.open(KEY) is None, "somebody has come by since it was left"


def test_lists_are_looked_up_together_in_their_order(landing: ObjectLanding) -> None:
    keys = [SnapshotKey(DAY1, f"h{number:02d}", "followers") for number in range(40)]
    for key in keys[::2]:
        walk(landing, 1, key)
    broken = f"{landing.base}/2026-11-01/followers/h07.jsonl"
    landing.fs.pipe_file(broken, b"not a record\n")
    found = list(landing.read_each(keys))
    assert [key for key, _ in found] == keys
    assert [key for key, one in found if isinstance(one, LandingDamaged)] == [keys[7]]
    assert [key for key, one in found if one is None] == [k for k in keys[1::2] if k != keys[7]]
    assert spent_on(landing, DAY1) == 20


# With `batch` pages are in the spool of this machine first.


def batched(landing: ObjectLanding, folder: Path) -> ObjectLanding:
    """A landing of a process on the machine that has this folder."""
    return ObjectLanding(landing.root, folder, batch=True)


def test_a_batch_is_few_objects_and_the_lines_are_the_same(
    landing: ObjectLanding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing_objects, "BATCH_RECORDS", 4)
    folder = "2026-11-01/followers/nova.jsonl"
    here = batched(landing, tmp_path)
    with opened(here) as log:
        log.begin("", "run")
        for number in range(1, 7):
            log.add_page(page(number))
        assert names(landing) == [f"{folder}.open/00000001", f"{folder}.open/00000002"]
        seen = landing.read(KEY)
        assert seen is not None
        assert seen.attempts[0].pages == 4
        log.finish("found", "exhausted", "run")
        log.make_durable()
        own = log.landed()
    here.tidy()
    assert names(landing) == [f"{folder}.zst"]
    assert list((tmp_path / "spool").rglob("*.jsonl*")) == []
    landed = landing.read(KEY)
    assert landed is not None
    assert landed.attempts[0].pages == 6
    assert landed.on_disk(tmp_path).read_bytes() == own.on_disk(tmp_path).read_bytes()


def test_a_list_that_is_let_go_of_waits_for_more_in_a_batch(
    landing: ObjectLanding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = "2026-11-01/followers/nova.jsonl.open"
    here = batched(landing, tmp_path)
    with opened(here) as log:
        log.begin("", "run")
        log.add_page(page(1))
    assert names(landing) == [f"{folder}/00000001"], "the start alone, which tells the others"
    with opened(here) as log:
        assert [one.number for one in log.pages()] == [1]
        log.add_page(page(2))
    monkeypatch.setattr(landing_objects, "BATCH_SECONDS", 0.0)
    with opened(here) as log:
        assert names(landing) == [f"{folder}/00000001", f"{folder}/00000002"], "it waited long"
        log.add_page(page(3))
    here.tidy()
    landed = landing.read(KEY)
    assert landed is not None
    assert (landed.attempts[0].pages, len(landed.attempts)) == (3, 1)
    assert list((tmp_path / "spool").rglob("*.jsonl*")) == []


def test_a_process_that_died_left_its_pages_on_its_machine(
    landing: ObjectLanding, tmp_path: Path
) -> None:
    command = f"""
import os, signal
from sf_assets_tests.scale.test_object_landing import *
landing = batched(landing_at(place({str(landing.root)!r})), Path({str(tmp_path)!r}))
log = opened(landing)
log.begin("", "run")
for number in (1, 2, 3):
    log.add_page(page(number))
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-W", "ignore", "-c", command], timeout=60)
    assert killed.returncode == -9
    before = landing.read(KEY)
    assert before is not None
    assert before.attempts[0].pages == 0
    assert ObjectLanding(landing.root).open(KEY) is None, "another machine waits for the lease"
    here = batched(landing, tmp_path)
    with opened(here) as log:
        assert [one.body for one in log.pages()] == [page(n).body for n in (1, 2, 3)]
        log.add_page(page(4))
    here.tidy()
    after = landing.read(KEY)
    assert after is not None
    assert (after.attempts[0].pages, after.credits, len(after.attempts)) == (4, 4, 1)


def test_what_a_dead_process_left_is_put_by_the_next_run_whatever_that_reads(
    landing: ObjectLanding, tmp_path: Path
) -> None:
    here = batched(landing, tmp_path)
    log = opened(here)
    assert isinstance(log, ObjectLog)
    log.begin("", "run")
    log.add_page(page(1))
    assert batched(landing, tmp_path).send_spooled() == 0, "a process holds it"
    log._near.close()  # as the system does for a process that is gone
    assert batched(landing, tmp_path).send_spooled() == 1
    landed = landing.read(KEY)
    assert landed is not None
    assert landed.attempts[0].pages == 1


def leave_a_page(landing: ObjectLanding, folder: Path) -> None:
    """A process of the machine of this folder is killed before it uploads its page."""
    log = opened(batched(landing, folder))
    assert isinstance(log, ObjectLog)
    log.begin("", "run")
    log.add_page(page(1))
    log._near.close()


def test_of_a_machine_that_died_what_it_had_not_put_is_dropped_when_it_is_back(
    landing: ObjectLanding, tmp_path: Path
) -> None:
    leave_a_page(landing, tmp_path)
    with opened(patient(landing)) as other:
        other.add_page(page(1))
        other.add_page(page(2))
    with opened(ObjectLanding(landing.root, tmp_path, 0, batch=True)) as back:
        assert [one.number for one in back.pages()] == [1, 2]
    landed = landing.read(KEY)
    assert landed is not None
    assert landed.credits == 2


def test_what_was_not_put_is_rewritten_with_the_rest(
    landing: ObjectLanding, tmp_path: Path
) -> None:
    log = opened(batched(landing, tmp_path))
    assert isinstance(log, ObjectLog)
    log.begin("", "run")
    log.add_page(page(1))
    with pytest.raises(LandingBusy):
        batched(landing, tmp_path).rewrite(KEY, lambda body: b"{}", lambda body: body)
    log._near.close()
    assert batched(landing, tmp_path).rewrite(KEY, lambda body: b"{}", lambda body: body)
    with opened(patient(landing)) as later:
        assert [one.body for one in later.pages()] == [b"{}"]


@pytest.mark.parametrize("door", [False, True])
def test_a_damaged_list_in_the_spool_does_not_keep_the_later_ones(
    landing: ObjectLanding, tmp_path: Path, door: bool
) -> None:
    keys = [SnapshotKey(DAY1, handle, "followers") for handle in ("alice", "nova", "zoe")]
    here = batched(landing, tmp_path)
    for key in keys:
        log = opened(here, key)
        assert isinstance(log, ObjectLog)
        log.begin("", "run")
        log.add_page(page(1))
        log.add_page(page(2))
        log._near.close()
    first = here.spool.path(keys[0])
    first.write_bytes(first.read_bytes().replace(b"req_1", b"req_7"))
    with pytest.raises(LandingDamaged, match="alice"):
        batched(landing, tmp_path).send_spooled((lambda key: empty_page) if door else None)
    for key in keys[1:]:
        landed = landing.read(key)
        assert landed is not None
        assert landed.attempts[0].pages == 2
    assert first.exists()


def empty_page(body: bytes) -> bytes:
    return b"{}"


def test_a_machine_that_is_back_late_does_not_keep_a_removed_day(
    landing: ObjectLanding, tmp_path: Path
) -> None:
    leave_a_page(landing, tmp_path)
    assert drop_days_before(ObjectLanding(landing.root), DAY2, set()) == 1
    assert names(landing) == []
    back = batched(landing, tmp_path)
    assert back.send_spooled() == 1
    assert drop_days_before(back, DAY2, set()) == 1, "the same run removes it after loading"
    assert names(landing) == []


def test_a_response_in_quarantine_is_put_again_if_s3_asks_for_it(
    landing: ObjectLanding, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, refused = landing.fs._fs.pipe_file, []

    def conflict_first(*values: object, **named: object) -> None:
        if not refused:
            refused.append(1)
            raise OSError("again") from RuntimeError("ConditionalRequestConflict")
        put(*values, **named)

    monkeypatch.setattr(landing.fs._fs, "pipe_file", conflict_first)
    landing.quarantine(KEY, 1, "odd", b"{}")
    assert refused
    assert len(names(landing)) == 1
