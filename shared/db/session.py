"""The engine, and the one place that commits.

An engine is made inside the process that uses it (sockets must not cross a fork) and nothing is opened at import.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import orjson
import psycopg
from psycopg.types.json import set_json_loads
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from shared.db.sql import Statements, sql
from shared.errors import BothwaysError, ConfigError, Unavailable
from shared.settings import Settings

# reliability.md section 5: a dead client must not hold a lease row; result transactions stay short.
_SESSION_SETTINGS = (
    "SET lock_timeout = '5s'; SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '15s'; "
    "SET synchronous_commit = on; SET timezone = 'UTC'"
)

_IDLE_S = 1.0

REFUSED_BY_POSTGRES = "DATABASE"
"""Code of the error that a refused statement becomes."""


def make_engine(settings: Settings, *, threads: int = 8) -> Engine:
    """A pool of `threads + 2`. Raises ConfigError where DATABASE_URL is unset; opens nothing yet."""
    if settings.database_url is None:
        raise ConfigError("DATABASE_URL is not set.", code="NO_DATABASE_URL")
    engine = create_engine(
        settings.database_url.get_secret_value(),
        pool_size=threads + 2,
        max_overflow=0,
        pool_timeout=5,
        hide_parameters=True,  # field values must not reach exceptions (P14)
        connect_args={
            "connect_timeout": 5,
            "keepalives": 1,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
            "application_name": "bothways",
        },
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute(_SESSION_SETTINGS)
        cursor.close()
        connection.commit()
        if isinstance(connection, psycopg.Connection):
            set_json_loads(orjson.loads, connection)
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _on_checkout(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        """A connection that lay idle may have died with its server: it is tried, and replaced. One that was used a
        moment ago is not: that would cost each transaction a round trip."""
        now = time.monotonic()
        if now - record.info["used_at"] > _IDLE_S and not _lives(engine, connection):
            raise DisconnectionError
        record.info["used_at"] = now

    return engine


def _lives(engine: Engine, connection: DBAPIConnection) -> bool:
    try:
        return engine.dialect.do_ping(connection)
    except engine.dialect.loaded_dbapi.Error as error:
        if engine.dialect.is_disconnect(error, connection, None):
            return False
        raise


def _without_values(error: DBAPIError) -> BothwaysError:
    """Postgres quotes whole rows in its errors; they must not travel on (P14)."""
    state = getattr(error.orig, "sqlstate", None) or type(error.orig).__name__
    diagnostics = getattr(error.orig, "diag", None)
    where = [getattr(diagnostics, name, None) for name in ("table_name", "column_name", "constraint_name")]
    about = " ".join(str(part) for part in where if part)
    statement = " ".join((error.statement or "").split())[:80]
    return BothwaysError(f"Postgres refused a statement: {state} {about} in: {statement}", code=REFUSED_BY_POSTGRES)


class Database:
    """Two doors for objects, two for SQL as text: a session of objects costs more than most statements do.

    Each raises Unavailable where Postgres cannot be reached; nothing was then committed, or nobody knows.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._plain = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._sessions = sessionmaker(engine, expire_on_commit=False)
        self._readers = sessionmaker(self._plain, expire_on_commit=False, autoflush=False)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Commits at its end, or rolls back whole."""
        with _postgres_errors(), self._sessions.begin() as session:
            yield session

    @contextmanager
    def objects(self) -> Iterator[Session]:
        """To read objects, each by itself, as `reading`."""
        with _postgres_errors(), self._readers() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Statements]:
        """SQL as text; commits at its end, or rolls back whole."""
        with _postgres_errors(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Statements]:
        """SELECTs as text: each by itself, without the two round trips of a transaction, which at READ COMMITTED would
        give each its own view as well."""
        with _postgres_errors(), self._plain.connect() as connection:
            yield connection

    def now(self) -> datetime:
        """By Postgres' clock, which all processes share."""
        with self.reading() as session:
            now: datetime = session.execute(sql("SELECT clock_timestamp()")).scalar_one()
            return now

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def _postgres_errors() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise Unavailable("The database cannot be reached; try again in a few seconds.") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise Unavailable("The connection to the database was lost; try again.") from error
        raise _without_values(error) from None


class Joined(Database):
    """A service made with it takes part in a transaction that somebody else ends: all of several, or nothing."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        yield self._session
        self._session.flush()

    @contextmanager
    def objects(self) -> Iterator[Session]:
        yield self._session

    @contextmanager
    def writing(self) -> Iterator[Statements]:
        yield self._session

    @contextmanager
    def reading(self) -> Iterator[Statements]:
        yield self._session
