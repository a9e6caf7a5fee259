"""What is wrong with a home is found and named, and nothing is changed by looking."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sf_assets.storage.home import Home
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.warehouse.archive import archive_files
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.ledger import Balances, record_new_files, write_ledger
from sf_assets.warehouse.load import load
from sf_assets.warehouse.publish import publish
from sf_assets.warehouse.verify import verify
from sf_assets_tests.cli.shell import contents, run, use
from sf_assets_tests.homes import add_day, fill
from sf_assets_tests.lists import Told, on

CHECKS = ["archive", "landing", "warehouse", "snapshots", "published", "lists"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days; of the first one the landed pages are gone, as after a month. One balance."""
    home = fill(tmp_path_factory.mktemp("template") / "home", days=3)
    shutil.rmtree(home.landing / on(1).isoformat())
    balances = Balances("run", on(3), "2026-11-03T06:00:00.000Z", 100, 90, 9)
    write_ledger(home.archive, on(3), [], balances)
    with writing(home.warehouse) as con:
        record_new_files(con, home.archive, None)
    publish(home)
    return home.root


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Home:
    shutil.copytree(template, tmp_path / "home", symlinks=True)
    return Home(tmp_path / "home")


def held(home: Home) -> dict[str, bytes | None]:
    return {name: body for name, body in contents(home.root).items() if not name.endswith(".lock")}


def test_a_sound_home_has_no_problem_and_is_not_changed(home: Home) -> None:
    before = held(home)
    found = verify(home, full=True)
    assert [one.check for one in found] == [*CHECKS, "derived"]
    assert [one.problems for one in found] == [[]] * 7
    said = {one.check: one.says for one in found}
    assert said["archive"] == "3 files, 6 snapshots, 48 accounts"
    assert said["landing"] == "4 lists, 4 compared with the archive"
    assert said["snapshots"] == "6 loaded; the archive has all of them and their costs"
    assert said["published"] == "equal to the warehouse, byte for byte"
    assert held(home) == before


# --- what may be wrong ----------------------------------------------------------------------------


def first_file(home: Home) -> Path:
    return archive_files(home.archive)[0]


def spoiled_archive(home: Home) -> None:
    path = first_file(home)
    body = bytearray(path.read_bytes())
    body[100:200] = os.urandom(100)
    path.write_bytes(body)


def torn_archive(home: Home) -> None:
    path = first_file(home)
    path.write_bytes(path.read_bytes()[:-100])


def archive_without_an_account(home: Home) -> None:
    path = first_file(home)
    pq.write_table(pq.read_table(path).slice(1), path)


def archive_file_gone(home: Home) -> None:
    first_file(home).unlink()


def spoiled_balance(home: Home) -> None:
    path = next(home.archive.glob("day=*/*.ledger.json"))
    path.write_text(path.read_text()[:-10])


def spoiled_landing(home: Home) -> None:
    path = home.landing / on(2).isoformat() / "followers" / "nova.jsonl"
    path.write_bytes(path.read_bytes().replace(b"Fan 8", b"Fan 9", 1))


def other_landing(home: Home) -> None:
    (home.landing / on(2).isoformat() / "followers" / "nova.jsonl").unlink()
    Told(2, "nova", (99, *range(9, 2, -1))).land(DiskLanding(home.landing))


def changed(*statements: str) -> Callable[[Home], None]:
    """Changes the warehouse and publishes it so."""

    def change(home: Home) -> None:
        with writing(home.warehouse) as con:
            for statement in statements:
                con.execute(statement)
        publish(home)

    return change


def spoiled_warehouse(home: Home) -> None:
    with home.warehouse.open("r+b") as file:
        file.seek(12_288)
        file.write(os.urandom(home.warehouse.stat().st_size - 12_288))


def warehouse_gone(home: Home) -> None:
    home.warehouse.unlink()


def spoiled_publication(home: Home) -> None:
    path = home.published.resolve()
    path.chmod(0o600)
    path.write_bytes(os.urandom(path.stat().st_size))


def warehouse_of_the_day_before(home: Home) -> None:
    shutil.copy(fill(home.root.parent / "other", days=2).warehouse, home.warehouse)


