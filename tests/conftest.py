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


class Databases:
    """Databases of a server: empty ones, and copies of a migrated one (a copy takes a tenth of a migration)."""

    def __init__(self, server: PostgresServer) -> None:
        self._base = server.url.rsplit("/", 1)[0]
        self._numbers = itertools.count()
        self._template = self.make()
        engine = make_engine(Settings(database_url=SecretStr(self._template)))
        upgrade(engine)
        engine.dispose()

    def make(self, template: str = "template1") -> str:
        """The address of a new one."""
        name = f"test_{next(self._numbers)}"
        self._do(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return f"{self._base}/{name}"

    def migrated(self) -> str:
        return self.make(self._template.rsplit("/", 1)[1])

    def drop(self, url: str) -> None:
        self._do(f"DROP DATABASE {url.rsplit('/', 1)[1]} WITH (FORCE)")

    def _do(self, statement: str) -> None:
        with psycopg.connect(f"{self._base.replace('+psycopg', '')}/postgres", autocommit=True) as connection:
            connection.execute(statement.encode())


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
    databases.drop(url)


@pytest.fixture(scope="module")
def module_database_url(databases: Databases) -> Iterator[str]:
    """Migrated, and of this module."""
    url = databases.migrated()
    yield url
    databases.drop(url)


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
