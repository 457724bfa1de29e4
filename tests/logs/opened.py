"""A log of so many outcomes on servers of its own, behind the API: how long its pages take, what they ask Postgres."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import SecretStr

from deploy.local.postgres import PostgresServer
from deploy.local.valkey import ValkeyServer
from shared.db.migrate import upgrade
from shared.db.session import Database, make_engine
from shared.services.workspaces import host_actor
from shared.settings import Settings
from shared.vault import new_key_ring
from tests.integration.test_doors import serving
from tests.logs.fill import Filled, fill
from tests.logs.pages import asked

TIMES = 9


@dataclass(frozen=True)
class OpenLog:
    """`http` carries a token; `filled_s`: how long it took to write the outcomes and to analyse the tables."""

    http: httpx.Client
    filled: Filled
    filled_s: float

    def median_ms(self, path: str) -> float:
        """Of nine, over HTTP on this machine."""
        return statistics.median(self._answer_ms(path) for _ in range(TIMES))

    def _answer_ms(self, path: str) -> float:
        """Of a page all of it; of a CSV its first bytes, which come before anything of it is read."""
        began = time.perf_counter()
        with self.http.stream("GET", path) as answer:
            assert answer.status_code == 200, answer.read()
            if ".csv" in path:
                next(answer.iter_bytes())
            else:
                answer.read()
        return (time.perf_counter() - began) * 1000

    def queries(self, path: str) -> int:
        """SQL statements that a page costs, without those about the token."""
        with asked() as found:
            answer = self.http.get(path)
        assert answer.status_code == 200, answer.text[:300]
        return len(found.statements)


@contextmanager
def open_log(folder: Path, *, outcomes: int, runs: int, durable: bool = False) -> Iterator[OpenLog]:
    """Servers and data are gone with the block."""
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        postgres = PostgresServer.start(folder, durable=durable)
        stack.callback(postgres.destroy)
        valkey = ValkeyServer.start(folder, durable=durable)
        stack.callback(valkey.destroy)
        keys = folder / "keys.json"
        keys.write_text(new_key_ring())
        settings = Settings(database_url=SecretStr(postgres.url), redis_url=SecretStr(valkey.url), key_file=keys)
        database = Database(make_engine(settings, threads=2))
        upgrade(database.engine)
        began = time.monotonic()
        filled = fill(database, host_actor(database).workspace, outcomes=outcomes, runs=runs)
        filled_s = time.monotonic() - began
        database.close()
        yield OpenLog(stack.enter_context(serving(settings)), filled, filled_s)
