"""Ready-made worlds: one for the demo, one for tests, two for benchmarks."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any, Literal

from sf_assets.simulator.world import (
    QUIRK_KINDS,
    ListSpec,
    ProfileSpec,
    Purge,
    Quirk,
    QuirkKind,
    Status,
    World,
)


def _always(kind: QuirkKind) -> dict[str, Any]:
    return {"quirk_chance": {kind: 1.0}}


#: Behaviours that the contract leaves open, each in its harder form: description, changes of
#: `ListSpec`, changes of `Options`.
ANSWERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "pages-of-30": ("a page has 30 accounts", {}, {"page_size": 30}),
    "overlap": ("each page starts with accounts of the previous page", _always("overlap"), {}),
    "few-ids": ("40 % have no user id, 40 % no secUid", {"no_user_id": 0.4, "no_sec_uid": 0.4}, {}),
    "cached": ("a page requested twice comes from a cache", {}, {"cache_seconds": 3600.0}),
    "stale": ("each list has one page of the previous day", _always("stale"), {}),
    "cursors-expire": ("cursors expire after 30 seconds", {}, {"cursor_seconds": 30.0}),
    "billed-failures": (
        "failed lookups are billed", {},
        {"bill_failed_lookups": True, "fault_rate": 0.05, "fault_kinds": ("http_502",)},
    ),
    "end-error": ("a list ends with an error", {"end": "error"}, {}),
    "end-minus-one": ("a list ends with the cursor -1", {"end": "minus_one"}, {}),
    "favoured": ("a tenth of each list comes first, whatever its age", {"order": "favoured"}, {}),
    "no-order": ("lists have no order", _always("shuffle"), {}),
    "retry-date": (
        "Retry-After is a date", {}, {"fault_rate": 0.05, "fault_kinds": ("http_503_retry_date",)},
    ),
    "at-resolves": ("@handle is accepted", {}, {"accepts_at": True}),
}  # fmt: skip

Preset = Literal["demo", "small", "worst", "bench"]
PRESETS: tuple[Preset, ...] = ("demo", "small", "worst", "bench")

#: Days of history before `today` in every preset.
DEMO_PAST_DAYS = 120


def demo_profiles(today: date) -> tuple[ProfileSpec, ...]:
    """Thirteen profiles that together show every state and event the product reports."""

    def back(days: int) -> date:
        return today - timedelta(days=days)

    calm = ListSpec(size=60, gain=0.004, loss=0.003, refollow=0.2)
    return (
        ProfileSpec(
            "sim.nova",
            ListSpec(size=640, gain=0.006, loss=0.002, refollow=0.15, rename=0.0005),
            ListSpec(size=150, gain=0.006, loss=0.004, refollow=0.2),
            note="open; grows every day",
        ),
        ProfileSpec(
            "sim.bakery",
            ListSpec(size=420, gain=0.012, loss=0.012, refollow=0.3, rename=0.001),
            ListSpec(size=90, gain=0.004, loss=0.004),
            note="open; as many accounts leave as join, and some come back",
        ),
        ProfileSpec(
            "sim.tiny.garden",
            ListSpec(size=40, gain=0.006, loss=0.003),
            ListSpec(size=20, gain=0.002, loss=0.002),
            note="open; small and quiet",
        ),
        ProfileSpec(
            "sim.atlas",
            ListSpec(
                size=112_000, gain=0.0012, loss=0.0006, refollow=0.1, cap=1_000, rename=0.0003
            ),
            ListSpec(size=200, gain=0.002, loss=0.001),
            note="about 120,000 followers; the list shows the newest 1,000",
        ),
        ProfileSpec(
            "sim.private.day",
            ListSpec(size=310, gain=0.006, loss=0.004, refollow=0.2),
            calm,
            statuses=(Status("private", back(5)),),
            note="turned private five days ago and stays private",
        ),
        ProfileSpec(
            "sim.goes.dark",
            ListSpec(size=260, gain=0.008, loss=0.005, refollow=0.2),
            calm,
            statuses=(Status("private", today),),
            note="turns private today",
        ),
        ProfileSpec(
            "sim.on.and.off",
            ListSpec(size=230, gain=0.01, loss=0.006, refollow=0.3),
            calm,
            statuses=(Status("private", back(12), back(10)),),
            note="was private for three days and is open again",
        ),
        ProfileSpec(
            "sim.hidden.fans",
            ListSpec(size=280, gain=0.005, loss=0.005),
            calm,
            statuses=(
                Status("hidden", back(9), back(9), "followers", halfway=True),
                Status("hidden", back(8), None, "followers"),
            ),
            note="hid its followers nine days ago, while the list was read; following stays open",
        ),
        ProfileSpec(
            "sim.vanished",
            ListSpec(size=180, gain=0.006, loss=0.006),
            calm,
            statuses=(Status("not_found", back(3)),),
            note="deleted three days ago",
        ),
        ProfileSpec(
            "sim.new.names",
            ListSpec(
                size=240,
                gain=0.02,
                loss=0.01,
                refollow=0.3,
                rename=0.02,
                takeovers=tuple(back(days) for days in (21, 16, 11, 6, 2)),
            ),
            calm,
            note="followers rename themselves; freed handles are taken by other people",
        ),
        ProfileSpec(
            "sim.no.ids",
            ListSpec(
                size=300,
                gain=0.008,
                loss=0.006,
                refollow=0.2,
                no_user_id=0.25,
                no_sec_uid=0.2,
                id_gap=0.02,
            ),
            calm,
            note="many followers have no ids",
        ),
        ProfileSpec(
            "sim.bot.purge",
            ListSpec(size=900, gain=0.003, loss=0.002, purges=(Purge(back(6), 0.2),)),
            calm,
            note="a fifth of its followers were bots and were removed six days ago",
        ),
        ProfileSpec(
            "sim.bad.pages",
            ListSpec(
                size=360,
                gain=0.008,
                loss=0.005,
                refollow=0.2,
                deleted=0.003,
                flicker=0.001,
                quirks=(
                    Quirk("overlap", back(13), size=4),
                    Quirk("skip", back(7)),
                    Quirk("repeat", back(4)),
                    Quirk("stall", back(1)),
                ),
            ),
            calm,
            note="pages overlap, repeat, are missing, or never end",
        ),
    )


def worst_month(
    today: date,
    *,
    handles: int = 20,
    accounts: int = 5_000,
    flicker: float = 0.005,
    giant: bool = True,
) -> tuple[ProfileSpec, ...]:
    """Every difficulty at once, in the 30 days up to `today`, on every handle.

    `giant` adds sim.worst.giant, with 100,000 followers; the list shows 5,000.
    """
    chances: dict[QuirkKind, float] = dict.fromkeys(QUIRK_KINDS, 0.04)
    made = []
    for number in range(handles):
        base = today - timedelta(days=3 + number % 20)
        week = timedelta(days=6)
        statuses = (
            Status("private", base, base + timedelta(days=number % 3)),
            Status("hidden", base - week, base - week, "followers", halfway=True),
            Status("not_found", base + timedelta(days=5)) if number % 7 == 6 else None,
            Status("hidden", base - timedelta(days=3), base - timedelta(days=3), "following"),
        )
        followers = ListSpec(
            size=accounts,
            gain=0.01,
            loss=0.008,
            refollow=0.3,
            rename=0.002,
            no_user_id=0.03,
            no_sec_uid=0.03,
            id_gap=0.01,
            deleted=(0.0, 0.002, 0.02)[number % 3],
            cap=accounts * 4 // 5 if number % 4 == 3 else None,
            flicker=flicker,
            quirk_chance=chances,
            purges=(Purge(base - timedelta(days=9), 0.1),) if number % 5 == 1 else (),
            takeovers=tuple(today - timedelta(days=day) for day in range(1, 29, 3)),
            end=("null", "minus_one", "empty_page")[number % 3],
            total_jitter=number % 2,
        )
        following = ListSpec(
            size=max(20, accounts // 10),
            gain=0.01,
            loss=0.008,
            refollow=0.3,
            rename=0.002,
            no_user_id=0.05,
            flicker=flicker,
        )
        made.append(
            ProfileSpec(
                f"sim.worst.{number:02d}",
                followers,
                following,
                tuple(entry for entry in statuses if entry is not None),
            )
        )
    if giant:
        many = ListSpec(
            size=100_000,
            gain=0.004,
            loss=0.003,
            refollow=0.2,
            rename=0.002,
            cap=5_000,
            flicker=flicker,
            id_gap=0.01,
            quirk_chance=chances,
        )
        made.append(ProfileSpec("sim.worst.giant", many, ListSpec(size=300, gain=0.01, loss=0.01)))
    return tuple(made)


def answered(world: World, answer: str) -> World:
    """The same world, with lists that behave as this entry of ANSWERS."""
    _, lists, _ = ANSWERS[answer]
    profiles = [
        replace(
            profile,
            followers=replace(profile.followers, **lists),
            following=replace(profile.following, **lists),
        )
        for profile in world.profiles.values()
    ]
    return World(profiles, epoch=world.epoch, seed=world.seed, horizon_days=world.horizon_days)


def bench_profiles(*, handles: int = 50, accounts: int = 1_000) -> tuple[ProfileSpec, ...]:
    """Open lists with ordinary growth and churn, for speed and size."""
    return tuple(
        ProfileSpec(
            f"sim.bench.{number:04d}",
            ListSpec(size=accounts, gain=0.005, loss=0.004, refollow=0.1, rename=0.0005),
            ListSpec(size=max(1, min(accounts, 1_000) // 5), gain=0.004, loss=0.004),
        )
        for number in range(handles)
    )


def preset_world(
    preset: Preset,
    *,
    today: date,
    seed: int = 1,
    handles: int | None = None,
    accounts: int | None = None,
    flicker: float | None = None,
) -> World:
    """The world of a preset, with a history that ends at `today`.

    `handles` and `accounts` set the size of all presets but demo; `flicker` is for `worst` only.
    """
    epoch = today - timedelta(days=DEMO_PAST_DAYS)
    if preset == "demo":
        return World(demo_profiles(today), epoch=epoch, seed=seed)
    if preset == "worst":
        profiles = worst_month(
            today,
            handles=20 if handles is None else handles,
            accounts=5_000 if accounts is None else accounts,
            flicker=0.005 if flicker is None else flicker,
        )
        return World(profiles, epoch=today - timedelta(days=40), seed=seed, horizon_days=120)
    if preset == "small":
        profiles = bench_profiles(handles=handles or 3, accounts=accounts or 60)
        return World(profiles, epoch=epoch, seed=seed)
    profiles = bench_profiles(
        handles=50 if handles is None else handles,
        accounts=1_000 if accounts is None else accounts,
    )
    return World(profiles, epoch=today - timedelta(days=60), seed=seed, horizon_days=160)
