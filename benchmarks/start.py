"""How long until a command answers?

    python benchmarks/start.py --times 20
    python benchmarks/start.py --times 1 --days 7      a small day, as often

`sf-assets --help`, `sf-assets query` of one value on a small published file, and, for the share
that is Python's own, `python -c pass`; each several times, taking turns, as processes of their own.
Seconds on the clock and of processor time; the median, and the best, which the machine's other work
disturbs least. The modules that may be imported only where they are used are listed if they were.
With `--days`, so many days of three lists of 200 followers by `sf-assets snapshot` as well, and by
how much Dagster's files grow on such a day; the first day, which makes them, is left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median

import duckdb
from common import (
    LAST_DAY,
    SF_ASSETS,
    Used,
    days_up_to,
    measured,
    open_lists,
    pipeline_env,
    scratch,
    table,
    track,
    verdict,
)
from prepared_api import serving

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
    parser.add_argument("--days", type=int, default=0)
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
    if wanted.days:
        print("\n" + _small_days(wanted.days))
    return 0


def _small_days(count: int) -> str:
    days, handles = days_up_to(LAST_DAY, count + 1), [f"bench.{n:04d}" for n in range(3)]
    used: list[Used] = []
    sizes: list[int] = []
    with scratch() as home, serving(open_lists([200] * 3), days=days) as api:
        for day in days:
            env = pipeline_env(home, api.base_url, days[0], day)
            if day == days[0]:
                track(env, handles)
            used.append(measured([*SF_ASSETS, "snapshot"], env))
            files = [path for path in (home / "dagster").rglob("*") if path.is_file()]
            sizes.append(sum(path.stat().st_size for path in files))
    cpu, wall = median(one.cpu for one in used[1:]), median(one.wall for one in used[1:])
    grown = (sizes[-1] - sizes[0]) / count / 1000
    return table(
        ["a day of three lists of 200", "measured", "target", ""],
        [
            ["processor s", f"{cpu:.2f}", "<= 2.5", verdict(cpu, 2.5)],
            ["s on the clock", f"{wall:.2f}", "<= 2.5", verdict(wall, 2.5)],
            ["Dagster's files, kB a day", f"{grown:.0f}", "", ""],
        ],
    )


def _publish_something(home: Path) -> None:
    with duckdb.connect(str(home / "sf_assets.duckdb")) as con:
        con.execute("CREATE TABLE one (answer INTEGER)")


if __name__ == "__main__":
    sys.exit(main())
