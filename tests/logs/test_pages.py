"""A large log costs a page no more than a small one: as many statements, and none that reads a partition whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, text

from shared.db.session import Database, make_engine
from shared.services.runs import PAGE
from shared.services.workspaces import host_actor
from shared.settings import Settings
from tests.conftest import Databases, MakeSettings
from tests.integration.test_doors import serving
from tests.logs.fill import REASONS, Filled, fill
from tests.logs.pages import Asked, asked, pages

pytestmark = pytest.mark.rule("LG-1", "LG-2", "LG-3", "P13")

SMALL, LARGE = 200, 20_000
A_FEW_BLOCKS = 1_000
"""Rows: a partition of so few is read whole, and rightly."""


@dataclass
class Log:
    database: Database
    filled: Filled
    http: httpx.Client

    def ask(self, path: str) -> tuple[Asked, httpx.Response]:
        with asked() as found:
            answer = self.http.get(path)
        assert answer.status_code == 200, answer.text[:300]
        return found, answer


@pytest.fixture(scope="module")
def make(key_file: Any, redis_url: str) -> MakeSettings:
    from pydantic import SecretStr

    def settings(**values: Any) -> Settings:
        return Settings(
            database_url=SecretStr(values["database_url"]), redis_url=SecretStr(redis_url), key_file=key_file
        )

    return settings


def opened(databases: Databases, make: MakeSettings, outcomes: int) -> Iterator[Log]:
    url = databases.migrated()
    settings = make(database_url=url)
    database = Database(make_engine(settings, threads=2))
    filled = fill(database, host_actor(database).workspace, outcomes=outcomes, runs=outcomes // 20)
    with serving(settings) as http:
        yield Log(database, filled, http)
    database.close()
    databases.drop(url)


@pytest.fixture(scope="module")
def small(databases: Databases, make: MakeSettings) -> Iterator[Log]:
    yield from opened(databases, make, SMALL)


@pytest.fixture(scope="module")
def large(databases: Databases, make: MakeSettings) -> Iterator[Log]:
    yield from opened(databases, make, LARGE)


NAMES = list(pages(Filled(1, 1, 1, "1", "2026-01")))


@pytest.mark.parametrize("name", NAMES)
def test_a_page_asks_as_often_as_of_a_small_log(small: Log, large: Log, name: str) -> None:
    """But a CSV, which is read a page at a time: once more for each."""
    few, _ = small.ask(pages(small.filled)[name])
    many, answer = large.ask(pages(large.filled)[name])
    rows = answer.text.count("\r\n") - 1 if "CSV" in name else 0
    assert len(many.statements) <= len(few.statements) + rows // PAGE
    assert 0 < len(few.statements) < 10
    if name == "failures as CSV":
        assert rows == LARGE // 5


@pytest.mark.parametrize("name", NAMES)
def test_no_page_reads_a_partition_whole(large: Log, name: str) -> None:
    found, _ = large.ask(pages(large.filled)[name])
    about = [one for one in found.statements if "outcome" in one[0] and one[0].lstrip().startswith("SELECT")]
    assert about or "CSV" not in name
    with large.database.engine.connect() as connection:
        sizes = "SELECT tableoid::regclass FROM outcome GROUP BY 1 HAVING count(*) > :some"
        large_ones = {str(row[0]) for row in connection.execute(text(sizes), {"some": A_FEW_BLOCKS})}
        assert len(large_ones) >= 5
        for statement, values in about:
            assert _read_whole(connection, statement, values) & large_ones == set(), statement


@pytest.mark.parametrize(
    "name", ["details", "details, failed", "details of an old sync", "failures as CSV", "a month as CSV"]
)
def test_a_page_reads_about_as_many_rows_as_it_shows(large: Log, name: str) -> None:
    """Without its index it would sort all of a sync for each page. Where little is left the planner sorts that, or
    skips what lies between; and it reads a small partition whole."""
    found, _ = large.ask(pages(large.filled)[name])
    about = [one for one in found.statements if "FROM outcome" in one[0]]
    assert about
    with large.database.engine.connect() as connection:
        for statement, values in about:
            shown = len(connection.exec_driver_sql(statement, values).all())
            assert _rows_read(connection, statement, values) <= 4 * shown + 100, statement


def _read_whole(connection: Connection, statement: str, values: Any) -> set[str]:
    return {node["Relation Name"] for node in _plan(connection, statement, values) if node["Node Type"] == "Seq Scan"}


def _rows_read(connection: Connection, statement: str, values: Any) -> float:
    return float(
        sum(
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            for node in _plan(connection, statement, values, "ANALYZE, ")
            if node["Node Type"] in ("Seq Scan", "Index Scan", "Bitmap Heap Scan")
        )
    )


def _plan(connection: Connection, statement: str, values: Any, how: str = "") -> Iterator[dict[str, Any]]:
    """Each node of it."""
    (plan,) = connection.exec_driver_sql(f"EXPLAIN ({how}FORMAT JSON) {statement}", values).one()

    def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield node
        for inner in node.get("Plans", ()):
            yield from walk(inner)

    yield from walk((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])


def test_a_plan_that_reads_whole_is_seen(large: Log) -> None:
    with large.database.engine.connect() as connection:
        assert _read_whole(connection, "SELECT * FROM outcome WHERE detail = %(d)s", {"d": "x"})


def test_the_files_hold_what_was_counted(large: Log) -> None:
    """Each failed record once, over all pages."""
    path = pages(large.filled)
    groups = large.http.get(path["failures by cause"]).json()
    whole = large.http.get(path["failures as CSV"]).text.splitlines()[1:]
    assert len(whole) == sum(one["records"] for one in groups) == LARGE // 5
    assert len(set(whole)) == len(whole)
    assert len(groups) == len(REASONS)
    for one in groups[:3]:
        wanted = {name: one[name] for name in ("pair", "direction", "reason")}
        part = large.http.get(f"/api/v1/runs/{large.filled.largest}/failures.csv", params=wanted)
        assert len(part.text.splitlines()) == one["records"] + 1
