"""Purges, waves, milestones and what the operator noted, against plain Python over the lists."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest

from sf_assets.handles.annotations import read_annotations
from sf_assets.handles.parse import parse_registry
from sf_assets.handles.settings import RegistryError
from sf_assets.warehouse.handles import record_annotations, record_handles

from ..lists import Lists, Told, on, who

CALM, PURGED, WAVE = 8, 10, 12


def told_days() -> dict[int, list[int]]:
    """One comes and one leaves a day; on day 10 thirty leave, on day 12 forty come."""
    days, stays, newest = {}, [*range(200, 0, -1)], 200
    for day in range(1, 16):
        stays = [newest + 1, *stays[:-1]]
        newest += 1
        if day == PURGED:
            stays = [n for n in stays if n % 6]
        if day == WAVE:
            stays = [*range(newest + 40, newest, -1), *stays]
            newest += 40
        days[day] = stays
    return days


def test_a_purge_a_wave_and_a_milestone_are_named(lists: Lists) -> None:
    days = told_days()
    lists.tell(
        *(
            # Of those who are purged nobody has a bio, of the others everybody.
            Told(day, "nova", tuple(who(n, bio="" if n % 6 == 0 else "hi") for n in stays))
            for day, stays in days.items()
        )
    )
    gone = set(days[PURGED - 1]) - set(days[PURGED])
    came = set(days[WAVE]) - set(days[WAVE - 1])
    usual = median(len(set(days[day]) - set(days[day - 1])) for day in range(2, WAVE))
    assert lists.rows(
        "SELECT snapshot_date, previous_date, kind, accounts, usual_a_day, followers_net, "
        "alike_in, alike_value, alike_share FROM events WHERE kind <> 'milestone' ORDER BY ALL"
    ) == [
        (on(PURGED), on(PURGED - 1), "purge", len(gone), 1,
         len(days[PURGED]) - len(days[PURGED - 1]), "bio", "no",
         len([n for n in gone if n % 6 == 0]) / len(gone)),
        (on(WAVE), on(WAVE - 1), "wave", len(came), usual, len(days[WAVE]) - len(days[WAVE - 1]),
         *lists.one("SELECT alike_in, alike_value, alike_share FROM events WHERE kind = 'wave'")),
    ]  # fmt: skip


def test_who_leaves_while_the_total_stands_is_no_purge(lists: Lists) -> None:
    """Banned accounts that TikTok goes on counting are a spike of losses, and no purge."""
    days = told_days()
    lists.tell(
        *(Told(day, "nova", tuple(stays), total=210) for day, stays in days.items() if day < WAVE)
    )
    assert lists.rows("SELECT kind FROM events WHERE kind <> 'milestone'") == []


@pytest.mark.parametrize(
    ("totals", "milestones"),
    [
        ([99, 100, 101], {2: 100}),
        ([150, 199, 201, 199, 200, 499, 500], {3: 200, 7: 500}),
        ([999, 2_100], {2: 2_000}),
        ([5, 30, 60], {}),
        ([99_999, 100_000, 1_000_000], {2: 100_000, 3: 1_000_000}),
    ],
)
def test_a_round_number_is_a_milestone_the_first_time(
    lists: Lists, totals: list[int], milestones: dict[int, int]
) -> None:
    lists.tell(
        *(
            Told(day, "nova", (2, 1), total=total, end="page_limit")
            for day, total in enumerate(totals, start=1)
        )
    )
    rows = lists.rows("SELECT snapshot_date, milestone FROM events WHERE kind = 'milestone'")
    assert dict(rows) == {on(day): milestone for day, milestone in milestones.items()}


def test_newcomers_of_annotated_days_are_compared_with_the_others(
    lists: Lists, tmp_path: Path
) -> None:
    """All lists are complete, so the estimate is the share that is still there."""
    days = told_days()
    lists.tell(*(Told(day, "nova", tuple(stays)) for day, stays in days.items()))
    for day in range(16, 31):  # of the wave every other one leaves on day 18
        days[day] = [n for n in days[15] if day < 18 or not (n in days[WAVE] and n % 2)]
    lists.tell(*(Told(day, "nova", tuple(days[day])) for day in range(16, 31)))
    path = tmp_path / "annotations.yaml"
    path.write_text(f"- {{day: {on(WAVE)}, handle: '@Nova', text: Campaign}}\n")
    record_handles(lists.con, parse_registry("handles: [nova]"), on(30))
    assert record_annotations(lists.con, path) is None
    first = {n: day for day in range(30, 1, -1) for n in days[day] if n not in days[day - 1]}
    for of_these, gained, still, lost, unknown, retention in lists.rows(
        "SELECT of_these_days, gained, still_listed, lost, unknown, retention "
        "FROM annotation_retention WHERE days_after = 14"
    ):
        cohort = [n for n, day in first.items() if (day == WAVE) is of_these and day + 14 <= 30]
        there = [n for n in cohort if n in days[first[n] + 14]]
        assert (gained, still, lost, unknown) == (
            *(len(cohort), len(there), len(cohort) - len(there), 0),
        )
        if of_these:  # who came later than 14 days ago counts in the estimate of the others
            assert retention == pytest.approx(len(there) / len(cohort))


def test_a_broken_file_of_annotations_leaves_those_that_are_recorded(
    lists: Lists, tmp_path: Path
) -> None:
    path = tmp_path / "annotations.yaml"
    assert record_annotations(lists.con, path) is None
    path.write_text("- {day: 2026-11-03, until: 2026-11-05, tag: acme, text: 'Fair: Berlin'}\n")
    assert record_annotations(lists.con, path) is None
    kept = lists.rows("SELECT handle, tag, first_day, last_day, text FROM annotations")
    assert kept == [(None, "acme", on(3), on(5), "Fair: Berlin")]
    good = "- {day: 2026-11-03, text: x}\n"
    for text, wrong in (
        ("- {day: 3, text: x}", r"yaml:1: annotation 1\.day"),
        (good + "- {day: 2026-11-03, text: x, until: 2026-11-01}", "yaml:2: .*until is before"),
        (
            good * 3 + "- {day: 2026-11-03, text: x, handle: a, tag: b}",
            "yaml:4: .*use handle or tag",
        ),
        (good + "- day: 2026-11-03\n  text: x\n  handel: a\n", r"yaml:4: annotation 2\.handel"),
        (good + "- day: 2026-11-03\n  text: x\n  handle: a b\n", r"yaml:4: annotation 2\.handle"),
        (good + "- day: 2026-11-03\n", r"yaml:2: annotation 2\.text"),
        (good + "-\n- x\n", "yaml:2: annotation 2"),
        ("\nnotes: {}", "yaml:2: annotation : must be a list"),
        (good + "- [", "cannot read .*line 2"),
        ("[" * 5000, "cannot read"),
        ("- {day: 2026-11-03, text: '\x00'}", "cannot read"),
    ):
        path.write_text(text)
        with pytest.raises(RegistryError, match=wrong):
            read_annotations(path)
        assert "stay" in (record_annotations(lists.con, path) or "")
    assert lists.rows("SELECT handle, tag, first_day, last_day, text FROM annotations") == kept
