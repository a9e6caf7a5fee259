"""How long until a command answers?

    python benchmarks/start.py --times 20

`sf-assets --help`, `sf-assets query` of one value on a small published file, and, for the share
that is Python's own, `python -c pass`; each several times, taking turns, as processes of their own.
Seconds on the clock and of processor time; the median, and the best, which the machine's other work
disturbs least. The modules that may be imported only where they are used are listed if they were.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median

import duckdb
from common import SF_ASSETS, Used, measured, scratch, table, verdict

PYTHON = [sys.executable, "-c", "pass"]
HEAVY = ("dagster", "duckdb", "pyarrow", "numpy", "httpx", "aiohttp", "rich", "yaml", "pydantic")
_IMPORTED = (
    "import sys\nfrom sf_assets.cli import main\ntry:\n    main(sys.argv[1:])\n"
    "except SystemExit:\n    pass\n"
    f"print(*(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)"
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=15)
    wanted = parser.parse_args()
    asked = ["query", "SELECT 42 AS answer"]
    commands = {
        "python -c pass": (PYTHON, None, []),
        "sf-assets --help": ([*SF_ASSETS, "--help"], 0.3, ["--help"]),
        "sf-assets query": ([*SF_ASSETS, *asked], 0.6, asked),
    }
    found: dict[str, list[Used]] = {name: [] for name in commands}
    imported = {}
    with scratch() as home:
        _publish_something(home)
        env = {"SF_ASSETS_HOME": str(home)}
        for _ in range(wanted.times):
            for name, (command, _, _) in commands.items():
                found[name].append(measured(command, env))
        for name, (_, target, arguments) in commands.items():
            if target is not None:
                said = measured([sys.executable, "-c", _IMPORTED, *arguments], env).stderr
                imported[name] = ", ".join(said.split()) or "none"
    rows = []
    for name, (_, target, _) in commands.items():
        walls = [used.wall for used in found[name]]
        middle = median(walls)
        bare = median(used.wall for used in found["python -c pass"])
        rows.append(
            [
                f"`{name}`",
                f"{middle:.2f}",
                f"{min(walls):.2f}",
                f"{median(used.cpu for used in found[name]):.2f}",
                f"{middle / bare:.1f} x",
                f"<= {target}" if target else "",
                verdict(middle, target) if target else "",
                imported.get(name, ""),
            ]
        )
    columns = ["", "median s", "best s", "processor s", "of bare Python", "target", "", "imports"]
    print(table(columns, rows))
    return 0


def _publish_something(home: Path) -> None:
    with duckdb.connect(str(home / "sf_assets.duckdb")) as con:
        con.execute("CREATE TABLE one (answer INTEGER)")


if __name__ == "__main__":
    sys.exit(main())
