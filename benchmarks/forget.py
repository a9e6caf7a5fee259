"""How long does it take to forget somebody?

    python benchmarks/forget.py                          365 days of 50 lists of 2,000 accounts
    python benchmarks/forget.py --days 60 --handles 20

A home is filled as in `year.py`, packed as after each derivation, and published. Then one account
that is in a list on most days is forgotten; seconds on the clock, step by step.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import date

from common import LAST_DAY, days_up_to, say, scratch, table
from year import Year, a_world

from sf_assets.people.forget import Journal, forget, look
from sf_assets.people.forget_files import JOURNAL
from sf_assets.settings import Settings
from sf_assets.storage.home import Home
from sf_assets.warehouse.connection import reading
from sf_assets.warehouse.pack import pack
from sf_assets.warehouse.publish import publish

# An account that is listed often, and is no tracked one.
_OFTEN = """
SELECT account_id, any_value(a.account_handle)
FROM memberships AS m JOIN accounts AS a USING (account_id)
WHERE NOT starts_with(a.account_handle, 'bench')
GROUP BY account_id ORDER BY count(DISTINCT m.handle) DESC, min(m.first_seen), account_id LIMIT 1
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--handles", type=int, default=50)
    parser.add_argument("--accounts", type=int, default=2000)
    given = parser.parse_args()
    with scratch() as folder:
        home = Home(folder / "home")
        first = days_up_to(LAST_DAY, given.days)[0]
        home.ensure(Settings(home=home.root, start_date=first))
        filled = filling(home, given.handles, given.accounts, given.days)
        with reading(home.readable) as con:
            ((account_id, handle),) = con.execute(_OFTEN).fetchall()
        rows = [["filling the home", f"{filled:,.0f}"]]
        under_way, since = "asking the tables", time.perf_counter()

        def tell(step: str) -> None:
            nonlocal under_way, since
            rows.append([under_way, f"{time.perf_counter() - since:,.1f}"])
            under_way, since = step, time.perf_counter()
            say(step)

        people = look(home, [account_id], tell)
        made = forget(home, Journal(home.root / JOURNAL, people, "benchmark"), tell)
        tell("")
        print(f"@{handle}: {sum(people[0].rows.values()):,} rows in {len(people[0].rows)} lists")
        print(table(["step", "seconds"], rows))
        print(f"{made.files} files of the archive made anew; left: {made.left}")
        return 0 if made.done else 1


def filling(home: Home, handles: int, accounts: int, days: int) -> float:
    """Fill, pack and publish the home; returns the seconds."""
    begun = time.perf_counter()
    year = Year(home, a_world(handles, accounts, days))
    some: list[date] = days_up_to(LAST_DAY, days)
    for number, day in enumerate(some, start=1):
        year.direct_day(day)
        pack(home.archive)
        if number % 30 == 0:
            say(f"{number} of {days} days")
    publish(home)
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
