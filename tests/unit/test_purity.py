"""The core knows nothing of the world: no network, clock, chance or environment, and nobody else's code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import shared.integrations
import shared.sync

ALLOWED = {
    "shared.sync": {"shared.sync", "shared.errors", "msgspec", "pydantic"},
    "shared.integrations": {"shared.sync", "shared.errors", "shared.integrations", "pydantic", "yaml"},
}
PURE = {
    "__future__",
    "collections",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "functools",
    "hashlib",
    "importlib",
    "json",
    "pkgutil",
    "re",
    "types",
    "typing",
    "zoneinfo",
    "unicodedata",
}
CLOCKS = {"now", "today", "utcnow", "time", "monotonic"}


def _trees(package: str) -> Iterator[tuple[str, ast.Module]]:
    folder = {"shared.sync": shared.sync, "shared.integrations": shared.integrations}[package].__path__[0]
    for path in sorted(Path(folder).rglob("*.py")):
        yield path.name, ast.parse(path.read_text("utf-8"))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.rule("style-2")
@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports(package: str) -> None:
    strange = [
        (file, name)
        for file, tree in _trees(package)
        for name in _imports(tree)
        if name.split(".")[0] not in PURE
        and not any(name == ok or name.startswith(f"{ok}.") for ok in ALLOWED[package])
    ]
    assert strange == []


@pytest.mark.rule("style-2")
@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_no_clock(package: str) -> None:
    calls = [
        (file, node.func.attr)
        for file, tree in _trees(package)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS
    ]
    assert calls == []
