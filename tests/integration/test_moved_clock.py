"""The clock that tests of months and days move: the product follows it, and its tables are what they are elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.db.migrate import differences
from shared.engine import housekeeping
from tests.integration.moved_clock import MovedClock
from tests.integration.world import Office

SOON = timedelta(minutes=5)


@pytest.fixture
def database_url(moved_clock: MovedClock) -> str:
    return moved_clock.url


def partitions(office: Office) -> list[str]:
    rows = office.sql("SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'outcome'::regclass")
    return sorted(str(row["name"]) for row in rows)


@pytest.mark.rule("LG-1")
def test_a_product_function_and_column_defaults_follow_it(moved_clock: MovedClock, office: Office) -> None:
    moved_clock.set(datetime(2031, 1, 31, 23, 59, 50, tzinfo=UTC))
    housekeeping.hourly(office.ports)
    assert {"outcome_2031_01", "outcome_2031_02", "outcome_2031_03"} < set(partitions(office))
    assert "outcome_2031_04" not in partitions(office)
    moved_clock.move(timedelta(seconds=20))
    housekeeping.hourly(office.ports)
    assert "outcome_2031_04" in partitions(office)
    office.sql("INSERT INTO workspace (name) VALUES ('w')")  # by clock_timestamp(); orgs and runs by now()
    assert moved_clock.now() - office.value("SELECT max(created_at) FROM workspace") < SOON
    assert moved_clock.now() - office.value("SELECT now()") < SOON
    assert office.value("SELECT max(created_at) FROM workspace").year == 2031


def test_its_tables_are_those_of_the_migrations(office: Office) -> None:
    assert differences(office.db.engine) == []
    assert office.value("SELECT count(*) FROM pg_class WHERE relnamespace = 'moved'::regnamespace") == 0
