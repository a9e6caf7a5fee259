"""One list landed as the pipeline lands it, from a simulated world; nothing goes over a wire."""

from __future__ import annotations

from sf_assets.model import SnapshotKey
from sf_assets.simulator import World
from sf_assets.social_fetch import EndReason, ListWalk, parse_page
from sf_assets.storage.landing import Landing
from sf_assets.storage.records import Landed, Page, now


def land(
    landing: Landing, world: World, key: SnapshotKey, walk: ListWalk, page_size: int = 20
) -> tuple[Landed, set[int]]:
    """Walk one list to where `walk` ends, every page landed; and who was on these pages."""
    numbers: set[int] = set()
    log = landing.open(key)
    assert log is not None
    with log:
        log.begin("benchmark", "benchmark")
        while walk.has_next_page:
            params = walk.request_params()
            try:
                answer = world.page(
                    key.handle, key.relation, key.day, cursor=params["cursor"], page_size=page_size
                )
            except LookupError:  # an error in the place of a page ends the list as a window
                walk.stop(EndReason.STALLED)
                continue
            numbers.update(answer.numbers)
            data = world.page_json(answer, key.relation, key.day)
            meta = '"meta":{"requestId":"r","creditsCharged":1,"version":"v1"}'
            body = f'{{"data":{data},{meta}}}'.encode()
            log.add_page(Page(params["page"], params["cursor"], now(), "r", 1, False, 1, body))
            walk.update(parse_page(key.relation, body))
        assert walk.lookup_status is not None
        reason = walk.end_reason.value if walk.end_reason else None
        log.finish(walk.lookup_status.value, reason, "benchmark")
    landed = landing.read(key)
    assert landed is not None
    return landed, numbers


def land_whole(landing: Landing, world: World, key: SnapshotKey, page_size: int = 20) -> Landed:
    """The same, to the list's end."""
    return land(landing, world, key, ListWalk(key.relation, key.handle), page_size)[0]
