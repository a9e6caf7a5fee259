"""What is imported is declared: a user's `pip install` and the README's test command have it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
OURS = {"sf_assets", "sf_assets_tests"}
# Not imported at once, or not by everybody.
LATER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.Try)
CONDITIONAL = {"TYPE_CHECKING", "sys.version_info"}


def brought(name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> set[str]:
    """The distributions that installing `name[extras]` brings, by their canonical names."""
    if (name, extras) in seen:
        return set()
    seen.add((name, extras))
    found = {name}
    try:
        needed = requires(name) or []
    except PackageNotFoundError:
        return found
    for line in needed:
        need = Requirement(line)
        if need.marker is None or any(
            need.marker.evaluate({"extra": extra}) for extra in extras or {""}
        ):
            found |= brought(canonicalize_name(need.name), frozenset(need.extras), seen)
    return found


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The modules imported as soon as the file is read, each with its line."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((name.name.split(".")[0], node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0 and node.module:
                yield node.module.split(".")[0], node.lineno
        elif not isinstance(node, LATER) and not (
            isinstance(node, ast.If) and CONDITIONAL & set(ast.unparse(node.test).split())
        ):
            yield from imported(node)


@pytest.mark.parametrize(
    ("folder", "extras"),
    [("sf_assets", frozenset[str]()), ("sf_assets_tests", frozenset({"test"}))],
)
def test_what_a_file_imports_when_it_is_read_is_declared(
    folder: str, extras: frozenset[str]
) -> None:
    """Also where the machine of the author has more installed than a user's."""
    there = brought("sf-assets", extras, set())
    owners = packages_distributions()
    missing = []
    for file in sorted((ROOT / folder).rglob("*.py")):
        for module, line in imported(ast.parse(file.read_text("utf-8"))):
            if module in OURS or module in sys.stdlib_module_names:
                continue
            if not {canonicalize_name(owner) for owner in owners.get(module, [])} & there:
                missing.append(f"{file.relative_to(ROOT)}:{line} imports {module}")
    assert missing == []
