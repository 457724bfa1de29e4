"""A migrated database whose clock a test sets: months pass, and the product is not told how.

In the schema `moved` lie functions called as Postgres' own, and the database's search path names it before pg_catalog.
So statements, column defaults and functions of the migrations read the moved clock without being changed. A test file
has all of its office, or world, in such a database by a fixture of its own:

    @pytest.fixture
    def database_url(moved_clock: MovedClock) -> str:
        return moved_clock.url
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from pydantic import SecretStr

from shared.db.migrate import upgrade
from shared.db.session import make_engine
from shared.settings import Settings
from tests.conftest import Databases

# `public` stays first: what the migrations make is made there. The shift lies where no search path leads.
_SHADOWS = """
    CREATE SCHEMA moved;
    CREATE SCHEMA moved_by;
    CREATE TABLE moved_by.shift (by interval NOT NULL);
    INSERT INTO moved_by.shift VALUES (interval '0');
    CREATE FUNCTION moved.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
        AS 'SELECT pg_catalog.clock_timestamp() + by FROM moved_by.shift';
    CREATE FUNCTION moved.now() RETURNS timestamptz LANGUAGE sql STABLE
        AS 'SELECT pg_catalog.now() + by FROM moved_by.shift';
"""


class MovedClock:
    """It runs on from where it was set. What reads this machine's clock instead of Postgres' does not follow."""

    def __init__(self, url: str) -> None:
        self.url = url

    def set(self, moment: datetime) -> None:
        """From now on it is `moment` (aware)."""
        self._do("UPDATE moved_by.shift SET by = %s - pg_catalog.clock_timestamp()", moment)

    def move(self, by: timedelta) -> None:
        self._do("UPDATE moved_by.shift SET by = by + %s", by)

    def now(self) -> datetime:
        with self._connect() as connection:
            row = connection.execute("SELECT clock_timestamp()").fetchone()
        assert row is not None
        moment: datetime = row[0]
        return moment.astimezone(UTC)

    def _do(self, statement: str, value: object) -> None:
        with self._connect() as connection:
            connection.execute(statement.encode(), [value])

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True)


def _shadow(url: str) -> None:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(_SHADOWS)
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET search_path = public, moved, pg_catalog".encode())


@pytest.fixture
def moved_clock(databases: Databases) -> Iterator[MovedClock]:
    url = databases.make()
    _shadow(url)
    engine = make_engine(Settings(database_url=SecretStr(url)), threads=1)
    upgrade(engine)
    engine.dispose()
    yield MovedClock(url)
    databases.drop(url)
