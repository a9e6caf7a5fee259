"""Whatever the vendor's own description allows goes from the client into the tables, and whatever
it does not allow costs at most its own list: over real HTTP, through landing, load and derive."""

from __future__ import annotations

import asyncio
import copy
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, cast

import hypothesis.strategies as st
import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import Phase, given, settings
from hypothesis_jsonschema import from_schema
from pydantic import SecretStr

from sf_assets.credits.budget import Budget
from sf_assets.ingest.reader import Collected, ListToRead, RunContext
from sf_assets.ingest.scheduler import collect
from sf_assets.model import RELATIONS, Relation, SnapshotKey
from sf_assets.social_fetch import SocialFetchClient, SocialFetchError
from sf_assets.storage.door import Door
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets_tests.lists import Lists
from sf_assets_tests.loopback import Reply, Request, ScriptedServer
from sf_assets_tests.served_lists import account, followed

CONTRACT = Path(__file__).parents[1] / "contract"
OPENAPI = json.loads((CONTRACT / "openapi.json").read_text())
EXAMPLES = json.loads((CONTRACT / "examples.json").read_text())
LISTS = {"followers": "followers", "following": "accounts"}
DAY = date(2026, 11, 1)
# So many answers of each kind; 500 found nothing more.
COUNT = 40
END = {"nextCursor": None, "hasMore": False}


def schema_of(relation: Relation) -> dict[str, Any]:
    path = OPENAPI["paths"][f"/v1/tiktok/profiles/{{handle}}/{relation}"]
    answer = path["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    return {**answer, "components": OPENAPI["components"]}


@dataclass
class Played:
    """What became of each answer: what the reading said, and the row of the list, if any."""

    collected: dict[SnapshotKey, Collected]
    rows: dict[SnapshotKey, tuple[str, int, int | None]]
    shown: dict[SnapshotKey, int]


async def _nap(_: float) -> None:
    await asyncio.sleep(0)


def play(answers: Sequence[tuple[Relation, Reply]]) -> Played:
    """Serve each answer as the first page of a list of its own, and put it all into tables.

    A further page, where one is asked for, is empty and the last.
    """
    keys = [SnapshotKey(DAY, f"h{n}", relation) for n, (relation, _) in enumerate(answers)]
    served = {(key.handle, key.relation): answers[n][1] for n, key in enumerate(keys)}

    def answer(request: Request) -> Reply:
        handle, relation = cast("tuple[str, Relation]", request.path.split("/")[4:])
        if "cursor" in request.query:
            return Reply(json=page(relation, [], None))
        return served[handle, relation]

    async def read(landing: DiskLanding) -> dict[SnapshotKey, Collected]:
        async with SocialFetchClient(
            api_key=SecretStr("sfk_x"), base_url=server.url, max_tries=2, sleep=_nap
        ) as client:
            run = RunContext(client, landing, Budget(None), "run", Door(landing.root))
            lists = [ListToRead(key) for key in keys]
            return {one.key: one async for one in collect(lists, run, concurrency=8)}

    root = Path(tempfile.mkdtemp())
    lists = Lists(root)
    try:
        with ScriptedServer(answer) as server:
            collected = asyncio.run(read(lists.landing))
        lists.load_again(*(one.landed for one in collected.values() if one.landed))
        lists.derive()
        rows = {
            SnapshotKey(DAY, handle, relation): (status, listed, total)
            for handle, relation, status, listed, total in lists.rows(
                "SELECT handle, relation, lookup_status, listed, reported_total FROM snapshots"
            )
        }
        shown = {
            SnapshotKey(DAY, handle, relation): count
            for handle, relation, count in lists.rows(
                "SELECT handle, relation, count(*) FROM list_days GROUP BY ALL"
            )
        }
    finally:
        lists.close()
        shutil.rmtree(root)
    return Played(collected, rows, shown)


def page(relation: Relation, accounts: list[Any], total: int | None) -> dict[str, Any]:
    name = "totalFollowers" if relation == "followers" else "totalAccounts"
    return {
        "data": {"lookupStatus": "found", LISTS[relation]: accounts, "page": END, name: total},
        "meta": {"requestId": "r", "creditsCharged": 1, "version": "v1"},
    }


def ordinary(relation: Relation) -> Reply:
    """A list that must come through whatever happens beside it."""
    make = account if relation == "followers" else followed
    return Reply(json=page(relation, [make(n) for n in range(3)], 3))


# The vendor's own examples.


def test_each_example_of_a_list_is_stored_as_it_says() -> None:
    answers = [
        (relation, Reply(json=example["body"]))
        for relation in RELATIONS
        for example in EXAMPLES
        if example["path"].endswith(relation) and example["status"] == 200
    ]
    assert len(answers) == 2
    played = play(answers)
    assert all(one.finished for one in played.collected.values())
    assert list(played.shown.values()) == [1, 1]
    for (relation, reply), (_, row) in zip(answers, sorted(played.rows.items()), strict=True):
        total = reply.json["data"]["totalFollowers" if relation == "followers" else "totalAccounts"]
        assert row == ("found", 1, total)


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e["status"] != 200], ids=str)
def test_each_example_of_an_error_leaves_its_list_unfinished_and_says_why(
    example: dict[str, Any],
) -> None:
    status, body = example["status"], example["body"]
    if "/profiles/" in example["path"]:
        relation: Relation = "followers" if example["path"].endswith("followers") else "following"
        played = play([(relation, Reply(status, json=body))])
        (ended,) = played.collected.values()
        assert not ended.finished
        assert not played.rows
        told = ended.reason or ""
    else:
        told = asyncio.run(_free(example["path"], Reply(status, json=body)))
    assert body["error"]["code"] in told or str(status) in told


