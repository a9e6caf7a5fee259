"""Our definitions inside somebody else's: nothing collides, nothing is bought unasked."""

import os
import re
import stat
import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster_duckdb import DuckDBResource
from pydantic import ValidationError

from sf_assets import AudienceComponent, AudienceReader, Settings, build_definitions
from sf_assets.defs import runs
from sf_assets.defs.audience import Audience, Automation
from sf_assets.errors import SettingsError
from sf_assets.handles.edit import track
from sf_assets.settings import VARIABLES
from sf_assets.storage.home import Home
from sf_assets_tests.homes import add_day, fill
from sf_assets_tests.loopback import Reply
from sf_assets_tests.served_lists import KEY, ListServer, account

DAY = date(2026, 11, 1)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dagster's notes on its own betas
        yield


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance with Dagster's own settings, none of ours."""
    (tmp_path / "dagster").mkdir()
    quiet = {"telemetry": {"enabled": False}}
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster"), overrides=quiet) as instance:
        yield instance


@pytest.fixture
def server() -> Iterator[ListServer]:
    with ListServer() as server:
        for handle in ("one", "two"):
            server.set(handle, "followers", [account(n) for n in range(3)])
            server.set(handle, "following", [account(n) for n in range(2)])
        yield server


def settings(root: Path, server: ListServer | None = None, *handles: str) -> Settings:
    told = Settings(
        home=root,
        base_url=server.url if server else "http://127.0.0.1:9",
        api_key=KEY,  # type: ignore[arg-type]
        start_date=DAY,
        today=DAY,
        alerts=(),
    )
    if handles:
        track(Home.of(told).ensure(told).registry, list(handles))
    return told


def of_client(name: str, told: Settings, automation: Automation = "stopped") -> dg.Definitions:
    return build_definitions(told, name=name, key_prefix=name, automation=automation)


def launch(
    defs: dg.Definitions, instance: dg.DagsterInstance, partition: str, *keys: dg.AssetKey
) -> dg.ExecuteInProcessResult:
    """As `dg launch --assets` does."""
    job = defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(keys), asset_check_selection=set()
    )
    return job.execute_in_process(instance=instance, partition_key=partition, raise_on_error=False)


def materialized(instance: dg.DagsterInstance, key: dg.AssetKey) -> set[str]:
    return instance.get_materialized_partitions(key)


