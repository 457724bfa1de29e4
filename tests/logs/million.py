"""`python -m tests.logs.million`: a million outcomes in a database of its own, and how long each page of them takes.

Over REST, by HTTP on this machine, with a token: the median of nine. Of a CSV the time to its first bytes; then once to
its first rows, and how long all of it took and how much more memory that held. Exit code 1: one took over 300 ms.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
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
from tests.logs.fill import fill
from tests.logs.pages import pages

LONGEST_MS = 300
TIMES = 9


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outcomes", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=2_000)
    chosen = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bothways-")))
        postgres, valkey = PostgresServer.start(folder, durable=False), ValkeyServer.start(folder, durable=False)
        stack.callback(valkey.destroy)
        stack.callback(postgres.destroy)
        keys = folder / "keys.json"
        keys.write_text(new_key_ring())
        settings = Settings(database_url=SecretStr(postgres.url), redis_url=SecretStr(valkey.url), key_file=keys)
        return measure(settings, chosen.outcomes, chosen.runs)


def measure(settings: Settings, outcomes: int, runs: int) -> int:
    database = Database(make_engine(settings, threads=2))
    upgrade(database.engine)
    began = time.monotonic()
    filled = fill(database, host_actor(database).workspace, outcomes=outcomes, runs=runs)
    print(f"{outcomes} outcomes of {runs} syncs, filled in {time.monotonic() - began:.0f} s")
    database.close()
    slow = []
    with serving(settings) as client:
        for name, path in pages(filled).items():
            took = [_answer_ms(client, path) for _ in range(TIMES)]
            median = statistics.median(took)
            print(f"{median:7.1f} ms  {name}{_whole(client, path) if '.csv' in path else ''}")
            if median > LONGEST_MS:
                slow.append(name)
    for name in slow:
        print(f"Longer than {LONGEST_MS} ms: {name}")
    return 1 if slow else 0


def _answer_ms(client: httpx.Client, path: str) -> float:
    """Of a page all of it; of a CSV its first bytes, which come before anything of it is read."""
    began = time.perf_counter()
    with client.stream("GET", path) as answer:
        assert answer.status_code == 200, answer.read()
        if ".csv" in path:
            next(answer.iter_bytes())
        else:
            answer.read()
    return (time.perf_counter() - began) * 1000


def _whole(client: httpx.Client, path: str) -> str:
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, rows, first_ms = time.perf_counter(), 0, 0.0
    with client.stream("GET", path) as answer:
        for part in answer.iter_bytes():
            rows += part.count(b"\r\n")
            if rows > 1 and not first_ms:
                first_ms = (time.perf_counter() - began) * 1000
    took_s, more_kb = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    how = f"its first rows after {first_ms:.0f} ms, all {rows - 1} in {took_s:.1f} s"
    return f" ({how}, with {more_kb / 1024:.0f} MB more)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
