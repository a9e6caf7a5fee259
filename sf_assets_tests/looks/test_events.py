"""What the Dagster UI is told of each day, and of the assets themselves."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._serdes import serialize_value

from sf_assets.cli.runner import dagster_instance
from sf_assets.defs import (
    checks,
    churn,
    growth,
)
from sf_assets.defs import (
    sources as external,
)
from sf_assets.defs import (
    status_changes as status,
)
from sf_assets.defs.audience import Audience
from sf_assets.defs.derived import DESCRIBE
from sf_assets.model import SnapshotKey
from sf_assets.settings import Settings
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.warehouse.connection import reading
from sf_assets.warehouse.schema import column_comments
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.looks.conftest import MONDAY, NEWEST, TUESDAY, WEEK_LATER
from sf_assets_tests.served_lists import account

AUDIENCE = Audience(Settings())
SPECS = [*churn.specs(AUDIENCE), *growth.specs(AUDIENCE), *status.specs(AUDIENCE)]
# What an event may weigh, in bytes.
HEAVY = 100_000


def events(pipeline: Pipeline, asset: str) -> dict[str, Any]:
    """Partition -> its newest materialization."""
    with dagster_instance(pipeline.home) as instance:
        records = instance.fetch_materializations(dg.AssetKey(asset), limit=100).records
    return {str(one.partition_key): one.asset_materialization for one in reversed(records)}


def said(pipeline: Pipeline, asset: str, day: date) -> dict[str, Any]:
    metadata = events(pipeline, asset)[day.isoformat()].metadata
    return {
        name: value.records if isinstance(value, dg.TableMetadataValue) else value.value
        for name, value in metadata.items()
    }


def test_a_churn_day_has_a_sample_by_account_id(
    at_home: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = said(at_home, "follower_churn", TUESDAY)
    assert (day["gained"], day["lost"]) == (11, 1)
    came = [record.data for record in day["came"]]
    assert len(came) == 11
    # The verified first, then the largest.
    assert [one["account_id"] for one in came[:2]] == [
        account(n)["platformUserId"] for n in (101, 209)
    ]
    assert [record.data for record in day["left"]] == [
        {
            "handle": "open",
            "account_id": account(7)["platformUserId"],
            "change": "lost",
            "state": "confirmed",
        }
    ]
    assert day["dagster/partition_row_count"] == 12
    monkeypatch.setattr(churn, "SAMPLE", 3)
    with reading(at_home.home.published) as con:
        few = churn.describe("followers", con, [TUESDAY])[TUESDAY]
    assert [record.data for record in few["came"].records] == came[:3]


def test_a_growth_day_has_a_sparkline_a_handle(at_home: Pipeline) -> None:
    day = said(at_home, "follower_growth", NEWEST)
    records = [record.data for record in day["by_handle"]]
    assert {record["handle"] for record in records} == {"open", "shy", "twin"}
    (open_,) = (record for record in records if record["handle"] == "open")
    assert (open_["total"], open_["net"], open_["completeness"]) == ("70", "0", "complete")
    assert len(open_["last 30 days"]) == 30
    assert open_["last 30 days"].strip("·")[0] == "▁"
    # What is too wide for the window is cut off at the right.
    table = events(at_home, "follower_growth")[NEWEST.isoformat()].metadata["by_handle"]
    assert [one.name for one in table.schema.columns][:2] == ["handle", "last 30 days"]
    (shy,) = (record for record in records if record["handle"] == "shy")
    assert (shy["total"], shy["net"]) == ("-", "-")
    (grown,) = (
        record.data
        for record in said(at_home, "follower_growth", TUESDAY)["by_handle"]
        if record.data["handle"] == "open"
    )
    assert (grown["net"], grown["lost"], grown["provisional"]) == ("+10", "1", "0")
    waiting = said(at_home, "follower_growth", WEEK_LATER)
    assert (waiting["lost"], waiting["lost_provisional"]) == (0, 1)


def test_only_the_newest_day_of_a_run_gets_a_picture(at_home: Pipeline) -> None:
    with reading(at_home.home.published) as con:
        days = growth.describe(con, [TUESDAY, NEWEST])
    assert "top_movers" not in days[TUESDAY]
    assert "data:image/svg+xml;base64," in str(days[NEWEST]["top_movers"].value)


def test_a_status_day_says_who_is_closed_and_since_when(at_home: Pipeline) -> None:
    day = said(at_home, "status_changes", NEWEST)
    assert day["changes"] == 0
    since = {"handle": "shy", "status": "private", "since": str(TUESDAY), "was_before": "found"}
    assert [record.data for record in day["not_open"]] == [
        {**since, "relation": relation} for relation in ("followers", "following")
    ]
    assert said(at_home, "status_changes", TUESDAY)["changes"] == 2


def test_a_snapshot_links_to_the_profile_and_names_its_requests(at_home: Pipeline) -> None:
    day = events(at_home, "follower_snapshots")[f"{NEWEST}|open"].metadata
    assert day["profile"].value == "https://www.tiktok.com/@open"
    assert not day.keys() & {"retries", "pages", "end_reason"}, "what is as usual is left out"
    landed = DiskLanding(at_home.home.landing).read(SnapshotKey(NEWEST, "open", "followers"))
    assert landed is not None
    assert day["request_ids"].value == landed.attempts[0].request_ids
    assert len(set(day["request_ids"].value)) == 4
    assert day["dagster/partition_row_count"].value == 70


def test_the_log_has_a_line_a_list_that_counts_in_the_singular(at_home: Pipeline) -> None:
    with dagster_instance(at_home.home) as instance:
        log = "\n".join(
            entry.user_message
            for one in instance.get_runs()
            if one.job_name == "daily_snapshots"
            for entry in instance.all_logs(one.run_id)
        )
    assert f"open followers {MONDAY}: found, 60 listed of 60, complete (exhausted), 3 pages" in log
    assert f"shy followers {NEWEST}: private, 0 listed, none, 1 page (" in log


def test_no_event_is_heavy(at_home: Pipeline) -> None:
    for asset in DESCRIBE:
        for one in events(at_home, asset).values():
            assert len(serialize_value(one)) < HEAVY


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.key.path[-1])
def test_every_table_shows_its_columns_owner_and_query(spec: dg.AssetSpec) -> None:
    name = spec.key.path[-1]
    schema = spec.metadata["dagster/column_schema"]
    assert [column.name for column in schema.columns] == list(column_comments()[name])
    assert all(column.description and column.type for column in schema.columns)
    assert spec.metadata["dagster/table_name"] == f"sf_assets.main.{name}"
    assert all(
        Path(file.file_path).is_file()
        for file in spec.metadata["dagster/code_references"].code_references
    )
    assert spec.owners
    assert "duckdb" in spec.kinds
    assert "```sql" in (spec.description or "")


def test_the_query_of_every_description_runs(at_home: Pipeline) -> None:
    for spec in SPECS:
        at_home.ask(re.findall(r"```sql\n(.+)\n```", spec.description or "", re.DOTALL)[0])


def test_the_lineage_begins_at_the_registry_and_the_vendor() -> None:
    for spec in external.specs(AUDIENCE):
        # The catalog shows a description's first line as it is written.
        assert re.match(r"[\w ,]{40}", spec.description or "")
        for file in spec.metadata["dagster/code_references"].code_references:
            assert Path(file.file_path).is_file(), file
        assert spec.metadata["dagster/code_references"].code_references
    names = [spec.key.path[-1] for spec in external.specs(AUDIENCE)]
    assert names == ["handle_registry", "social_fetch_api"]
    assert checks.CHECKS


def test_loading_the_definitions_draws_nothing() -> None:
    code = "import sys, sf_assets.defs.derived; sys.exit('pygal' in sys.modules)"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode == 0
