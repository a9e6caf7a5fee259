"""Plays as many random worlds as wanted: python -m sf_assets_tests.truth --worlds 500"""

from __future__ import annotations

import argparse

from .explore import explain, explore_many


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", help="what the smallest world is to show")
    parser.add_argument("--seconds", type=float, default=60, help="for making it small")
    wanted = parser.parse_args()
    wrong = explore_many(wanted.seed, wanted.worlds)
    if not wrong:
        print(f"{wanted.worlds} worlds of seed {wanted.seed}: nothing wrong")
        return
    print(explain(wanted.seed, wrong, kind=wanted.kind, seconds=wanted.seconds))
    raise SystemExit(1)


if __name__ == "__main__":
    main()
