"""How long does it take to forget somebody?

    python benchmarks/forget.py                          365 days of 50 lists of 2,000 accounts
    python benchmarks/forget.py --days 60 --lists 20

An archive is written as in `footprint.py` and packed day by day. Then an account that was listed on
the first day is forgotten; processor and clock seconds, step by step. All tables are made anew.
"""

from __future__ import annotations

import argparse
import sys
import time

import duckdb
import pyarrow.parquet as pq
from common import LAST_DAY, days_up_to, say, scratch, table
from footprint import People, write_day

from sf_assets.people.forget import Journal, forget
from sf_assets.people.forget_files import JOURNAL
from sf_assets.people.forget_rows import Person, gather
from sf_assets.settings import Settings
from sf_assets.storage.home import Home
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.pack import pack


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--lists", type=int, default=50)
    parser.add_argument("--accounts", type=int, default=2_000)
    wanted = parser.parse_args()
    with scratch() as folder:
        home = Home(folder / "home")
        days = days_up_to(LAST_DAY, wanted.days)
        home.ensure(Settings(home=home.root, start_date=days[0]))
        people = People(wanted.lists, wanted.accounts)
        number = ""
        with duckdb.connect() as writer:
            writer.execute("SET TimeZone = 'UTC'")
            for nth, day in enumerate(days):
                if nth:
                    people.next_day()
                write_day(writer, home, people, day)
                (file,) = (home.archive / f"day={day}").iterdir()
                number = number or pq.read_table(file)["platform_user_id"][7].as_py()
                pack(home.archive)
                if nth % 30 == 29:
                    say(f"{nth + 1} of {wanted.days} days")
        with writing(home.warehouse):
            pass  # it is made of the archive in the end
        rows: list[tuple[str, ...]] = []
        under_way, since = "beginning", moment()

        def tell(step: str) -> None:
            nonlocal under_way, since
            now = moment()
            took = (f"{end - begin:,.1f}" for begin, end in zip(since, now, strict=True))
            rows.append((under_way, *took))
            under_way, since = step, now
            say(step)

        person = Person(numbers={number})
        gather(home, [person], tell)
        made = forget(home, Journal(home.root / JOURNAL, [person], "benchmark"), tell)
        tell("")
        print(f"{sum(person.rows.values()):,} rows in {len(person.rows)} lists")
        print(table(["step", "processor s", "clock s"], rows))
        print(f"{made.files} files of the archive made anew; left: {made.left}")
        return 0 if made.done else 1


def moment() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


if __name__ == "__main__":
    sys.exit(main())
