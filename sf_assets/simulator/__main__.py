"""`python -m sf_assets.simulator`: only the simulator, in the foreground."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import date, datetime, timezone

from sf_assets.simulator.app import Options
from sf_assets.simulator.presets import PRESETS, preset_world
from sf_assets.simulator.serve import run, run_as_child


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sf_assets.simulator",
        description="A simulated Social Fetch on 127.0.0.1. Example: "
        "python -m sf_assets.simulator --port 8765 --preset small --fault-rate 0.05",
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--preset", choices=PRESETS, default="demo", help="default: demo")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another world")
    parser.add_argument("--handles", type=int, help="number of profiles; not for demo")
    parser.add_argument("--accounts", type=int, help="followers per profile; not for demo")
    parser.add_argument("--page-size", type=int, default=20, help="accounts a page (20)")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="wait before each page")
    parser.add_argument("--balance", type=int, default=1_000_000, help="credits at the start")
    parser.add_argument("--cache-seconds", type=float, default=0.0, help="mark repeats as cached")
    parser.add_argument("--fault-rate", type=float, default=0.0, help="share of disturbed pages")
    parser.add_argument(
        "--today",
        type=date.fromisoformat,
        metavar="YYYY-MM-DD",
        help="the day the story leads up to, and the day that is answered for "
        "(default: the real UTC day, which moves on)",
    )
    parser.add_argument("--as-child", action="store_true", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    wanted = parser.parse_args(argv)
    if wanted.as_child:
        run_as_child()
        return 0
    try:
        world = preset_world(
            wanted.preset,
            today=wanted.today or datetime.now(timezone.utc).date(),
            seed=wanted.seed,
            handles=wanted.handles,
            accounts=wanted.accounts,
        )
        options = Options(
            page_size=wanted.page_size,
            balance=wanted.balance,
            latency_ms=wanted.latency_ms,
            cache_seconds=wanted.cache_seconds,
            fault_rate=wanted.fault_rate,
            day=wanted.today,
        )
        run(world, options, port=wanted.port)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
