"""The partitions follow handles.yaml; a failed read is never an empty list."""

from __future__ import annotations

import dagster as dg
import pytest

from sf_assets_tests.defs.conftest import Location


def write(location: Location, *handles: str) -> None:
    location.home.registry.write_text("handles:\n" + "".join(f"  - {one}\n" for one in handles))


def test_new_handles_become_partitions_in_the_order_of_the_file(location: Location) -> None:
    write(location, "nasa", "esa")
    cursor = location.tick("registry").cursor
    assert location.handles == ["nasa", "esa"]
    write(location, "abc", "nasa", "esa")
    location.tick("registry", cursor)
    assert location.handles == ["nasa", "esa", "abc"]


def test_an_unchanged_file_asks_for_nothing(location: Location) -> None:
    write(location, "nasa")
    cursor = location.tick("registry").cursor
    again = location.tick("registry", cursor)
    assert again.skip_reason == dg.SkipReason("No change: 1 handle.")
    assert again.cursor == cursor


def test_a_handle_leaves_only_when_it_was_in_the_file_and_is_taken_out(location: Location) -> None:
    location.instance.add_dynamic_partitions("handles", ["by.hand"])
    write(location, "nasa", "esa")
    cursor = location.tick("registry").cursor
    write(location, "esa")
    location.tick("registry", cursor)
    assert sorted(location.handles) == ["by.hand", "esa"]


def test_without_a_cursor_nobody_is_removed(location: Location) -> None:
    location.instance.add_dynamic_partitions("handles", ["nasa", "esa"])
    write(location, "esa")
    location.tick("registry")
    assert location.handles == ["nasa", "esa"]


def test_who_takes_out_the_last_handle_gets_an_empty_grid(location: Location) -> None:
    write(location, "nasa")
    cursor = location.tick("registry").cursor
    write(location)
    location.tick("registry", cursor)
    assert location.handles == []


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        " \n\n",
        "# handles:\n#   - nasa\n",
        "handles:\n  - nasa\n  - a/b\n",
        "handles: [esa",
        "nasa",
        b"\xff\xfe\x00",
    ],
    ids=["missing", "empty", "blank", "comments", "bad handle", "cut off", "no map", "no text"],
)
def test_a_failed_read_removes_nobody(location: Location, text: str | bytes | None) -> None:
    write(location, "nasa", "esa")
    cursor = location.tick("registry").cursor
    if text is None:
        location.home.registry.unlink()
    else:
        location.home.registry.write_bytes(text if isinstance(text, bytes) else text.encode())
    broken = location.tick("registry", cursor)
    assert location.handles == ["nasa", "esa"]
    assert broken.skip_reason is not None
    assert "the last valid version with 2 handles stays in force" in broken.skip_reason.skip_message
    # Nor does the tick after it, when the file is whole again.
    write(location, "nasa")
    location.tick("registry", broken.cursor or cursor)
    assert location.handles == ["nasa"]


def test_without_any_good_list_nobody_is_removed_either(location: Location) -> None:
    write(location, "nasa")
    cursor = location.tick("registry").cursor
    for file in location.home.root.glob("*handles.yaml*"):
        file.unlink()
    assert location.tick("registry", cursor).skip_reason is not None
    assert location.handles == ["nasa"]


def test_a_bad_entry_is_told_with_file_and_line(location: Location) -> None:
    location.home.registry.write_text("handles:\n  - nasa\n  - a/b\n")
    reason = location.tick("registry").skip_reason
    assert reason is not None
    assert reason.skip_message is not None
    assert reason.skip_message.startswith("handles.yaml:3: ")


def started(location: Location, *cells: str, home: str | None = None) -> dg.DagsterRun:
    """A run in progress over a range of the grid, of this home unless said otherwise."""
    tags = {"sf_assets/home": home or str(location.home.root)}
    if len(cells) == 1:
        tags["dagster/partition"] = cells[0]
    elif cells:
        tags["dagster/asset_partition_range_start"] = cells[0]
        tags["dagster/asset_partition_range_end"] = cells[-1]
    return location.note_run(dg.RunRequest(tags=tags), dg.DagsterRunStatus.STARTED)


@pytest.mark.parametrize(
    "cells",
    [
        ["2026-11-01|nasa"],
        ["2026-11-01|abc", "2026-11-01|esa"],
        ["2026-10-01|abc", "2026-11-01|nasa"],
        ["2026-11-01|nasa", "2026-11-01|gone"],
    ],
    ids=["alone", "in the middle", "days", "a range nobody can tell"],
)
def test_a_removal_waits_for_a_run_that_holds_the_handle(
    location: Location, cells: list[str]
) -> None:
    write(location, "abc", "nasa", "esa")
    cursor = location.tick("registry").cursor
    run = started(location, *cells)
    write(location, "abc", "esa", "new.one")
    cursor = location.tick("registry", cursor).cursor
    assert location.handles == ["abc", "nasa", "esa", "new.one"]
    location.instance.report_run_failed(run)
    location.tick("registry", cursor)
    assert location.handles == ["abc", "esa", "new.one"]


def test_a_removal_waits_for_no_other_run(location: Location) -> None:
    write(location, "abc", "nasa", "esa")
    cursor = location.tick("registry").cursor
    started(location, "2026-11-01|abc")
    started(location, "2026-11-01|abc", "2026-11-01|nasa", home="/somewhere/else")
    started(location, "2026-11-01")  # what is derived of a day
    location.note_run(dg.RunRequest(), dg.DagsterRunStatus.STARTED, "somebody's own job")
    write(location, "abc", "esa")
    location.tick("registry", cursor)
    assert location.handles == ["abc", "esa"]
