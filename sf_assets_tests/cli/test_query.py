"""query: the published file as tables, JSON, CSV and Parquet."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from sf_assets.cli import main
from sf_assets.cli.examples import examples
from sf_assets_tests.cli.shell import DAY, Said, child, contents, environment, run, use
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.served_lists import KEY, ListServer, account


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one snapshot of one list."""
    before = dict(os.environ)
    root = tmp_path_factory.mktemp("query") / "home"
    with ListServer() as server:
        server.set("nasa", "followers", [account(n) for n in range(3, 0, -1)])
        pipeline = Pipeline(root, server.url, KEY, DAY)
        pipeline.track("nasa", relations=["followers"])
        pipeline.snapshot(DAY, "nasa", relations=["followers"])
    os.environ.clear()
    os.environ.update(before)
    return root


@pytest.fixture
def home(published: Path) -> Path:
    return use(published)


def query(*arguments: str) -> Said:
    return run("query", *arguments)


def test_without_sql_the_tables_and_macros_are_listed_with_their_meanings(home: Path) -> None:
    said = query()
    assert said.code == 0
    first, *lines = said.out.splitlines()
    assert first.split("  ")[0] == "name"
    meanings = dict(line.split("  ", 1) for line in lines)
    assert meanings["follower_churn"].strip() == "one proved change of a follower list"
    assert {
        *("snapshots", "follower_snapshots", "following_snapshots", "memberships", "accounts"),
        *("follower_churn", "following_churn", "follower_growth", "status_changes"),
        *("followers_on(handle, day)", "following_on(handle, day)"),
        "churn_between(handle, from_day, to_day)",
    } <= meanings.keys()
    assert all(meaning.strip() for meaning in meanings.values())


def test_every_macro_that_is_listed_can_be_asked(home: Path) -> None:
    assert query(f"SELECT count(*) FROM followers_on('nasa', DATE '{DAY}')").code == 0
    assert query(f"SELECT count(*) FROM following_on('nasa', DATE '{DAY}')").code == 0
    assert query(f"FROM churn_between('nasa', DATE '{DAY}', DATE '{DAY}')").code == 0


def test_off_a_terminal_no_column_and_no_value_is_left_out(home: Path, tmp_path: Path) -> None:
    long = "x" * 500
    said = child("query", f"SELECT *, '{long}' AS long FROM snapshots", cwd=tmp_path)
    assert said.code == 0
    for column in ("relation", "completeness", "reported_total", "started_at", "run_id"):
        assert column in said.out
    assert long in said.out
    assert "…" not in said.out


def test_json_holds_dates_and_nested_values(home: Path) -> None:
    said = query("--json", f"SELECT DATE '{DAY}' AS day, {{'a': [1, 2]}} AS nested, NULL AS none")
    assert json.loads(said.out) == [{"day": str(DAY), "nested": {"a": [1, 2]}, "none": None}]
    assert json.loads(query("--json", "FROM snapshots WHERE false").out) == []
    assert len(json.loads(query("--json").out)) >= 12


def test_csv_has_a_header_and_quotes_what_needs_it(home: Path) -> None:
    said = query("--csv", "SELECT 'a,b' AS text, 1 AS number; -- and a comment")
    assert list(csv.reader(io.StringIO(said.out))) == [["text", "number"], ["a,b", "1"]]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\uff1d1"])
def test_no_cell_of_csv_is_a_formula_and_json_has_names_as_they_are(home: Path, name: str) -> None:
    sql = f"SELECT '{name}' AS name, -1 AS number, 'a{name}' AS same, ['{name}'] AS list, NULL"
    header, row = csv.reader(io.StringIO(query("--csv", sql).out))
    assert header[:4] == ["name", "number", "same", "list"]
    assert row[:3] == [f"'{name}", "-1", f"a{name}"]
    assert json.loads(query("--json", sql).out)[0]["name"] == name


def test_columns_of_one_name_stay_columns_of_csv(home: Path) -> None:
    said = query("--csv", "SELECT a.handle, b.handle FROM snapshots AS a, snapshots AS b")
    assert list(csv.reader(io.StringIO(said.out)))[1] == ["nasa", "nasa"]


def test_a_table_shows_what_a_terminal_would_obey(home: Path) -> None:
    names = ["\x1b[2J", "\x9b2J", "\u202egnp.exe", "tab\there", "name\u0301 \U0001f600"]
    rows = ", ".join(f"('{name}')" for name in names)
    said = query(f"FROM (VALUES {rows}) AS strangers(name)").out
    assert not set("\x1b\x9b\u202e") & set(said)
    for shown in ("\\e[2J", "\ufffd2J", "\ufffdgnp.exe", "name\u0301 \U0001f600"):
        assert shown in said


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such terminal")
@pytest.mark.parametrize("form", ["--csv", "--json"])
def test_on_a_terminal_no_form_moves_the_cursor(home: Path, tmp_path: Path, form: str) -> None:
    import pty

    ours, its = pty.openpty()
    sql = "SELECT '\x1b[2J \x9b2J' AS name"
    with subprocess.Popen(
        [sys.executable, "-m", "sf_assets", "query", sql, form],
        env=environment(),
        cwd=tmp_path,
        stdin=its,
        stdout=its,
    ) as process:
        assert process.wait(timeout=60) == 0
    shown = os.read(ours, 65_536).decode()
    os.close(its)
    os.close(ours)
    assert "2J" in shown
    assert not set("\x1b\x9b") & set(shown)


