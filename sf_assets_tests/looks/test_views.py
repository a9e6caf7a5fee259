"""What the views say of two weeks whose truth is known, and that everything is documented."""

from __future__ import annotations

from sf_assets.cli.examples import examples, examples_text
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.looks.conftest import MONDAY, TUESDAY, WEEK_LATER


def test_mutuals_follow_and_are_followed(world: Pipeline) -> None:
    assert world.ask(
        "SELECT handle, account_handle, follows_since, followed_since FROM mutuals ORDER BY ALL"
    ) == [
        ("open", "fan.5", MONDAY, MONDAY),
        ("open", "fan.9", MONDAY, MONDAY),
        ("twin", "fan.3", MONDAY, MONDAY),
    ]


def test_a_lost_mutual_is_a_lost_follower_whom_we_follow(world: Pipeline) -> None:
    assert world.ask("SELECT * EXCLUDE (account_id) FROM lost_mutuals") == [
        ("open", TUESDAY, MONDAY, "fan.7", "confirmed", MONDAY, True)
    ]


def test_notable_are_the_verified_and_the_large(world: Pipeline) -> None:
    rows = world.ask(
        "SELECT account_handle, change, snapshot_date, verified FROM notable_changes "
        "WHERE relation = 'followers' ORDER BY account_handle"
    )
    assert rows[0] == ("fan.101", "gained", TUESDAY, True)
    assert [row[0] for row in rows[1:]] == [f"fan.{n}" for n in range(201, 210)]


def test_overlap_counts_followers_in_common_in_both_directions(world: Pipeline) -> None:
    rows = world.ask(
        "SELECT handle, other_handle, shared, listed, other_listed FROM audience_overlap "
        "WHERE 'shy' NOT IN (handle, other_handle) ORDER BY ALL"
    )
    assert rows == [("open", "twin", 9, 70, 10), ("twin", "open", 9, 10, 70)]


def test_retention_counts_nobody_as_lost_whose_loss_is_not_confirmed(world: Pipeline) -> None:
    cursor = "handle, week, weeks_after, gained, still_listed, lost, unknown, retention, at_risk"
    assert world.ask(f"SELECT {cursor} FROM weekly_retention") == [
        ("open", MONDAY, 1, 11, 10, 0, 1, 1.0, 10)
    ]


def test_tenure_says_where_it_is_a_lower_bound(world: Pipeline) -> None:
    assert world.ask(
        "SELECT account_handle, first_seen, last_seen, tenure_days, is_lower_bound "
        "FROM tenure_of_lost ORDER BY account_handle"
    ) == [("fan.7", MONDAY, MONDAY, 1, True)]


def test_every_table_and_column_says_what_it_means(world: Pipeline) -> None:
    for kind in ("views", "tables"):
        name = kind.removesuffix("s")
        assert not world.ask(
            f"SELECT {name}_name FROM duckdb_{kind}() "
            "WHERE schema_name = 'main' AND NOT internal AND comment IS NULL"
        )
    assert not world.ask(
        "SELECT table_name, column_name FROM duckdb_columns() "
        "WHERE schema_name = 'main' AND NOT internal AND comment IS NULL"
    )


def test_examples_are_printed_without_places() -> None:
    assert examples_text().count(";\n") == len(examples()) - 1
    assert not {"{", "}", " true"} & set(examples_text())


def test_a_week_after_the_loss_nobody_is_lost_again(world: Pipeline) -> None:
    assert world.ask(
        "SELECT account_handle, snapshot_date FROM follower_churn WHERE change = 'lost' "
        "ORDER BY snapshot_date"
    ) == [("fan.7", TUESDAY), ("fan.102", WEEK_LATER)]
