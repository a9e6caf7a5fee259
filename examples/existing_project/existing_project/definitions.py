"""The audiences of two clients, and what this project makes of them."""

import os
from pathlib import Path

import dagster as dg

from sf_assets import AudienceReader, Settings, build_definitions

PROJECT = Path(__file__).parents[1]
HOMES = Path(os.environ.get("HOMES", PROJECT / "homes"))
CLIENTS = ("client_a", "client_b")
REPORT = (Path(__file__).parent / "models" / "report.sql").read_text(encoding="utf-8")


def audience(client: str) -> dg.Definitions:
    """The assets, jobs, schedule and sensors of one client."""
    settings = Settings(
        home=HOMES / client,
        api_key=os.environ.get(f"{client.upper()}_API_KEY"),
        base_url=os.environ.get("SOCIALFETCH_BASE_URL", "https://api.socialfetch.dev"),
        cron="0 0 * * *",
        daily_credits=500,
    )
    return build_definitions(
        settings,
        name=client,
        key_prefix=client,
        # Laptops and branches buy nothing; production sets AUTOMATION=running.
        automation=os.environ.get("AUTOMATION", "stopped"),
    )


audiences = {client: audience(client) for client in CLIENTS}
readers = {client: AudienceReader(home=str(HOMES / client)) for client in CLIENTS}
growth_of_a = dg.AssetKey(["client_a", "follower_growth"])


@dg.asset(
    deps=[growth_of_a],
    # The same days as the asset before it, so that one run can make both.
    partitions_def=audiences["client_a"].resolve_assets_def(growth_of_a).partitions_def,
)
def digest(context: dg.AssetExecutionContext, client_a: AudienceReader) -> dg.MaterializeResult:
    """Who gained most on a day."""
    with client_a.get_connection() as con:
        rows = con.execute(
            "SELECT handle, followers_gained FROM follower_growth WHERE snapshot_date = ? "
            "ORDER BY followers_gained DESC NULLS LAST LIMIT 3",
            [context.partition_key],
        ).fetchall()
    return dg.MaterializeResult(metadata={"top": dg.MetadataValue.json(dict(rows))})


@dg.asset(deps=[dg.AssetKey([client, "follower_growth"]) for client in CLIENTS])
def client_reports(client_a: AudienceReader, client_b: AudienceReader) -> dg.MaterializeResult:
    """One CSV file a client: what `models/report.sql` finds in its published database."""
    written = []
    for client, reader in (("client_a", client_a), ("client_b", client_b)):
        target = HOMES / f"{client}.csv"
        with reader.get_connection() as con:
            con.sql(REPORT).write_csv(str(target))
        written.append(str(target))
    return dg.MaterializeResult(metadata={"files": dg.MetadataValue.json(written)})


defs = dg.Definitions.merge(
    *audiences.values(),
    dg.Definitions(assets=[digest, client_reports], resources=readers),
)
