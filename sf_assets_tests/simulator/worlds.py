"""A small world with one profile for each thing a test wants to see."""

from __future__ import annotations

from datetime import date, timedelta

from sf_assets.simulator import ListSpec, ProfileSpec, Purge, Quirk, QuirkKind, Status, World

TODAY = date(2026, 10, 20)


def back(days: int) -> date:
    return TODAY - timedelta(days=days)


_LIVELY = ListSpec(size=150, gain=0.02, loss=0.02, refollow=0.4)
_SMALL = ListSpec(size=45, gain=0.01, loss=0.01)
QUIRKY: dict[QuirkKind, str] = {
    kind: f"sim.{kind.replace('_', '.')}"
    for kind in ("skip", "early_end", "shuffle", "overlap", "stale", "repeat", "stall")
}


def make_world(seed: int = 7) -> World:
    return World(
        [
            ProfileSpec("sim.open", _LIVELY, _SMALL),
            ProfileSpec("sim.empty"),
            ProfileSpec("sim.private", _LIVELY, _SMALL, (Status("private", back(3), back(2)),)),
            ProfileSpec(
                "sim.hidden", _LIVELY, _SMALL, (Status("hidden", back(3), None, "followers"),)
            ),
            ProfileSpec("sim.gone", _LIVELY, _SMALL, (Status("not_found", back(1)),)),
            ProfileSpec(
                "sim.halfway",
                _LIVELY,
                _SMALL,
                (Status("hidden", TODAY, TODAY, "followers", halfway=True),),
            ),
            ProfileSpec("sim.capped", ListSpec(size=900, gain=0.01, loss=0.005, cap=110), _SMALL),
            ProfileSpec("sim.deleted", ListSpec(size=400, deleted=0.1), _SMALL),
            ProfileSpec("sim.flicker", ListSpec(size=400, flicker=0.02), _SMALL),
            ProfileSpec("sim.rename", ListSpec(size=200, rename=0.05), _SMALL),
            ProfileSpec(
                "sim.takeover",
                ListSpec(size=120, gain=0.05, loss=0.02, takeovers=tuple(map(back, range(1, 20)))),
                _SMALL,
            ),
            ProfileSpec(
                "sim.no.ids",
                ListSpec(size=200, no_user_id=0.3, no_sec_uid=0.3, id_gap=0.05),
                _SMALL,
            ),
            ProfileSpec("sim.purge", ListSpec(size=300, purges=(Purge(TODAY, 0.2),)), _SMALL),
            ProfileSpec("sim.minus", ListSpec(size=60, end="minus_one"), _SMALL),
            ProfileSpec("sim.extra", ListSpec(size=60, end="empty_page"), _SMALL),
            ProfileSpec("sim.live", ListSpec(size=200, total_jitter=2), _SMALL),
            *(
                ProfileSpec(
                    handle,
                    ListSpec(size=300, gain=0.02, loss=0.01, quirks=(Quirk(kind, TODAY),)),
                    _SMALL,
                )
                for kind, handle in QUIRKY.items()
            ),
        ],
        epoch=back(60),
        seed=seed,
        horizon_days=200,
    )