def test_parquet_can_be_read_again(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "it's.parquet"
    said = query("--parquet", str(path), "SELECT handle, snapshot_date FROM snapshots")
    assert (said.code, said.out, said.err) == (0, "", f"written to {path}\n")
    assert duckdb.read_parquet(str(path)).fetchall() == [("nasa", DAY)]


def test_a_parquet_file_that_cannot_be_written_is_told(home: Path, tmp_path: Path) -> None:
    said = query("--parquet", str(tmp_path / "nowhere" / "a.parquet"), "FROM snapshots")
    assert said.code == 2
    assert "nowhere" in said.complaint


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("FROM snapshotz", 'Did you mean "snapshots"?'),
        ("SELECT handel FROM snapshots", 'Candidate bindings: "handle"'),
        ("SELECT 1,\nFRM\n+ x y z", "(line 3)"),
        ("SELECT CAST(handle AS DATE) FROM snapshots", "nasa"),
    ],
)
@pytest.mark.parametrize("form", ["", "--json", "--csv"])
def test_wrong_sql_is_one_sentence(home: Path, sql: str, says: str, form: str) -> None:
    said = query(sql, *([form] if form else []))
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert says in said.complaint


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM internal.snapshots",
        "UPDATE internal.snapshots SET listed = 0",
        "DROP TABLE main.status_changes",
        "CREATE TABLE mine AS SELECT 1",
    ],
)
def test_the_published_file_cannot_be_written(home: Path, sql: str) -> None:
    before = contents(home)
    said = query(sql)
    assert said.code == 2
    assert "read-only" in said.complaint
    assert contents(home) == before
    assert not stat.S_IMODE((home / "sf_assets.duckdb").stat().st_mode) & 0o222


def test_two_forms_at_once_are_refused(home: Path, tmp_path: Path) -> None:
    for forms in (("--json", "--csv"), ("--csv", "--parquet", str(tmp_path / "a"))):
        said = query("SELECT 1", *forms)
        assert said.code == 2
        assert "choose one of --json, --csv, --parquet and --xlsx" in said.err
    assert not (tmp_path / "a").exists()


def test_before_the_first_snapshot_the_next_step_is_told(tmp_path: Path) -> None:
    use(tmp_path / "none")
    said = query("FROM snapshots")
    assert said.code == 2
    assert "the first snapshot creates it (sf-assets snapshot)" in said.complaint
    assert not (tmp_path / "none").exists()


def test_in_the_sandbox_answers_are_the_same_in_every_form(home: Path, tmp_path: Path) -> None:
    sql = (
        "SELECT account_handle, 1.5 AS n, [1, 2] AS l FROM followers_on('nasa', DATE '2026-11-01')"
    )
    for form in ([], ["--json"], ["--csv"]):
        free = query(*form, sql)
        assert free.code == 0
        assert query("--sandbox", *form, sql) == free
    parquet = tmp_path / "answer.parquet"
    assert query("--sandbox", "--parquet", str(parquet), sql).code == 0
    assert duckdb.sql(f"SELECT count(*) FROM '{parquet}'").fetchall() == [(3,)]
    assert stat.S_IMODE(parquet.stat().st_mode) == 0o600
    assert query("--sandbox") == query()


@pytest.mark.parametrize(
    "sql",
    [
        "FROM '{secret}'",
        "FROM read_text('{secret}')",
        "FROM glob('/*')",
        "FROM 'http://127.0.0.1:9/x.csv'",
        "COPY snapshots TO '{written}'",
        "EXPORT DATABASE '{written}'",
        "ATTACH '{written}' AS other",
        "INSTALL httpfs",
        "LOAD '{secret}'",
        "CREATE PERSISTENT SECRET s (TYPE s3)",
        "SET enable_external_access = true",
        "RESET allowed_directories",
        "SET lock_configuration = false; FROM read_text('{secret}')",
        "SET profiling_output = '{written}'",
        "SET temp_directory = '{written}'",
        "CREATE TABLE t AS SELECT 1",
    ],
)
def test_in_the_sandbox_sql_reaches_nothing_but_the_published_file(
    home: Path, tmp_path: Path, sql: str
) -> None:
    secret, written = tmp_path / "secret.csv", tmp_path / "written"
    secret.write_text("hush,hush\n1,2\n", encoding="utf-8")
    before = contents(tmp_path)
    for form in ([], ["--json"]):
        said = query("--sandbox", *form, sql.format(secret=secret, written=written))
        assert said.code == 2
        assert said.complaint.startswith("sf-assets: query: ")
        assert "hush" not in said.out
    assert contents(tmp_path) == before


def test_the_sandbox_is_refused_for_a_lake(home: Path) -> None:
    os.environ["SF_ASSETS_WAREHOUSE"] = "ducklake:catalog.ducklake"
    assert "--sandbox does not work with a lake" in query("--sandbox", "SELECT 1").complaint


