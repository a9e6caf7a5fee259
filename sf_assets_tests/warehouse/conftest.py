"""A warehouse of its own for every test: in DuckDB itself, and in a lake on Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sf_assets.storage.address import Lake

from ..components import Cluster
from ..lists import Lists


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Both for tests of a file that uses Lists; what uses none would be the same twice."""
    if getattr(metafunc.module, "Lists", None) is Lists:
        kinds = ["duckdb", pytest.param("lake", marks=pytest.mark.scale)]
        metafunc.parametrize("_warehouse", kinds, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the cases of a test only the first runs in a lake, which commits slowly."""
    begun: set[Any] = set()
    kept, dropped = [], []
    for item in items:
        case = getattr(item, "callspec", None)
        in_lake = case is not None and case.params.get("_warehouse") == "lake"
        if in_lake:
            test = (item.path, item.originalname)  # type: ignore[attr-defined]
            if test in begun:
                dropped.append(item)
                continue
            begun.add(test)
        kept.append(item)
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept


@pytest.fixture(autouse=True)
def _warehouse(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if getattr(request, "param", "duckdb") == "lake":
        cluster: Cluster = request.getfixturevalue("cluster")

        def lake(root: Path) -> Lake:
            return Lake(f"ducklake:postgres:{cluster.database()}", f"{root}/lake/")

        monkeypatch.setattr(Lists, "lake", staticmethod(lake))


@pytest.fixture
def lists(tmp_path: Path) -> Iterator[Lists]:
    made = Lists(tmp_path)
    yield made
    made.close()
