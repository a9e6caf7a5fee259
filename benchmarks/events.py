"""What does an event cost in Dagster's SQLite storage, and in the one that a home has?

    python benchmarks/events.py --times 3

A run over 100 partitions, each planned and each materialized by an event, in a home of its own:
with Dagster's storage as it comes and with `sf_assets.defs.sqlite_store`, taking turns. Processor
time and seconds of the whole run, for each of its events.
"""

import argparse
import logging
import os
import sys
import time
import warnings
from pathlib import Path
from statistics import median

import dagster as dg
from common import scratch, table

from sf_assets.cli.runner import dagster_instance
from sf_assets.storage.home import Home

KEYS = [str(number) for number in range(100)]
_RANGE = {"dagster/asset_partition_range_start": "0", "dagster/asset_partition_range_end": "99"}


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(KEYS))
def numbers(context: dg.AssetExecutionContext) -> None:
    for key in context.partition_keys:
        context.log_event(dg.AssetMaterialization("numbers", partition=key, metadata={"one": 1}))
    raise dg.Failure("else each is told again", allow_retries=False)


def cost(home: Path, ours: bool) -> tuple[float, float]:
    """Milliseconds an event: of the processor, on the clock."""
    if not ours:
        (home / "dagster").mkdir(parents=True)
        (home / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dagster_instance(Home(home)) as instance:
        job = dg.define_asset_job("job", [numbers], executor_def=dg.in_process_executor)
        job_def = dg.Definitions([numbers], jobs=[job]).resolve_job_def("job")
        cpu, wall = time.process_time(), time.monotonic()
        done = job_def.execute_in_process(
            instance=instance,
            raise_on_error=False,
            tags=_RANGE,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        events = len(instance.get_records_for_run(done.run_id).records)
    return cpu / events * 1e3, wall / events * 1e3


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=3)
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    found: dict[str, list[tuple[float, float]]] = {"Dagster's storage": [], "ours": []}
    with scratch() as folder:
        for number in range(wanted.times):
            for name, costs in found.items():
                os.environ.pop("SF_ASSETS_HOME", None)
                costs.append(cost(folder / f"{number}-{len(name)}", name == "ours"))
    rows = [
        [name, *(f"{median(values):.1f}" for values in zip(*costs, strict=True))]
        for name, costs in found.items()
    ]
    print(table(["an event", "processor, ms", "on the clock, ms"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