@pytest.mark.parametrize(
    ("damage", "problems"),
    [
        (spoiled_archive, {"archive": "cannot be read"}),
        (torn_archive, {"archive": "cannot be read"}),
        (archive_without_an_account, {"archive": "8 accounts instead of 9"}),
        (archive_file_gone, {"snapshots": r"the archive file .* differs from the warehouse"}),
        (spoiled_balance, {"snapshots": r"ledger\.json cannot be read .* restore it"}),
        (spoiled_landing, {"landing": "damaged line"}),
        (other_landing, {"landing": "the archive differs from the landed pages"}),
        (
            changed("DELETE FROM internal.snapshots WHERE snapshot_date = DATE '2026-11-01'"),
            {"snapshots": "and not in the warehouse: run sf-assets rebuild"},
        ),
        (
            changed("UPDATE internal.snapshots SET reported_total = reported_total + 1"),
            {"snapshots": "the archive file .* differs from the warehouse"},
        ),
        (changed("DELETE FROM credit_ledger"), {"snapshots": "credits are not in the ledger"}),
        (changed("UPDATE credit_ledger SET retries = 7"), {"snapshots": "its cost differs"}),
        (changed("UPDATE credit_balances SET credits = 0"), {"snapshots": "the balance after"}),
        (
            changed("DELETE FROM internal.presences WHERE last_seen IS NULL"),
            {"lists": "accounts instead of .*: run sf-assets rebuild"},
        ),
        (
            changed("UPDATE internal.churn SET state = 'retracted'"),
            {"derived": r"internal\.churn differs from the archive: run sf-assets rebuild"},
        ),
        (
            changed("UPDATE internal.warehouse_format SET format = 99"),
            {"warehouse": "has format 99, this sf_assets .*: upgrade sf_assets"},
        ),
        (spoiled_warehouse, {"warehouse": "cannot be read .*: run sf-assets rebuild"}),
        (warehouse_gone, {"warehouse": "cannot be read .*: run sf-assets rebuild"}),
        (spoiled_publication, {"published": "the next snapshot publishes it again"}),
        (warehouse_of_the_day_before, {"published": "is published and not in the warehouse"}),
    ],
)
def test_what_is_wrong_is_found_by_its_check(
    home: Home, damage: Callable[[Home], None], problems: dict[str, str]
) -> None:
    damage(home)
    before = held(home)
    found = {one.check: one.problems for one in verify(home, full=True) if one.problems}
    if damage is warehouse_of_the_day_before:
        del found["snapshots"]  # other files of the same lists
    assert found.keys() == problems.keys(), found
    for check, said in problems.items():
        assert any(re.search(said, one) for one in found[check]), found
    assert held(home) == before


# --- what is not wrong ----------------------------------------------------------------------------


def test_what_is_under_way_is_no_problem(home: Home) -> None:
    """Landed, archived and loaded, not derived and not published yet."""
    landing = DiskLanding(home.landing)
    Told(4, "nova", (13, 12)).land(landing)
    late = Told(4, "nova", (13, 12), relation="following").land(landing)
    orphan = Told(5, "nova", (13, 12)).land(landing)
    load(lambda: writing(home.warehouse), home.archive, [late])
    with pytest.raises(RuntimeError, match="killed"):
        load(killed, home.archive, [orphan])
    found = {one.check: one for one in verify(home, full=True)}
    assert [one.problems for one in found.values()] == [[]] * 7
    assert found["snapshots"].says.endswith("1 landed and not loaded yet")
    assert found["published"].says.startswith("older than the warehouse")
    assert found["derived"].says == "not compared: 1 snapshots are not derived yet"


def killed() -> None:
    raise RuntimeError("killed between the archive and the load")


def test_a_home_without_a_day_has_nothing_wrong(tmp_path: Path) -> None:
    home = fill(tmp_path / "home", days=0)
    assert [one.problems for one in verify(home)] == [[], [], []]


def test_the_log_of_a_killed_writer_is_read_too_and_left(home: Home) -> None:
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import duckdb, os, sys; con = duckdb.connect(sys.argv[1]); "
            "con.execute('DELETE FROM credit_ledger'); os._exit(1)",
            str(home.warehouse),
        ]
    )
    before = held(home)
    assert "warehouse/sf_assets.duckdb.wal" in before
    (problems,) = [one.problems for one in verify(home) if one.problems]
    assert "credits are not in the ledger" in problems[0]
    assert held(home) == before


def test_a_home_of_a_longer_history_is_derived_to_the_same_tables(home: Home) -> None:
    """Day by day, with a day that came late: the order of loading does not matter."""
    for day in (7, 5, 6):
        add_day(home, day)
    assert [one.problems for one in verify(home, full=True)] == [[]] * 7


# --- as a command ---------------------------------------------------------------------------------


def test_the_command_ends_with_1_where_something_is_wrong(home: Home) -> None:
    use(home.root)
    said = run("verify", "--full")
    assert (said.code, said.err) == (0, "")
    assert [line.split()[1] for line in said.out.splitlines()] == [*CHECKS, "derived"]
    assert run("verify", "--quiet").out == ""
    spoiled_publication(home)
    assert run("verify", "--quiet").out.startswith("BAD  published ")
    said = run("verify", "--json")
    assert said.code == 1
    found = {one["check"]: one["ok"] for one in json.loads(said.out)}
    assert found == {check: check != "published" for check in CHECKS}


def test_where_no_home_is_the_command_ends_with_2(tmp_path: Path) -> None:
    use(tmp_path / "nowhere")
    said = run("verify")
    assert said.code == 2
    assert "is not a home: there is nothing to verify" in said.complaint
    assert list(tmp_path.iterdir()) == []


def test_a_warehouse_held_for_writing_is_named(home: Home) -> None:
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('held', flush=True); "
            "sys.stdin.read()",
            str(home.warehouse),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as tool:
        assert tool.stdin is not None
        assert tool.stdout is not None
        assert tool.stdout.readline() == b"held\n"
        use(home.root)
        said = run("verify")
        assert said.code == 1
        assert "open for writing; close it" in said.complaint
        tool.stdin.close()
