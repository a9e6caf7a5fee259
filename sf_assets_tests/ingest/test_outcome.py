"""What came of a run's lists: whether it failed, what it says, whether another try is worth it."""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from sf_assets.ingest.outcome import RunOutcome
from sf_assets.ingest.reader import Collected, Outcome
from sf_assets.model import SnapshotKey
from sf_assets.storage.records import Attempt, Landed
from sf_assets.warehouse.errors import WarehouseBusy
from sf_assets.warehouse.load import Before, LoadFailure

DAY = date(2026, 11, 1)
ALICE, BOB = (SnapshotKey(DAY, handle, "followers") for handle in ("alice", "bob"))
LANDED = Landed(ALICE, Path("alice.jsonl"), (Attempt(1, "", "run", "2026-11-01T00:00:00Z"),), 0)


def outcome_of(*ended: Collected) -> RunOutcome:
    outcome = RunOutcome()
    for one in ended:
        outcome.add(one)
    return outcome


@pytest.mark.parametrize(
    ("ended", "failed", "another_try", "refused"),
    [
        (Collected(ALICE, Outcome.FINISHED, LANDED), False, False, ""),
        (Collected(ALICE, Outcome.BUDGET), False, False, ""),
        (Collected(ALICE, Outcome.BROKEN_OFF, reason="reset"), True, True, ""),
        (Collected(ALICE, Outcome.FAILED, reason="bad page"), True, False, ""),
        (Collected(ALICE, Outcome.UNAUTHORIZED, reason="key"), True, False, "unauthorized"),
        (Collected(ALICE, Outcome.CREDITS, reason="402"), True, False, "credits"),
        (Collected(ALICE, Outcome.CREDITS, LANDED, pages_missing=3), True, False, "credits"),
    ],
    ids=lambda value: value.outcome.value if isinstance(value, Collected) else None,
)
def test_a_run_fails_for_what_another_day_or_a_larger_cap_does_not_mend(
    ended: Collected, failed: bool, another_try: bool, refused: str
) -> None:
    outcome = outcome_of(Collected(BOB, Outcome.FINISHED, LANDED), ended)
    failure = outcome.failure(2, {})
    assert (failure is not None, outcome.worth_another_try) == (failed, another_try)
    assert failure is None or failure.metadata["refused_by_vendor"] == refused
    assert (outcome.capped() is not None) is (ended.outcome is Outcome.BUDGET)


def test_a_refusal_is_not_tried_again_for_the_sake_of_the_others() -> None:
    outcome = outcome_of(
        Collected(ALICE, Outcome.BROKEN_OFF), Collected(BOB, Outcome.UNAUTHORIZED, reason="key")
    )
    assert not outcome.worth_another_try


def test_a_failure_names_handles_and_reasons_each_once() -> None:
    following = SnapshotKey(DAY, "alice", "following")
    outcome = outcome_of(
        *(Collected(key, Outcome.FAILED, reason="same") for key in (ALICE, following)),
        Collected(BOB, Outcome.FAILED),
    )
    failure = outcome.failure(9, {})
    assert failure is not None
    assert failure.sentence == (
        "3 of 9 lists did not finish (alice, bob); the others are stored. same | unfinished"
    )
    assert failure.metadata == {
        "credits_missing": 0,
        "unfinished": [str(ALICE), str(following), str(BOB)],
        "reasons": ["same", "unfinished"],
        "refused_by_vendor": "",
    }
    assert outcome.unfinished_of([BOB]) == f"Unfinished: {BOB}: unfinished"


@pytest.mark.parametrize(
    ("before", "missing"), [({}, 4), ({("followers", "bob"): Before("found", 10)}, 13)]
)
def test_credits_that_ran_out_are_one_sentence_for_all_lists(
    before: dict[tuple[str, str], Before], missing: int
) -> None:
    outcome = outcome_of(
        Collected(ALICE, Outcome.CREDITS, LANDED, pages_missing=3),
        Collected(BOB, Outcome.CREDITS, reason="402"),
    )
    failure = outcome.failure(2, before)
    assert failure is not None
    assert failure.metadata["credits_missing"] == missing
    (reason,) = failure.metadata["reasons"]
    assert reason.startswith(f"Credits ran out: the rest of 2 lists needs about {missing} more")
    assert failure.sentence == (
        f"{reason}. 1 of 2 lists did not finish (bob); the others are stored."
    )


@pytest.mark.parametrize("error", [WarehouseBusy("held by 7"), OSError("no room")])
def test_what_cannot_be_loaded_is_tried_again_where_only_another_process_is_in_the_way(
    error: Exception,
) -> None:
    outcome = outcome_of(Collected(ALICE, Outcome.FINISHED, LANDED, attempts=LANDED.attempts))
    assert outcome.add_not_loaded([ALICE], error) == f"1 list landed and not loaded: {error}"
    assert outcome.unfinished == {ALICE: f"its landed pages are not loaded: {error}"}
    busy = isinstance(error, WarehouseBusy)
    assert (outcome.busy, outcome.worth_another_try) == (busy, busy)
    assert outcome.attempts == {ALICE: LANDED.attempts}


def test_a_list_that_alone_cannot_be_loaded_says_where_its_pages_are_kept() -> None:
    outcome = RunOutcome()
    outcome.add_loaded({ALICE: LANDED}, [], [LoadFailure(ALICE, "a bad number")])
    assert "(a bad number); they are kept in alice.jsonl" in outcome.unfinished[ALICE]


def test_strange_fields_are_counted_over_all_lists_and_harmless() -> None:
    counts: Any = Counter({"new\x1b[2J": 2, "other": 1})
    outcome = outcome_of(
        *(Collected(key, Outcome.FINISHED, LANDED, new_fields=counts) for key in (ALICE, BOB))
    )
    assert outcome.strange_fields() == {"followers": {"new\ufffd[2J": 4, "other": 2}}