async def _free(path: str, reply: Reply) -> str:
    with ScriptedServer(lambda _: reply) as server:
        async with SocialFetchClient(
            api_key=SecretStr("sfk_x"), base_url=server.url, max_tries=2, sleep=_nap
        ) as client:
            with pytest.raises(SocialFetchError) as raised:
                await (client.balance() if path.endswith("balance") else client.whoami())
    return str(raised.value)


def test_the_examples_of_balance_and_whoami_are_read() -> None:
    async def ask(path: str, body: Any) -> Any:
        with ScriptedServer(lambda _: Reply(json=body)) as server:
            async with SocialFetchClient(api_key=SecretStr("sfk_x"), base_url=server.url) as client:
                return await (client.balance() if path.endswith("balance") else client.whoami())

    for example in EXAMPLES:
        if example["status"] == 200 and "/profiles/" not in example["path"]:
            found = asyncio.run(ask(example["path"], example["body"]))
            data = example["body"]["data"]
            assert getattr(found, "balance", None) == data.get("balance")
            assert getattr(found, "id", None) == data.get("user", {}).get("id")


# Whatever the schema allows, and what it does not.


def _small(schema: Any) -> Any:
    """The same schema with short lists and plain unknown fields, of which examples can be made."""
    if isinstance(schema, list):
        return [_small(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _small(value) for name, value in schema.items()}
    if made.get("type") == "array":
        made["maxItems"] = 3
    elif isinstance(made.get("properties"), dict):
        made |= {"additionalProperties": {"type": ["string", "integer", "null"], "maxLength": 4}}
        made |= {"maxProperties": len(made["properties"]) + 1}
    return made


@cache
def valid_answers(relation: Relation) -> st.SearchStrategy[dict[str, Any]]:
    return from_schema(_small(schema_of(relation)))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value in a document but the document itself."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for name, inner in items:
        found.append((*path, name))
        if isinstance(inner, (dict, list)):
            found += places(inner, (*path, name))
    return found


@st.composite
def spoiled_answers(draw: st.DrawFn, relation: Relation) -> bytes:
    """A valid answer with a value replaced, removed or repeated, as bytes."""
    answer = copy.deepcopy(draw(valid_answers(relation)))
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(places(answer) or [("data",)]))
        holder = answer
        for name in way:
            holder = holder[name]
        how = draw(st.sampled_from(("replace", "remove", "repeat")))
        if how == "repeat" and isinstance(holder, list):
            holder.append(holder[last])
        elif how == "remove" and last in (holder if isinstance(holder, dict) else range(9)):
            del holder[last]
        else:
            holder[last] = draw(ANYTHING)
    return json.dumps(answer).encode()


def drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """So many different examples, to be played together: that takes as long as one alone."""
    found: list[Any] = []

    @settings(max_examples=count, phases=[Phase.generate], database=None, derandomize=True)
    @given(strategy)
    def take(example: Any) -> None:
        found.append(example)

    take()
    return found


@pytest.mark.parametrize("relation", RELATIONS)
def test_an_answer_that_the_schema_allows_is_stored(relation: Relation) -> None:
    answers = drawn(valid_answers(relation), COUNT)
    played = play([(relation, Reply(json=one)) for one in answers])
    for n, answer in enumerate(answers):
        jsonschema.validate(answer, schema_of(relation))
        key, data = SnapshotKey(DAY, f"h{n}", relation), answer["data"]
        assert played.collected[key].finished, (answer, played.collected[key].reason)
        assert played.rows[key][0] == data["lookupStatus"], answer
        if data["lookupStatus"] == "found":
            most = len(data[LISTS[relation]])
            assert min(1, most) <= played.rows[key][1] <= most, answer
            assert played.shown.get(key, 0) == played.rows[key][1], answer


@pytest.mark.parametrize("relation", RELATIONS)
def test_an_answer_that_the_schema_does_not_allow_costs_no_other_list(relation: Relation) -> None:
    answers = drawn(spoiled_answers(relation), COUNT)
    played = play(
        [*((relation, Reply(body=one)) for one in answers), (relation, ordinary(relation))]
    )
    last = SnapshotKey(DAY, f"h{len(answers)}", relation)
    assert (played.rows[last], played.shown[last]) == (("found", 3, 3), 3)
    for n, answer in enumerate(answers):
        ended = played.collected[key := SnapshotKey(DAY, f"h{n}", relation)]
        assert ended.finished == (key in played.rows), answer
        assert ended.finished or ended.reason, answer
