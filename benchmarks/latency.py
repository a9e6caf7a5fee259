"""How close is a day to its floor, the longest list's pages one after the other?

    python benchmarks/latency.py                 50 lists of 10 to 250 pages, 300 ms a page
    python benchmarks/latency.py --lists 10 --longest 40 --concurrency 8

Follower lists whose lengths rise evenly from the shortest to the longest, in an order of names that
says nothing about their lengths, against prepared answers that come after the latency. Clock time
of `sf-assets snapshot`, start to end: Dagster, reading, load, derivation, publication. The floor is
the longest list's pages times the latency; the target is 1.1 times that and 10 s. Two days are
read: on the first nothing is known of the lists, on the second how long they were. Where fewer
lists are read at once than there are (`--concurrency`, the product's default is 32), the floor also
takes what is shorter to wait for: all pages over the number of lists read at once.
"""

from __future__ import annotations

import argparse
import random
import sys

import duckdb
from common import (
    LAST_DAY,
    SF_ASSETS,
    days_up_to,
    measured,
    open_lists,
    pipeline_env,
    say,
    scratch,
    table,
    track,
    verdict,
)
from prepared_api import serving

PAGE_SIZE = 20


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lists", type=int, default=50)
    parser.add_argument("--shortest", type=int, default=10, help="pages")
    parser.add_argument("--longest", type=int, default=250, help="pages")
    parser.add_argument("--latency-ms", type=float, default=300)
    parser.add_argument("--concurrency", type=int, default=32, help="SF_ASSETS_CONCURRENCY")
    parser.add_argument("--days", type=int, default=2)
    wanted = parser.parse_args()
    step = (wanted.longest - wanted.shortest) / max(1, wanted.lists - 1)
    # A page less than said, as lists grow a little while the world stands.
    sizes = [
        max(1, round(wanted.shortest + step * place) * PAGE_SIZE * 15 // 16)
        for place in range(wanted.lists)
    ]
    random.Random(5).shuffle(sizes)
    days = days_up_to(LAST_DAY, wanted.days)
    latency = wanted.latency_ms / 1_000
    rows = []
    world = open_lists(sizes)
    with (
        scratch() as home,
        serving(world, days=days, page_size=PAGE_SIZE, latency=latency) as api,
    ):
        for day in days:
            env = pipeline_env(
                home,
                api.base_url,
                days[0],
                day,
                SF_ASSETS_CONCURRENCY=str(wanted.concurrency),
            )
            if day == days[0]:
                track(env, [f"bench.{number:04d}" for number in range(wanted.lists)])
            used = measured([*SF_ASSETS, "snapshot"], env)
            with duckdb.connect(str((home / "sf_assets.duckdb").resolve()), read_only=True) as con:
                longest, pages, reading = con.execute(
                    "SELECT max(pages), sum(pages), epoch(max(finished_at)) - "
                    "epoch(min(started_at)) FROM snapshots WHERE snapshot_date = ?",
                    [day],
                ).fetchall()[0]
            floor = longest * latency
            shared = max(floor, pages / wanted.concurrency * latency)
            target = 1.1 * floor + 10
            say(f"{day}: {used.wall:.1f} s, {used.cpu:.1f} s of processor time")
            rows.append(
                [
                    day.isoformat(),
                    f"{pages:,}",
                    f"{longest}",
                    f"{floor:.1f}",
                    f"{shared:.1f}",
                    f"{reading:.1f}",
                    f"{used.wall:.1f}",
                    f"{used.wall / floor:.2f} x",
                    f"<= {target:.1f}",
                    verdict(used.wall, target),
                ]
            )
    print(
        f"{wanted.lists} lists, {wanted.latency_ms:g} ms a page, {wanted.concurrency} lists at "
        "once; seconds on the clock:\n"
    )
    columns = ["day", "pages", "longest", "floor", "floor at that concurrency", "reading"]
    print(table([*columns, "snapshot", "of the floor", "target", ""], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