def test_a_sheet_has_text_dates_and_numbers_and_no_formula(home: Path, tmp_path: Path) -> None:
    made = tmp_path / "answer.xlsx"
    asked = (
        f"SELECT '=1+1' AS text, DATE '{DAY}' AS day, 7 AS number, 7000000000000000001 AS long, "
        "['a'] AS list, NULL AS none, 'https://evil.test' AS link"
    )
    assert query(asked, "--xlsx", str(made)).code == 0
    with zipfile.ZipFile(made) as parts:
        sheet = parts.read("xl/worksheets/sheet1.xml").decode()
        kinds = re.findall(r'<c r="([A-G]2)"(?: s="\d")?(?: t="(\w+)")?>(.*?)</c>', sheet)
    assert [(cell, kind) for cell, kind, _ in kinds] == [
        *(("A2", "inlineStr"), ("B2", ""), ("C2", ""), ("D2", "inlineStr"), ("E2", "inlineStr")),
        ("G2", "inlineStr"),
    ]
    assert "<f>" not in sheet
    assert "hyperlink" not in sheet
    assert ">7000000000000000001<" in kinds[3][2]  # a number of a sheet has 15 digits
    hostile = ["=1+1", "+1", "-1", "@SUM(A1)", "{=1}", "\t=1", "\uff1d1", "1e3", "=HYPERLINK(1)"]
    columns = ", ".join(f"'{one}' AS \"{one}\"" for one in hostile)
    assert query(f"SELECT {columns}", "--xlsx", str(made)).code == 0
    with zipfile.ZipFile(made) as parts:
        sheet = parts.read("xl/worksheets/sheet1.xml").decode()
    assert sheet.count('t="inlineStr"') == sheet.count("<c ") == 2 * len(hostile)
    assert "<f>" not in sheet


def test_a_named_question_takes_handles_tags_and_days(home: Path) -> None:
    listed = query("--example").out.splitlines()[1:]
    assert len(listed) == len(examples())
    assert query("--example", "growth", "--handle", "@NASA", "--days", "2", "--json").code == 0
    (row,) = json.loads(query("--example", "growth", "--json").out)
    assert row["handle"] == "nasa"
    (home / "handles.yaml").write_text("handles:\n  nasa: {tags: [space]}\n", encoding="utf-8")
    for one in examples():
        assert query("--example", one.name, "--tag", "space").code == 0, one.name
    for words, complaint in (
        (["--example", "grwth"], "no example is called 'grwth'; did you mean growth?"),
        (["--example", "reach", "--handle", "nasa"], "the example reach does not take --handle"),
        (
            ["--example", "growth", "--handle", "nsa"],
            "nsa is not tracked and has no snapshots; did you mean nasa?",
        ),
        (["--example", "growth", "--tag", "x"], "no handle in handles.yaml has the tag 'x'"),
        (["--example", "groups", "--tag", "x"], "no handle in handles.yaml has the tag 'x'"),
    ):
        said = query(*words)
        assert said.code == 2
        assert complaint in said.complaint
    for words in (["--handle", "nasa"], ["--example", "growth", "SELECT 1"]):
        assert query(*words).code == 2


@pytest.mark.parametrize("charset", ["latin-1", "cp1252"])
@pytest.mark.parametrize(
    "words",
    [
        ["query"],
        ["query", "--examples"],
        ["query", "SELECT 'ü € 名前' AS \"name…\""],
        ["query", "FROM nowhere_名前"],
        ["query", "--help"],
        ["up", "--help"],
        ["simulate", "--help"],
        ["handles"],
        ["handles", "--json"],
        ["alerts"],
        ["doctor"],
        ["report", "-o", "名前.html"],
        ["track", "名前"],
        ["名前"],
    ],
    ids=" ".join,
)
def test_no_command_fails_for_what_the_terminal_cannot_show(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, charset: str, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    use(published, url="http://127.0.0.1:9", key=KEY)
    wide, narrow = (
        CliRunner(charset=one).invoke(main, words, prog_name="sf-assets")
        for one in ("utf-8", charset)
    )
    for result in (wide, narrow):
        assert result.exception is None or isinstance(result.exception, SystemExit)
    assert narrow.exit_code == wide.exit_code
    if words != ["doctor"]:  # which says how long something took
        assert narrow.stdout == wide.stdout.encode(charset, "replace").decode(charset)
        assert narrow.stderr == wide.stderr.encode(charset, "backslashreplace").decode(charset)


def test_the_encoding_of_the_environment_is_kept_where_it_can_show_everything(
    home: Path, tmp_path: Path
) -> None:
    for encoding, shown in (
        ("latin-1", "?"),
        ("utf-8", "│"),
        ("latin-1:xmlcharrefreplace", "&#9474;"),
    ):
        said = child("query", "SELECT 1 AS n", cwd=tmp_path, PYTHONIOENCODING=encoding)
        assert (said.code, said.err) == (0, "")
        assert f"{shown}   n   {shown}" in said.out