def test_importing_the_package_changes_nothing_and_reads_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "before = (dict(os.environ), os.umask(0o022)); os.umask(before[1])\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(args[0]) if event == 'open' and "
        "isinstance(args[0], str) and 'w' in str(args[1] or '') else None)\n"
        "import sf_assets, sf_assets.definitions, sf_assets.components\n"
        "from sf_assets import AudienceComponent, AudienceReader, Settings, build_definitions\n"
        "after = os.umask(0o022)\n"
        "assert dict(os.environ) == before[0]\n"
        "assert after == before[1] == 0o027, after\n"
        "assert not opened, opened\n"
    )
    wrong = dict.fromkeys(VARIABLES.values(), "wrong")
    os.umask(before := os.umask(0o027))
    try:
        os.umask(0o027)
        subprocess.run(
            [sys.executable, "-B", "-c", code],
            cwd=tmp_path,
            check=True,
            env={**os.environ, **wrong, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []


def test_two_homes_and_a_project_of_ones_own_merge(tmp_path: Path) -> None:
    @dg.asset
    def mine() -> None: ...

    @dg.schedule(name="daily", job_name="derive", cron_schedule="0 0 * * *")
    def daily() -> None: ...

    own = dg.Definitions(
        assets=[mine],
        jobs=[dg.define_asset_job("derive", dg.AssetSelection.assets(mine))],
        schedules=[daily],
        sensors=[],
        resources={"warehouse": AudienceReader(home=str(tmp_path / "a"))},
        executor=dg.multiprocess_executor,
        loggers={"console": dg.colored_console_logger},
    )
    merged = dg.Definitions.merge(
        own, *(of_client(name, settings(tmp_path / name)) for name in ("a", "b"))
    )
    dg.Definitions.validate_loadable(merged)
    repository = merged.get_repository_def()
    assert {one.name for one in repository.schedule_defs} == {"daily", "a_daily", "b_daily"}
    names = {one.name for one in repository.sensor_defs}
    assert names == {
        f"{home}_{of}" for home in "ab" for of in ("registry", "days", "derivation", "alerts")
    }
    nodes = [node.name for job in repository.get_all_jobs() for node in job.nodes]
    assert {name for name in nodes if name.startswith("a_")} == {
        *("a_snapshots", "a_derived", "a_checks", "a_post_alert")
    }
    assert not list(tmp_path.iterdir()), "nothing is written by building"


@pytest.mark.parametrize("name", ["1a", "client-a", "a b", "Ä"])
def test_a_name_that_dagster_would_not_take_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(Exception, match="letters, digits and underscores"):
        build_definitions(settings(tmp_path), name=name)


def test_a_setting_that_is_misspelt_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="daily_credit"):
        Settings(home=tmp_path, daily_credit=1)  # type: ignore[call-arg]


def test_a_run_uses_its_own_home_whatever_the_environment_names(
    tmp_path: Path,
    instance: dg.DagsterInstance,
    server: ListServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, "wrong")
    monkeypatch.setenv("SF_ASSETS_HOME", str(tmp_path / "other"))
    told = settings(tmp_path / "a", server, "one")
    defs = of_client("a", told)
    instance.add_dynamic_partitions("a_handles", ["one"])
    key = dg.AssetKey(["a", "follower_snapshots"])
    assert launch(defs, instance, f"{DAY}|one", key).success
    growth = dg.AssetKey(["a", "follower_growth"])
    assert launch(defs, instance, str(DAY), growth).success
    with AudienceReader(home=str(tmp_path / "a")).get_connection() as con:
        assert con.sql("SELECT handle, followers_total FROM follower_growth").fetchall() == [
            ("one", 3)
        ]
    assert materialized(instance, key) == {f"{DAY}|one"}
    assert materialized(instance, growth) == {str(DAY)}
    assert not (tmp_path / "other").exists()


def test_each_home_buys_its_own_handles_on_one_instance(
    tmp_path: Path, instance: dg.DagsterInstance, server: ListServer
) -> None:
    told = {
        name: settings(tmp_path / name, server, handle)
        for name, handle in (("a", "one"), ("b", "two"))
    }
    merged = dg.Definitions.merge(*(of_client(name, one, "running") for name, one in told.items()))
    asked = {}
    for name in told:
        definition = merged.resolve_schedule_def(f"{name}_daily")
        with dg.build_schedule_context(
            instance, repository_def=merged.get_repository_def()
        ) as context:
            (request,) = definition.evaluate_tick(context).run_requests or []
        asked[name] = request.tags["dagster/asset_partition_range_start"]
        assert request.tags["sf_assets/home"] == str(tmp_path / name)
    assert asked == {"a": f"{DAY}|one", "b": f"{DAY}|two"}
    assert instance.get_dynamic_partitions("a_handles") == ["one"]
    assert instance.get_dynamic_partitions("b_handles") == ["two"]


def test_runs_of_the_other_home_are_not_taken_for_ones_own(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    audiences = [Audience(settings(tmp_path / name), name, (name,)) for name in "ab"]
    run = instance.add_run(
        dg.DagsterRun("a_derive", status=dg.DagsterRunStatus.STARTED, tags=audiences[0].tags)
    )
    assert [
        [one.run_id for one in runs.in_progress(instance, audience, "here")]
        for audience in audiences
    ] == [[run.run_id], []]


@pytest.mark.parametrize("automation", ["stopped", "running", "none"])
def test_nothing_runs_by_itself_unless_somebody_says_so(
    tmp_path: Path, automation: Automation
) -> None:
    defs = of_client("a", settings(tmp_path / "a"), automation)
    repository = defs.get_repository_def()
    statuses = [
        *(one.default_status.value for one in repository.schedule_defs),
        *(one.default_status.value for one in repository.sensor_defs),
    ]
    assert statuses == ([] if automation == "none" else [automation.upper()] * 5)
    assert {job.name for job in repository.get_all_jobs()} >= {"a_daily_snapshots", "a_derive"}


def test_stopped_is_the_default(tmp_path: Path) -> None:
    repository = build_definitions(settings(tmp_path / "a")).get_repository_def()
    assert {one.default_status.value for one in repository.sensor_defs} == {"STOPPED"}


def with_keys_of_a_team(defs: dg.Definitions) -> tuple[list[Any], dict[dg.AssetKey, dg.AssetKey]]:
    """The assets under other keys, as who took the definitions in may want them; old key -> new."""
    new = {
        key: key.with_prefix("team")
        for asset in defs.assets or []
        if isinstance(asset, dg.AssetsDefinition)
        for key in asset.keys
    }
    return [
        asset.with_attributes(asset_key_replacements=new)
        if isinstance(asset, dg.AssetsDefinition)
        else asset
        for asset in defs.assets or []
    ], new


def test_where_keys_were_replaced_the_schedule_asks_for_them_and_knows_its_runs(
    tmp_path: Path, instance: dg.DagsterInstance, server: ListServer
) -> None:
    told = settings(tmp_path / "a", server, "one")
    defs = of_client("a", told, "running")
    assets, new = with_keys_of_a_team(defs)
    theirs = dg.Definitions(assets=assets, jobs=defs.jobs, schedules=defs.schedules)
    repository = theirs.get_repository_def()
    with dg.build_schedule_context(instance, repository_def=repository) as context:
        (request,) = (
            theirs.resolve_schedule_def("a_daily").evaluate_tick(context).run_requests or []
        )
    asked = set(request.asset_selection or [])
    assert asked == {
        new[dg.AssetKey(["a", of])] for of in ("follower_snapshots", "following_snapshots")
    }
    job = theirs.resolve_job_def("a_daily_snapshots").get_subset(asset_selection=asked)
    done = job.execute_in_process(
        instance=instance, tags=dict(request.tags), run_config=request.run_config
    )
    assert done.success
    assert all(materialized(instance, key) == {f"{DAY}|one"} for key in asked)
    audience = Audience(told, "a", ("a",)).loaded_in(repository)
    for key, ours in ((min(asked), True), (dg.AssetKey(["b", "follower_snapshots"]), False)):
        run = dg.DagsterRun(
            "__ASSET_JOB",
            remote_job_origin=RemoteJobOrigin(
                RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "__repository__"),
                "__ASSET_JOB",
            ),
            asset_selection=frozenset([key]),
        )
        assert runs.is_ours(run, audience, "here") == ours


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"automation": "on"}, "automation: 'on' must be one of running, stopped, none"),
        # It would switch the schedule on, and have the sensors take it for switched off.
        ({"automation": "Running"}, "automation: 'Running' must be one of"),
        ({"automation": None}, "automation: None must be one of"),
        ({"key_prefix": "a/b"}, "key_prefix: 'a/b' must contain only"),
        ({"key_prefix": ["a", ""]}, "key_prefix: '' must contain only"),
        ({"key_prefix": ["ä b"]}, "key_prefix: 'ä b' must contain only"),
    ],
)
def test_a_wrong_argument_is_named(tmp_path: Path, wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError, match=f"^{re.escape(why)}"):
        build_definitions(settings(tmp_path), **wrong)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"cron": "0 0 31 2 *"}, "cron: '0 0 31 2 *' never occurs"),
        ({"home": ""}, "home: must be a folder"),
        ({"today": "2026-11-01", "base_url": "https://api.example.org"}, "today: works only with"),
        ({"storage": "s3://bucket/prefix"}, "storage: is for the files of a lake"),
        ({"ui_hosts": ["a host/"]}, "ui_hosts: 'a host/' is not a host name"),
        ({"daily_credits": -1}, "daily_credits: must be at least 0"),
    ],
)
def test_a_wrong_setting_is_named_as_the_project_spells_it(
    tmp_path: Path, wrong: dict[str, Any], why: str
) -> None:
    given: dict[str, Any] = {"home": str(tmp_path), **wrong}
    with pytest.raises(ValidationError) as error:
        Settings(**given)
    (item,) = error.value.errors()
    assert item["loc"] == (why.split(":")[0],)
    assert "SF_ASSETS_" not in str(error.value)
    with pytest.raises(SettingsError, match=f"^{re.escape(why)}"):
        _ = AudienceComponent(**given).settings


