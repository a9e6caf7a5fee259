"""`python -m sf_assets.simulator`: runs the simulator in the foreground."""

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
        description="Run a simulator of the Social Fetch API on 127.0.0.1. Example: "
        "python -m sf_assets.simulator --port 8765 --preset small --fault-rate 0.05",
    )
    parser.add_argument(
        "--port", type=int, default=0, help="Port to listen on. 0 (default) picks a free one."
    )
    parser.add_argument(
        "--preset", choices=PRESETS, default="demo", help="Which world to serve. Default: demo."
    )
    parser.add_argument("--seed", type=int, default=1, help="Seed of the world.")
    parser.add_argument("--handles", type=int, help="Number of profiles (not demo).")
    parser.add_argument("--accounts", type=int, help="Followers per profile (not demo).")
    parser.add_argument("--page-size", type=int, default=20, help="Accounts per page. Default: 20.")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="Delay before each page.")
    parser.add_argument("--balance", type=int, default=1_000_000, help="Credits at the start.")
    parser.add_argument("--cache-seconds", type=float, default=0.0, help="Mark repeats as cached.")
    parser.add_argument("--fault-rate", type=float, default=0.0, help="Share of disturbed pages.")
    parser.add_argument(
        "--today",
        type=date.fromisoformat,
        metavar="YYYY-MM-DD",
        help="Last day of the world's history, and the day to answer for. "
        "Default: the current UTC day.",
    )
    parser.add_argument("--as-child", action="store_true", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the simulator until Ctrl-C. Returns the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.as_child:
        run_as_child()
        return 0
    try:
        world = preset_world(
            arguments.preset,
            today=arguments.today or datetime.now(timezone.utc).date(),
            seed=arguments.seed,
            handles=arguments.handles,
            accounts=arguments.accounts,
        )
        options = Options(
            page_size=arguments.page_size,
            balance=arguments.balance,
            latency_ms=arguments.latency_ms,
            cache_seconds=arguments.cache_seconds,
            fault_rate=arguments.fault_rate,
            day=arguments.today,
        )
        run(world, options, port=arguments.port)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
