"""Help texts, messages and docstrings are in plain English: the mechanical part of it."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import sf_assets
from sf_assets.cli import main

PACKAGE = Path(sf_assets.__file__).parent

#: Paths below the package whose texts are checked; ("",) checks all of them.
CHECKED = (
    *("cli/", "people/", "simulator/", "handles/", "credits/"),
    *("alerts/", "defs/", "ingest/", "render/", "report/", "social_fetch/", "storage/"),
    *("__init__", "__main__", "components", "definitions", "errors", "fault_injection", "model"),
    *("settings", "text"),
)

# Words of the project's old dialect; each has a standard one (docs/glossary.md).
ODD_WORDS = re.compile(
    r"\b(anew|any more|(?<!soon )as (it|they) (is|are|comes?)|bears?|besides?|bore|borne|"
    r"broken off|for ever|go(es)? on(?! and on)|gone through|(?<!`)heal(s|ed)?|held against|"
    r"hold .* against|(?<!there )is no (?!longer\b)\w+|mend(ed|s)?|nobody knows|of wh(ich|om)|"
    r"reckon(s|ed)?|refused us|said|settle[ds]?|so many|stands?(?!-in)|stood|(?<!`)tells?|"
    r"that is what|the ones? that|told|vendor|whoever|whole or not)\b",
    re.IGNORECASE,
)
_SQL = re.compile(r"\s*(--|SELECT|FROM|WHERE|INSERT|UPDATE|CREATE|WITH|SET|COPY|PRAGMA)\b")


def commands() -> list[click.Command]:
    """All commands, those of groups included."""
    found: list[click.Command] = [main]
    for command in found:
        found += command.commands.values() if isinstance(command, click.Group) else ()
    return found


def all_help() -> list[tuple[str, str]]:
    """(where, text) of each help text: of the commands, in their list, of their options."""
    texts: list[tuple[str, str]] = []
    for command in commands():
        name = str(command.name)
        texts += [
            (name, command.help or ""),
            (f"{name} in the list", command.get_short_help_str(999)),
        ]
        options = [option for option in command.params if isinstance(option, click.Option)]
        texts += [(f"{name} {option.opts[0]}", option.help or "") for option in options]
    return texts


def texts_in(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of each docstring, and of each other text of two words or more.

    The values in an f-string stand as `{}`. SQL is left out.
    """
    tree = ast.parse(source)
    parts = {
        id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node) if part is not node
    }  # fmt: skip
    for node in ast.walk(tree):
        if id(node) in parts:
            continue
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if re.search(r"[A-Za-z{}]+ [A-Za-z{}]+", text) and not _SQL.match(text):
            yield node.lineno, text


def modules() -> list[str]:
    paths = (path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py")))
    return [path for path in paths if path.startswith(CHECKED)]


def test_each_help_text_is_a_sentence_in_plain_words() -> None:
    assert len(all_help()) > 150
    sentence = re.compile(r"[A-Z`].*[.?]", re.DOTALL)
    assert [text for text in all_help() if not sentence.fullmatch(text[1])] == []
    assert [text for text in all_help() if ODD_WORDS.search(text[1])] == []


@pytest.mark.parametrize("module", modules())
def test_no_text_has_odd_words_or_double_spaces(module: str) -> None:
    texts = [*texts_in((PACKAGE / module).read_text(encoding="utf-8"))]
    assert texts
    assert [text for text in texts if ODD_WORDS.search(text[1])] == []
    prose = [re.sub(r"(?m)^.*[|\\]- .*$", "", text) for _, text in texts]  # without trees
    assert [text for text in prose if re.search(r"\w {2}\w", text)] == []


@pytest.mark.parametrize("module", modules())
def test_everything_public_has_a_docstring(module: str) -> None:
    """A command's help is its docstring; a method may inherit that of a base class."""
    name = f"sf_assets.{module[:-3].replace('/', '.')}".removesuffix(".__init__")
    imported = importlib.import_module(name)

    def without(parent: ast.AST) -> Iterator[str]:
        for node in ast.iter_child_nodes(parent):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            called = [each for each in node.decorator_list if isinstance(each, ast.Call)]
            has_help = any(word.arg == "help" for call in called for word in call.keywords)
            bases = getattr(getattr(imported, getattr(parent, "name", ""), None), "__mro__", ())
            inherited = any(getattr(vars(base).get(node.name), "__doc__", "") for base in bases)
            if not (node.name.startswith("_") or has_help or ast.get_docstring(node) or inherited):
                yield node.name
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from without(node)

    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert [*without(tree)] == []


def test_texts_are_found_wherever_they_stand() -> None:
    source = (
        'def f(x):\n    """What is told."""\n    raise E(f"{x} is mended " "anew") from None\n'
        'log(1, said="two words", sql="SELECT told FROM x", one="word")\n'
    )
    assert sorted(texts_in(source)) == [
        (2, "What is told."), (3, "{} is mended anew"), (4, "two words"),
    ]  # fmt: skip