def test_a_component_shows_no_secret(tmp_path: Path) -> None:
    secret = "json://user:token@example.test"
    component = AudienceComponent(
        home=str(tmp_path), api_key=secret, alert_urls=[secret], heartbeat_url=secret
    )
    assert secret not in repr(component)
    wrong: dict[str, Any] = {"home": str(tmp_path), "alert_urls": secret}
    with pytest.raises(ValidationError) as error:
        AudienceComponent(**wrong)
    assert secret not in str(error.value)


def test_tables_of_two_homes_are_not_taken_for_one(tmp_path: Path) -> None:
    """Dagster links assets whose tables have one name."""
    names = [
        spec.metadata["dagster/table_name"]
        for name in "ab"
        for spec in of_client(name, settings(tmp_path / name)).resolve_all_asset_specs()
        if "dagster/table_name" in spec.metadata
    ]
    assert "a.main.follower_growth" in names
    assert len(names) == len(set(names))


@pytest.mark.parametrize("prefix", ["", "a", "a.b", "client-a", ["a", "b_2"], ()])
def test_prefixes_that_dagster_takes_load(tmp_path: Path, prefix: Any) -> None:
    defs = build_definitions(settings(tmp_path), key_prefix=prefix)
    dg.Definitions.validate_loadable(defs)
    path = [prefix] if prefix and isinstance(prefix, str) else list(prefix)
    keys = defs.get_repository_def().assets_defs_by_key
    assert dg.AssetKey([*path, "follower_growth"]) in keys


