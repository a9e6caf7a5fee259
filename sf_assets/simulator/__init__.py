"""A simulator of the Social Fetch API on loopback. Its answers follow the contract and come from a
seeded, invented world.

    with background(preset="demo") as simulator:
        print(simulator.base_url, simulator.api_key)

It shares no code with the pipeline. `world` decides who follows whom on which day, `presets` has
ready worlds, `faults` disturbs answers, `app` speaks HTTP, `serve` runs the server.
"""

from sf_assets.simulator.app import Options, SimulatedApi
from sf_assets.simulator.bundled import BundledApi
from sf_assets.simulator.faults import KINDS, RANDOM_KINDS, FaultKind, Faults, QueuedFault
from sf_assets.simulator.presets import (
    ANSWERS,
    PRESETS,
    Preset,
    answered,
    bench_profiles,
    demo_profiles,
    preset_world,
    worst_month,
)
from sf_assets.simulator.serve import (
    API_KEY,
    RunningSimulator,
    SimulatorProcess,
    background,
    in_thread,
    run,
)
from sf_assets.simulator.world import (
    QUIRK_KINDS,
    RELATIONS,
    Changes,
    ListSpec,
    ListTruth,
    LookupStatus,
    PageAnswer,
    ProfileSpec,
    Purge,
    Quirk,
    QuirkKind,
    Relation,
    Status,
    World,
)

__all__ = [
    "ANSWERS",
    "API_KEY",
    "KINDS",
    "PRESETS",
    "QUIRK_KINDS",
    "RANDOM_KINDS",
    "RELATIONS",
    "BundledApi",
    "Changes",
    "FaultKind",
    "Faults",
    "ListSpec",
    "ListTruth",
    "LookupStatus",
    "Options",
    "PageAnswer",
    "Preset",
    "ProfileSpec",
    "Purge",
    "QueuedFault",
    "Quirk",
    "QuirkKind",
    "Relation",
    "RunningSimulator",
    "SimulatedApi",
    "SimulatorProcess",
    "Status",
    "World",
    "answered",
    "background",
    "bench_profiles",
    "demo_profiles",
    "in_thread",
    "preset_world",
    "run",
    "worst_month",
]
