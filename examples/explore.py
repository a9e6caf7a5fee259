# /// script
# dependencies = ["marimo>=0.23,<0.26", "altair>=6,<7", "duckdb>=1.5", "pyarrow>=21"]
# ///
"""Growth, retention, overlap and one person, from the published file.

sf-assets demo --no-ui                                                 # makes sf_assets_demo/
pip install 'sf_assets[notebook]'
marimo edit examples/explore.py -- --file sf_assets_demo/sf_assets.duckdb
"""

import marimo

app = marimo.App(width="medium", app_title="sf_assets: explore")


@app.cell
def _():
    import altair as alt
    import duckdb
    import marimo as mo

    return alt, duckdb, mo


@app.cell
def _(mo):
    file = mo.cli_args().get("file") or "sf_assets_demo/sf_assets.duckdb"
    return (file,)


@app.cell
def _(duckdb, file):
    # Read-only: the pipeline may publish a new file meanwhile. Run this cell again to see it.
    con = duckdb.connect(str(file), read_only=True)
    handles = [
        handle
        for (handle,) in con.execute(
            "SELECT handle FROM follower_growth GROUP BY handle "
            "ORDER BY max(followers_total) DESC NULLS LAST, handle"
        ).fetchall()
    ]
    return con, handles


@app.cell
def _(con, handles, mo):
    version, last_day = con.execute("SELECT version, last_day FROM about").fetchone()
    mo.md(
        f"# {len(handles)} tracked handles\n\nUp to {last_day}, published by sf_assets {version}."
    )
    return


@app.cell
def _(handles, mo):
    chosen = mo.ui.multiselect(handles, value=handles[:6], label="Handles")
    chosen  # noqa: B018 (a cell shows its last expression)
    return (chosen,)


@app.cell
def _(alt, chosen, con, mo):
    growth = con.execute(
        "SELECT handle, snapshot_date, followers_total, followers_gained, followers_lost, "
        "followers_lost_provisional FROM follower_growth WHERE list_contains($1, handle) "
        "ORDER BY handle, snapshot_date",
        [list(chosen.value)],
    ).to_arrow_table()
    totals = (
        alt.Chart(growth, width=190, height=110)
        .mark_line(point=True)
        .encode(
            x=alt.X("snapshot_date:T", title=None),
            y=alt.Y("followers_total:Q", title="followers", scale=alt.Scale(zero=False)),
            tooltip=["snapshot_date:T", "followers_total:Q", "followers_gained:Q"],
        )
        .facet(alt.Facet("handle:N", title=None), columns=3)
        .resolve_scale(y="independent")
    )
    mo.vstack([mo.md("## Growth\n\nTotals as the API reported them."), totals])
    return (growth,)


@app.cell
def _(alt, chosen, con, mo):
    # Weeks of which nobody can know (NULL) have no part in it, and never count as a loss.
    retention = con.execute(
        "SELECT handle, weeks_after, sum(retention * gained) / sum(gained) AS retention, "
        "sum(gained) AS gained, count(*) AS weeks FROM weekly_retention "
        "WHERE list_contains($1, handle) AND retention IS NOT NULL "
        "GROUP BY ALL ORDER BY ALL",
        [list(chosen.value)],
    ).to_arrow_table()
    curves = (
        alt.Chart(retention, width=420, height=220)
        .mark_line(point=True)
        .encode(
            x=alt.X("weeks_after:O", title="weeks after the follow"),
            y=alt.Y("retention:Q", title="still following", axis=alt.Axis(format="%")),
            color=alt.Color("handle:N", title=None),
            tooltip=["handle:N", "weeks_after:O", "retention:Q", "gained:Q", "weeks:Q"],
        )
    )
    mo.vstack(
        [
            mo.md(
                "## Retention\n\nHow many new followers are still there? The Kaplan-Meier "
                "estimates of all weeks in which they came, by size. Later points rest on fewer "
                "weeks, so a curve may rise."
            ),
            curves,
        ]
    )
    return (retention,)


@app.cell
def _(alt, con, mo):
    overlap = con.execute(
        "SELECT handle, other_handle, shared, share FROM audience_overlap WHERE shared > 0 "
        "ORDER BY handle, other_handle"
    ).to_arrow_table()
    matrix = (
        alt.Chart(overlap, width=320, height=320)
        .mark_rect()
        .encode(
            x=alt.X("other_handle:N", title=None),
            y=alt.Y("handle:N", title=None),
            color=alt.Color("share:Q", title="share", scale=alt.Scale(scheme="blues")),
            tooltip=[
                "handle:N",
                "other_handle:N",
                "shared:Q",
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
    )
    mo.vstack(
        [mo.md("## Overlap\n\nWhich share of a row's followers also follows the column?"), matrix]
    )
    return (overlap,)


@app.cell
def _(con, mo):
    newest = con.execute(
        "SELECT account_handle FROM follower_churn WHERE change = 'lost' AND state <> 'retracted' "
        "ORDER BY snapshot_date DESC, account_handle LIMIT 1"
    ).fetchone()
    person = mo.ui.text(value=newest[0] if newest else "", label="Account")
    return (person,)


@app.cell
def _(con, mo, person):
    stays = con.execute(
        "SELECT handle, relation, first_seen, last_seen, start_kind, end_kind, ended_after, "
        "ended_before FROM account_history WHERE account_handle = $1 "
        "ORDER BY first_seen, handle, relation",
        [person.value.lstrip("@")],
    ).to_arrow_table()
    mo.vstack(
        [
            mo.md(
                "## One person\n\nEach stay in a tracked list. The account left between "
                "`ended_after` and `ended_before`."
            ),
            person,
            mo.ui.table(stays.to_pylist(), selection=None),
        ]
    )
    return (stays,)


if __name__ == "__main__":
    app.run()