@pytest.mark.parametrize("renamed", [False, True])
@pytest.mark.parametrize("of", ["follower_snapshots", "follower_growth"])
def test_an_asset_downstream_in_the_same_run_is_made(
    tmp_path: Path, instance: dg.DagsterInstance, server: ListServer, of: str, renamed: bool
) -> None:
    """Also where the keys were changed by whoever took the definitions in."""
    told = settings(tmp_path / "a", server, "one")
    defs = of_client("a", told)
    key = dg.AssetKey(["a", of])
    assets: list[Any] = list(defs.assets or [])
    if renamed:
        assets, new = with_keys_of_a_team(defs)
        key = new[key]
    (upstream,) = [
        one for one in assets if isinstance(one, dg.AssetsDefinition) and key in one.keys
    ]
    made = []

    @dg.asset(deps=[key], partitions_def=upstream.partitions_def)
    def mine(context: dg.AssetExecutionContext) -> None:
        made.append(context.partition_key)

    instance.add_dynamic_partitions("a_handles", ["one"])
    partition = f"{DAY}|one" if of == "follower_snapshots" else str(DAY)
    result = launch(
        dg.Definitions(assets=[*assets, mine]), instance, partition, key, dg.AssetKey("mine")
    )
    assert result.success
    assert made == [partition]
    assert materialized(instance, key) == {partition}


def test_of_a_run_that_fails_what_finished_is_told_and_nothing_downstream_runs(
    tmp_path: Path, instance: dg.DagsterInstance, server: ListServer
) -> None:
    told = settings(tmp_path / "a", server, "one", "two")
    server.fault = lambda request: Reply(status=500) if "two" in request.path else None
    defs = of_client("a", told)
    key = dg.AssetKey(["a", "follower_snapshots"])
    (upstream,) = [one for one in defs.assets or [] if getattr(one, "keys", set()) >= {key}]
    made = []

    @dg.asset(deps=[key], partitions_def=upstream.partitions_def)  # type: ignore[union-attr]
    def mine(context: dg.AssetExecutionContext) -> None:
        made.append(context.partition_keys)

    instance.add_dynamic_partitions("a_handles", ["one", "two"])
    job = dg.Definitions(
        assets=[*(defs.assets or []), mine],
        jobs=[dg.define_asset_job("both", dg.AssetSelection.assets(key, "mine"))],
    ).resolve_job_def("both")
    result = job.execute_in_process(
        instance=instance,
        raise_on_error=False,
        tags={
            "dagster/asset_partition_range_start": f"{DAY}|one",
            "dagster/asset_partition_range_end": f"{DAY}|two",
            "sf_assets/launched_by": "command line",
        },
    )
    assert not result.success
    assert made == []
    assert materialized(instance, key) == {f"{DAY}|one"}


def test_the_reader_reads_the_newest_publication_and_writes_nothing(tmp_path: Path) -> None:
    home = fill(tmp_path / "home", days=1)
    reader = AudienceReader(home=str(home.root))
    assert isinstance(reader, DuckDBResource)
    with reader.get_connection() as before:
        add_day(home, 2)
        with reader.get_connection() as after:
            counts = [
                con.sql("SELECT count(DISTINCT snapshot_date) FROM snapshots").fetchall()[0][0]
                for con in (before, after)
            ]
            assert counts == [1, 2]
            with pytest.raises(duckdb.Error, match="read-only"):
                after.sql("CREATE TABLE mine AS SELECT 1")
    with pytest.raises(FileNotFoundError), AudienceReader(home=str(tmp_path)).get_connection():
        pass


