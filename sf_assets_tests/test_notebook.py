"""examples/explore.py: the notebook runs on a published file, and shows what is in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from .homes import fill

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "explore.py"
RUN = """
import json, runpy, sys
app = runpy.run_path(sys.argv[1])["app"]
_, names = app.run(defs={"file": sys.argv[2]})
tables = ("growth", "retention", "overlap", "stays")
print(json.dumps({name: names[name].to_pylist() for name in tables}, default=str))
"""


def test_the_notebook_runs_and_shows_growth_and_one_person(tmp_path: Path) -> None:
    published = fill(tmp_path / "home", 3).published
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, str(NOTEBOOK), str(published)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout.splitlines()[-1])
    assert [(row["handle"], row["snapshot_date"]) for row in shown["growth"]] == [
        ("nova", f"2026-11-0{day}") for day in (1, 2, 3)
    ]
    # Whoever left last is the person that is shown.
    assert {(row["handle"], row["end_kind"]) for row in shown["stays"]} >= {("nova", "lost")}
