"""docs/security.md says the truth: each line names tests that exist, or the issue in which it comes."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "security.md"
AREAS = (
    "Webhooks", "OAuth", "Outgoing", "Secrets", "Tenants", "API tokens and roles", "Console", "Audit log", "CSV",
    "Personal data", "Redis", "Postgres", "Supply chain", "Fuzz",
)  # fmt: skip
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_ISSUE = re.compile(r"\b(?:issue [4-6]|later): \S")
_PATH = re.compile(
    r"`((?:api|shared|workers|deploy|docs)/[\w/.]+\w|docker-compose\.yml|requirements(?:-dev)?\.txt|pyproject\.toml)`"
)


@dataclass(frozen=True)
class Line:
    number: int
    area: str
    what: str
    where: str
    proof: str


def lines() -> list[Line]:
    """Rows of every table that has the three columns, with the heading above them."""
    found, area = [], ""
    for number, text in enumerate(TABLE.read_text().splitlines(), 1):
        if text.startswith("## "):
            area = text[3:].strip()
        if not text.startswith("|") or set(text) <= set("|- ") or text.startswith("| held |"):
            continue
        cells = [cell.strip() for cell in text.strip().strip("|").split("|")]
        assert len(cells) == 3, f"line {number} has {len(cells)} cells"
        found.append(Line(number, area, *cells))
    return found


LINES = lines()


def defined(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_area_of_the_list_has_lines() -> None:
    assert {line.area for line in LINES} == set(AREAS)
    assert len(LINES) >= 60


@pytest.mark.parametrize("line", LINES, ids=lambda line: str(line.number))
def test_a_line_names_tests_or_the_issue_in_which_it_comes(line: Line) -> None:
    assert line.what
    tests = _TEST.findall(line.proof)
    assert tests or _ISSUE.search(line.proof), f"line {line.number} has neither a test nor an issue: {line.what}"
    if tests:
        assert line.where, f"line {line.number} does not say where it is held"
    loose = re.sub(_TEST, "", line.proof)
    assert "tests/" not in loose, f"line {line.number}: {loose}"


@pytest.mark.parametrize("line", LINES, ids=lambda line: str(line.number))
def test_what_a_line_names_exists(line: Line) -> None:
    for file, name in _TEST.findall(line.proof):
        path = ROOT / file
        assert path.is_file(), f"line {line.number}: there is no {file}"
        assert name.startswith("test_")
        assert name in defined(path), f"line {line.number}: {file} has no {name}"
    for place in _PATH.findall(line.where):
        assert (ROOT / place).exists(), f"line {line.number}: there is no {place}"


def test_no_test_of_this_folder_is_left_out() -> None:
    """But those of this file: a test that nobody named would be evidence that nobody finds."""
    named = {(file, name) for line in LINES for file, name in _TEST.findall(line.proof)}
    here = {
        (f"tests/security/{path.name}", name)
        for path in Path(__file__).parent.glob("test_*.py")
        if path.name != Path(__file__).name
        for name in defined(path)
        if name.startswith("test_")
    }
    assert here <= named, sorted(here - named)