def test_every_asset_says_which_column_its_partitions_are(tmp_path: Path) -> None:
    """What DuckDB's IO managers ask for; each is a column of the published table."""
    home = fill(tmp_path / "home", days=1)
    defs = build_definitions(settings(home.root))
    asked = 0
    with AudienceReader(home=str(home.root)).get_connection() as con:
        for asset in defs.assets or []:
            if not isinstance(asset, dg.AssetsDefinition):
                continue
            for spec in asset.specs:
                columns = spec.metadata["partition_expr"]
                named = columns.values() if isinstance(columns, dict) else [columns]
                for column in named:
                    con.sql(f"SELECT {column} FROM {spec.metadata['schema']}.{spec.key.path[-1]}")
                    asked += 1
    assert asked == 8


@pytest.mark.skipif(sys.platform == "win32", reason="modes are another matter there")
@pytest.mark.parametrize("group_read", [False, True])
def test_the_group_reads_what_is_published_and_nothing_else(
    tmp_path: Path, group_read: bool
) -> None:
    from sf_assets.warehouse.publish import publish

    root = fill(tmp_path / "home", days=1).root
    root.chmod(0o700)
    told = settings(root).model_copy(update={"group_read": group_read})
    home = Home.of(told).ensure(told)
    publish(home)

    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    published = home.published.resolve()
    modes = [mode(path) for path in (root, home.generations, published.parent, published)]
    assert modes == ([0o710, 0o750, 0o750, 0o440] if group_read else [0o700, 0o700, 0o700, 0o400])
    if group_read:
        folders = (home.landing, home.archive, home.warehouse.parent, home.dagster)
        assert [mode(folder) for folder in folders] == [0o700] * 4


def test_two_derivations_at_once_need_no_setting_of_the_instance(tmp_path: Path) -> None:
    """Both succeed, and the tables are those of one."""
    home = fill(tmp_path / "home", days=2)
    code = (
        "import sys, dagster as dg\n"
        "from datetime import date\n"
        "from sf_assets import Settings, build_definitions\n"
        f"told = Settings(home={str(home.root)!r}, base_url='http://127.0.0.1:9', "
        "today=date(2026, 11, 2), start_date=date(2026, 11, 1))\n"
        "job = build_definitions(told).resolve_job_def('sf_assets_derive')\n"
        "assert job.execute_in_process(partition_key='2026-11-02').success\n"
    )
    with duckdb.connect(str(home.warehouse)) as con:
        con.execute("DELETE FROM internal.comparisons")
    both = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [process.wait() for process in both] == [0, 0]
    with AudienceReader(home=str(home.root)).get_connection() as con:
        assert con.sql("SELECT count(*) FROM follower_growth").fetchall() == [(2,)]


def test_the_component_has_every_setting_and_builds_the_same(tmp_path: Path) -> None:
    own = {"name", "key_prefix", "automation"}
    assert AudienceComponent.model_fields.keys() - own == Settings.model_fields.keys()
    component = AudienceComponent.resolve_from_yaml(
        f"home: {tmp_path}/a\nname: client_a\nkey_prefix: [client_a]\nautomation: none\n"
        "start_date: 2026-11-01\ndaily_credits: 7\nalert_urls: ['json://example.test']\n"
    )
    told = component.settings
    assert (told.home, told.daily_credits, told.start_date) == (tmp_path / "a", 7, DAY)
    assert [one.get_secret_value() for one in told.alert_urls] == ["json://example.test"]
    defs = component.build_defs(None)  # type: ignore[arg-type]
    assert {job.name for job in defs.jobs or []} == {
        *("client_a_daily_snapshots", "client_a_derive", "client_a_deliver_alert")
    }
    with pytest.raises(Exception, match=r"cron: .*five fields"):
        _ = AudienceComponent(home="a", cron="daily").settings


def test_dg_lists_the_component() -> None:
    said = subprocess.run(
        [str(Path(sys.executable).with_name("dg")), "list", "components", "--json"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "sf_assets.components.AudienceComponent" in said.stdout
