"""DuckDB's extensions: from their packages, else from DuckDB's own site, else a clear sentence."""

from __future__ import annotations

import gzip
import importlib
import sys
from pathlib import Path

import duckdb
import pytest

from sf_assets.warehouse.lake import load_extension

from ..components import free_port, missing

NAMES = ("ducklake", "postgres_scanner", "httpfs")


@pytest.fixture
def con(tmp_path: Path) -> duckdb.DuckDBPyConnection:
    """A DuckDB without extensions, whose site is a folder of this test."""
    con = duckdb.connect(config={"extension_directory": str(tmp_path / "extensions")})
    con.execute("SET custom_extension_repository = ?", [str(tmp_path / "site")])
    return con


@pytest.mark.scale
@pytest.mark.skipif(bool(missing("lake")), reason=str(missing("lake")))
@pytest.mark.parametrize("package", ["missing", "of another version"])
def test_without_its_package_an_extension_comes_from_duckdbs_site(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    (platform,) = con.execute("PRAGMA platform").fetchall()[0]
    site = tmp_path / "site" / f"v{duckdb.__version__}" / platform
    site.mkdir(parents=True)
    names = NAMES if package == "missing" else NAMES[:1]
    for name in names:
        module = importlib.import_module(f"duckdb_extension_{name}")
        (file,) = Path(module.__path__[0]).glob(f"extensions/v*/{name}.duckdb_extension")
        (site / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), 1))
        if package == "missing":
            monkeypatch.setitem(sys.modules, module.__name__, None)
        else:
            monkeypatch.setattr(module, "__path__", [str(tmp_path)])
    for name in names:
        load_extension(con, name)
    loaded = "SELECT extension_name, loaded, install_mode FROM duckdb_extensions()"
    assert {(name, True, "REPOSITORY") for name in names} <= set(con.execute(loaded).fetchall())


@pytest.mark.parametrize(
    ("package", "said"),
    [(None, "is not installed"), ("of another version", "has another version")],
)
def test_offline_without_a_package_the_sentence_says_what_to_do(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch, package: str | None, said: str
) -> None:
    module = None
    if package is not None:
        module = type(sys)("duckdb_extension_ducklake")
        module.__path__ = ["nowhere"]
    monkeypatch.setitem(sys.modules, "duckdb_extension_ducklake", module)  # type: ignore[arg-type]
    con.execute(f"SET custom_extension_repository = 'http://127.0.0.1:{free_port()}'")
    with pytest.raises(duckdb.IOException) as failed:
        load_extension(con, "ducklake")
    sentence = str(failed.value)
    assert f"duckdb-extension-ducklake {said}" in sentence
    assert "site cannot be reached" in sentence
    assert sentence.endswith("pip install 'sf_assets[scale-offline]'")


def test_the_extra_for_scale_does_not_hold_duckdb_back() -> None:
    tomllib = pytest.importorskip("tomllib")
    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    assert not [one for one in extras["scale"] if one.startswith("duckdb")]
    packages = {f"duckdb-extension-{name.replace('_', '-')}" for name in NAMES}
    assert {one.split(">")[0] for one in extras["scale-offline"]} >= packages
