"""Servers for the session, and what is made fresh from them: a migrated database, an empty Redis, a sandbox."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from pydantic import SecretStr
from redis import Redis

from deploy.local.postgres import PostgresServer
from deploy.local.valkey import ValkeyServer
from shared.db.migrate import upgrade
from shared.db.session import make_engine
from shared.settings import Settings
from shared.vault import new_key_ring
from tests.contract.support import Sandbox, sandbox_process

MakeSettings = Callable[..., Settings]


@contextmanager
def _folder() -> Iterator[Path]:
    """Not pytest's: as root the server runs as somebody else, who cannot enter those."""
    with tempfile.TemporaryDirectory(prefix="bothways-test-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with _folder() as folder:
        server = PostgresServer.start(folder, durable=False)
        yield server
        server.destroy()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    """A database for whoever makes a schema of their own in it."""
    return postgres_server.url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with _folder() as folder:
        server = ValkeyServer.start(folder, durable=False)
        yield server.url
        server.destroy()


SHAPE = """
    SELECT md5(string_agg(said, chr(10) ORDER BY said)) FROM (
        SELECT format('%s %s %s', c.oid::regclass, c.relkind, c.relacl)
            FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
        UNION ALL SELECT format('%s %s %s %s', a.attrelid::regclass, a.attname, a.atttypid, a.attnotnull)
            FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'public'::regnamespace
        UNION ALL SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid))
            FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT format('%s %s %s', tgrelid::regclass, tgname, tgenabled) FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT format('%s %s', setrole, setconfig) FROM pg_db_role_setting
            WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
        UNION ALL SELECT format('schema %s %s', nspname, nspacl) FROM pg_namespace WHERE nspname !~ '^pg_'
    ) AS everything(said)
"""
"""What a database is like, its rows aside."""

EMPTY = """
    DO $$ DECLARE name text; BEGIN
        PERFORM set_config('session_replication_role', 'replica', true);
        ALTER TABLE audit_log DISABLE TRIGGER USER;
        FOR name IN SELECT oid::regclass FROM pg_class WHERE relnamespace = 'public'::regnamespace
            AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'alembic_version'
        LOOP EXECUTE 'DELETE FROM ' || name; END LOOP;
        FOR name IN SELECT oid::regclass FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'
        LOOP EXECUTE 'ALTER SEQUENCE ' || name || ' RESTART'; END LOOP;
        ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_append_only;
    END $$
"""
"""As after the migrations, none of which leaves rows. A replica checks no foreign keys, so any order will do."""


class Databases:
    """Databases of a server: empty ones, and migrated ones, which go from test to test and are emptied in between.

    That takes a thirtieth of a copy. One whose shape a test has changed is not used again.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._base = server.url.rsplit("/", 1)[0]
        self._numbers = itertools.count()
        self._template = self.make()
        engine = make_engine(Settings(database_url=SecretStr(self._template)))
        upgrade(engine)
        engine.dispose()
        self._shape = self._ask(self._template, SHAPE)
        self._free: list[str] = []

    def make(self, template: str = "template1") -> str:
        """The address of a new one."""
        name = f"test_{next(self._numbers)}"
        self._do(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return f"{self._base}/{name}"

    def migrated(self) -> str:
        return self._free.pop() if self._free else self.make(self._template.rsplit("/", 1)[1])

    def give_back(self, url: str) -> None:
        """A migrated one, whoever is still connected to it."""
        name = url.rsplit("/", 1)[1]
        self._do(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'")
        if self._ask(url, SHAPE) == self._shape:
            self._ask(url, EMPTY)
            self._free.append(url)
        else:
            self.drop(url)

    def drop(self, url: str) -> None:
        self._do(f"DROP DATABASE {url.rsplit('/', 1)[1]} WITH (FORCE)")

    def _do(self, statement: str) -> None:
        self._ask(f"{self._base}/postgres", statement)

    def _ask(self, url: str, statement: str) -> object:
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else None


@pytest.fixture(scope="session")
def databases(postgres_server: PostgresServer) -> Databases:
    return Databases(postgres_server)


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    url = databases.make()
    yield url
    databases.drop(url)


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """Migrated, and of this test alone."""
    url = databases.migrated()
    yield url
    databases.give_back(url)


@pytest.fixture(scope="module")
def module_database_url(databases: Databases) -> Iterator[str]:
    """Migrated, and of this module."""
    url = databases.migrated()
    yield url
    databases.give_back(url)


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """An empty Redis; the client decodes."""
    client = Redis.from_url(redis_url, decode_responses=True)
    client.flushall()
    yield client
    client.close()


@pytest.fixture(scope="session")
def key_file() -> Iterator[Path]:
    with _folder() as folder:
        path = folder / "keys.json"
        path.write_text(new_key_ring())
        yield path


@pytest.fixture
def make_settings(key_file: Path) -> MakeSettings:
    """Settings of given values; nothing of the environment but what a test gives."""

    def make(**values: Any) -> Settings:
        for name in {"database_url", "redis_url"} & values.keys():
            values[name] = SecretStr(values[name])
        values.setdefault("key_file", key_file)
        return Settings(**values)

    return make


@pytest.fixture(scope="session")
def sandbox_url() -> Iterator[str]:
    with sandbox_process() as url:
        yield url


@pytest.fixture
def sandbox(sandbox_url: str) -> Iterator[Sandbox]:
    """The sandbox as at its start."""
    with httpx.Client(base_url=sandbox_url, timeout=10, trust_env=False) as http:
        sandbox = Sandbox(sandbox_url, http)
        sandbox.reset()
        yield sandbox
