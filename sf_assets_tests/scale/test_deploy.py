"""What people copy from `deploy/`: understood by Dagster, by our settings, and by pip."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sf_assets.defs.jobs import ALERT_TAG, DERIVE_TAG
from sf_assets.settings import VARIABLES, load_settings
from sf_assets_tests.reliability.conftest import serve_day
from sf_assets_tests.served_lists import KEY, ListServer

from ..components import Cluster
from .conftest import DAY1, Far
from .test_far_home import ended, worker

pytestmark = pytest.mark.scale

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
OURS = set(VARIABLES.values())


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


def postgres_environment(dsn: str) -> dict[str, str]:
    from psycopg2.extensions import parse_dsn  # of .[scale]: this file is read without it, too

    parts = parse_dsn(dsn)
    return {
        "DAGSTER_PG_HOST": parts["host"],
        "DAGSTER_PG_PORT": parts["port"],
        "DAGSTER_PG_USER": parts["user"],
        "DAGSTER_PG_PASSWORD": parts["password"],
        "DAGSTER_PG_DB": parts["dbname"],
    }


def test_dagster_keeps_its_tables_in_postgres(cluster: Cluster, tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "dagster.yaml", tmp_path / "dagster.yaml")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "dagster", "instance", "info"],
        env={
            **os.environ,
            **postgres_environment(cluster.database()),
            "DAGSTER_HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for storage in ("PostgresRunStorage", "PostgresEventLogStorage", "PostgresScheduleStorage"):
        assert storage in done.stdout
    assert "max_concurrent_runs: 16" in done.stdout
    for tag in (ALERT_TAG, DERIVE_TAG):
        assert f"key: {tag}" in done.stdout


def test_a_day_runs_on_it_with_batched_events(
    far: Far, cluster: Cluster, server: ListServer, tmp_path: Path
) -> None:
    import psycopg2  # of .[scale]

    serve_day(server, DAY1)
    database = cluster.database()
    (tmp_path / "handles.yaml").write_text("handles: [one, two]\n")
    (tmp_path / "dagster").mkdir()
    shutil.copy(DEPLOY / "dagster.yaml", tmp_path / "dagster" / "dagster.yaml")
    code, said = ended(
        worker(
            tmp_path,
            server,
            DAY1,
            "snapshot",
            DAGSTER_EVENT_BATCH_SIZE="100",
            **postgres_environment(database),
        )
    )
    assert code == 0, said

    con = psycopg2.connect(database)
    try:
        cursor = con.cursor()
        cursor.execute("SELECT count(*) FROM runs WHERE status = 'SUCCESS'")
        assert cursor.fetchone() == (2,)
        cursor.execute(
            "SELECT count(DISTINCT partition) FROM event_logs "
            "WHERE dagster_event_type = 'ASSET_MATERIALIZATION' AND asset_key LIKE '%_snapshots%'"
        )
        assert cursor.fetchone() == (2,)
    finally:
        con.close()
    assert not list((tmp_path / "dagster").rglob("*.db"))


def settings_in(environment: dict[str, str]) -> None:
    """Every variable of ours is one there is, with a value that it takes."""
    own = {name: value for name, value in environment.items() if name.startswith("SF_")}
    assert own.keys() <= OURS
    load_settings({**own, "SOCIALFETCH_API_KEY": KEY})


def limits(of: list[dict[str, Any]]) -> dict[str, int]:
    return {each["key"]: each["limit"] for each in of}


def test_the_values_of_the_chart_say_what_dagster_yaml_says() -> None:
    values, instance = read("helm-values.yaml"), read("dagster.yaml")
    (code,) = values["dagster-user-deployments"]["deployments"]
    settings_in({each["name"]: each["value"] for each in code["env"]})
    assert code["includeConfigInLaunchedRuns"] == {"enabled": True}
    coordinator = values["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    runs = instance["concurrency"]["runs"]
    assert coordinator["maxConcurrentRuns"] == runs["max_concurrent_runs"]
    assert limits(coordinator["tagConcurrencyLimits"]) == limits(runs["tag_concurrency_limits"])
    assert limits(runs["tag_concurrency_limits"]) == {ALERT_TAG: 1, DERIVE_TAG: 1}
    # The chart's webserver and daemon are of the Dagster that is in our image.
    chart = re.search(r"--version (\S+)", (DEPLOY / "helm-values.yaml").read_text())
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    assert chart is not None
    assert f"dagster-webserver=={chart[1]}" in pinned
    assert values["retention"]["enabled"]
    for of in ("schedule", "sensor"):
        said, here = values["retention"][of]["purgeAfterDays"], instance["retention"][of]
        assert said == here["purge_after_days"] or said == {
            "started": -1,
            **here["purge_after_days"],
        }
    daemon = values["dagsterDaemon"]
    assert (
        daemon["runMonitoring"]["freeSlotsAfterRunEndSeconds"]
        == (instance["run_monitoring"]["free_slots_after_run_end_seconds"])
    )
    assert daemon["runRetries"] == {
        "enabled": True,
        "maxRetries": instance["run_retries"]["max_retries"],
        "retryOnAssetOrOpFailure": instance["run_retries"]["retry_on_asset_or_op_failure"],
    }
    # No pod has a folder in common with another one.
    assert "volumes" not in code


def test_the_job_of_a_run_has_what_the_code_server_has(tmp_path: Path) -> None:
    """Values -> what chart 1.12.19 makes of them -> the job that the run launcher would create."""
    launcher = pytest.importorskip("dagster_k8s", reason="dagster-k8s is not installed: .[k8s]")
    from dagster._config import process_config, resolve_to_config_type
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import UserDefinedDagsterK8sConfig, construct_dagster_k8s_job

    # The launcher wants to know of a cluster; nothing is sent to it.
    cluster = {
        "clusters": [{"name": "here", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "here", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "here"}}],
        "current-context": "here",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(cluster))
    values = read("helm-values.yaml")
    said = values["runLauncher"]["config"]["k8sRunLauncher"]
    # As the chart writes it into dagster.yaml, but for where the cluster is.
    config = {
        "service_account_name": "dagster",
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": values["global"]["postgresqlSecretName"],
        "dagster_home": "/opt/dagster/dagster_home",
        "job_namespace": "default",
        "load_incluster_config": False,
        "kubeconfig_file": str(tmp_path / "kubeconfig"),
        "image_pull_policy": said["imagePullPolicy"],
        "run_k8s_config": {
            "job_spec_config": said["runK8sConfig"]["jobSpecConfig"],
        },
    }
    kind = resolve_to_config_type(launcher.K8sRunLauncher.config_type())
    result = process_config(kind, config)
    assert result.success, result.errors
    made = launcher.K8sRunLauncher(**result.value)
    # As the chart gives it to the code server, for the runs (includeConfigInLaunchedRuns).
    (code,) = values["dagster-user-deployments"]["deployments"]
    of_the_code = K8sContainerContext.create_from_config(
        {
            "k8s": {
                "env": code["env"],
                "env_secrets": [secret["name"] for secret in code["envSecrets"]],
                "image_pull_policy": code["image"]["pullPolicy"],
                "namespace": "default",
                "resources": code["resources"],
                "run_k8s_config": {"pod_spec_config": {"automount_service_account_token": True}},
                "service_account_name": "dagster-user-deployments",
            }
        }
    )
    context = K8sContainerContext(
        image_pull_policy=made.image_pull_policy,
        namespace=made.job_namespace,
        resources=made.resources,
        run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(made.run_k8s_config),
    ).merge(of_the_code)
    image = f"{code['image']['repository']}:{code['image']['tag']}"
    job = construct_dagster_k8s_job(
        job_config=context.get_k8s_job_config(image, made),
        args=["dagster", "api", "execute_run"],
        job_name="run",
        pod_name="run",
        component="run_worker",
        user_defined_k8s_config=context.run_k8s_config,
    )
    assert job.spec.ttl_seconds_after_finished == 3600
    pod = job.spec.template.spec
    assert not pod.volumes
    (container,) = pod.containers
    assert container.image == image
    assert container.resources.requests == {"cpu": "500m", "memory": "1Gi"}
    assert container.resources.limits == {"memory": "4Gi"}
    given = {each.name: each.value for each in container.env}
    assert {each["name"]: each["value"] for each in code["env"]}.items() <= given.items()
    (password,) = (each for each in container.env if each.name == "DAGSTER_PG_PASSWORD")
    assert password.value_from.secret_key_ref.name == "dagster-postgresql-secret"
    assert [each.secret_ref.name for each in container.env_from] == ["sf-assets"]
    assert f"mkdir -p {given['SF_ASSETS_HOME']} " in (DEPLOY / "Dockerfile").read_text()


def test_dagster_plus_takes_its_files() -> None:
    """By the models of its own command line, and that of `dg`."""
    from dagster_cloud_cli.config.models import load_dagster_cloud_yaml
    from dagster_dg_core.config import DgRawBuildConfig

    text = (DEPLOY / "dagster_cloud.yaml").read_text(encoding="utf-8")
    (location,) = load_dagster_cloud_yaml(text).locations
    assert location.code_source is not None
    assert location.build is not None
    assert location.code_source.module_name == "sf_assets.definitions"
    assert (ROOT / str(location.build.directory) / "pyproject.toml").exists()
    build = read("build.yaml")
    assert build.keys() == DgRawBuildConfig.__annotations__.keys()
    assert build == location.build.model_dump()
    extras = {*re.findall(r"EXTRAS=([\w,-]+)", (DEPLOY / "build.yaml").read_text())}
    project = (ROOT / "pyproject.toml").read_text()
    assert all(f"\n{one} = [" in project for each in extras for one in each.split(","))
    named = {*re.findall(r"\b(?:SF_ASSETS|SOCIALFETCH)_[A-Z_]+\b", text)}
    assert named <= OURS


def test_compose_names_only_what_there_is() -> None:
    compose = read("compose.yaml")
    for name, service in compose["services"].items():
        depends = service.get("depends_on", [])
        assert set(depends) <= compose["services"].keys(), name
        for mount in service["volumes"]:
            source = mount.partition(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_file(), source
            else:
                assert source in compose["volumes"]
        if name != "postgres":
            given = {
                key: re.sub(r"\$\{\w+(:-([^}]*))?(:\?[^}]*)?\}", r"\2", value)
                for key, value in service["environment"].items()
                if value is not None
            }
            passed_on = {key for key, value in service["environment"].items() if value is None}
            assert {key for key in passed_on if key.startswith("SF_")} <= OURS
            settings_in({key: value for key, value in given.items() if value})
            assert given["DAGSTER_PG_DB"] != "lake"
            # What runs print is written by one container and shown by another.
            home = dict(instructions())["ENV"].partition("DAGSTER_HOME=")[2].split()[0]
            assert f"logs:{home}/storage" in service["volumes"]
            # An image of that name somewhere else is not ours.
            assert service["pull_policy"] == ("build" if "build" in service else "never")
    build = compose["services"]["code"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    assert "CREATE DATABASE lake" in (DEPLOY / "make_lake.sql").read_text()
    (location,) = read("workspace.yaml")["load_from"]
    assert location["grpc_server"]["host"] in compose["services"]
    assert str(location["grpc_server"]["port"]) in (DEPLOY / "Dockerfile").read_text()


def instructions() -> list[tuple[str, str]]:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def test_the_steps_of_the_image_work_in_a_clean_folder(tmp_path: Path) -> None:
    work = tmp_path / "opt" / "sf_assets"
    work.mkdir(parents=True)
    environment = {**os.environ, "DAGSTER_HOME": str(work / "dagster_home")}
    for what, rest in instructions():
        if what == "COPY":
            *sources, target = shlex.split(rest)
            for source in sources:
                whole = ROOT / source
                if whole.is_dir():
                    shutil.copytree(whole, work / target, ignore=shutil.ignore_patterns("__pyc*"))
                else:
                    place = work / target / whole.name if target.endswith("/") else work / target
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(whole, place)
        elif what == "RUN" and "useradd" not in rest:
            if rest.startswith("python "):
                rest = f"{sys.executable} {rest.removeprefix('python ')}"
            done = subprocess.run(rest, shell=True, cwd=work, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-2000:]
    (command,) = (yaml.safe_load(rest) for what, rest in instructions() if what == "CMD")
    assert command[:3] == ["dagster", "api", "grpc"]
    # The program of the image knows the code location, the lake's extensions and the launcher.
    check = (
        "import duckdb, dagster_k8s, dagster_postgres, s3fs; "
        "from sf_assets.warehouse.lake import load_extension; con = duckdb.connect(); "
        "[load_extension(con, name) for name in ('ducklake', 'postgres_scanner', 'httpfs')]; "
        "from sf_assets.definitions import defs; print(len(list(defs().sensors)))"
    )
    done = subprocess.run(
        [str(work / "venv" / "bin" / "python"), "-W", "ignore", "-c", check],
        cwd=tmp_path,
        env={**environment, "SF_ASSETS_HOME": str(tmp_path / "data")},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "4\n", done.stderr
