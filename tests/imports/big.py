"""`python -m tests.imports.big [ROWS]`: 50,000 rows with bad ones among them, by a worker that is killed in the middle.

Prints the worker's memory on the way and the rows per second, and checks the report. The vendor is the sandbox.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
from pydantic import SecretStr

from deploy.local.postgres import PostgresServer
from deploy.local.valkey import ValkeyServer
from shared.db.migrate import upgrade
from shared.db.session import make_engine
from shared.settings import Settings
from shared.sync.imports import ImportKind
from shared.vault import new_key_ring
from tests.contract.support import Sandbox, sandbox_process
from tests.imports.support import bad_rows, environment, resident_kib, rows, worker
from tests.integration.crew import await_that
from tests.integration.world import BOOKS, World, check_import, connect, opened

LOOKS_AT = (0.1, 0.5, 1.0)
"""Of all rows: when the memory is looked at. The first worker is killed between the first two."""
KILLED_AT = 0.3


def main(size: int) -> int:
    with tempfile.TemporaryDirectory(prefix="bothways-import-") as name, sandbox_process() as base_url:
        folder = Path(name)
        (folder / "keys.json").write_text(new_key_ring())
        postgres = PostgresServer.start(folder / "postgres", durable=False)
        valkey = ValkeyServer.start(folder / "valkey", durable=False)
        try:
            settings = Settings(
                database_url=SecretStr(postgres.url),
                redis_url=SecretStr(valkey.url),
                key_file=folder / "keys.json",
                sandbox_url=base_url,
                time_scale=0.1,
            )
            engine = make_engine(settings)
            upgrade(engine)
            engine.dispose()
            with (
                httpx.Client(base_url=base_url, timeout=30, trust_env=False) as http,
                opened(settings, threads=0, beat=False) as office,
            ):
                sandbox = Sandbox(base_url, http)
                sandbox.reset()
                sandbox.control(BOOKS, "POST", "limits", {})
                world = connect(office, sandbox)
                office.sql("""UPDATE org SET settings = '{"limits": false}'""")
                return play(world, size)
        finally:
            valkey.destroy()
            postgres.destroy()


def play(world: World, size: int) -> int:
    import_id = uploaded(world, size)
    env = environment(world.office.settings)
    began = time.monotonic()
    first, *later = (round(size * share) for share in LOOKS_AT)
    with worker(env, import_id) as process:
        tell_memory(world, import_id, first, process.pid)
        await_done(world, import_id, round(size * KILLED_AT), process.pid)
        process.kill()
    print(f"killed at {settled(world, import_id):,} rows", flush=True)
    with worker(env, import_id) as process:
        for done in later:
            tell_memory(world, import_id, done, process.pid)
        process.wait(60)
    took_s = time.monotonic() - began
    print(f"{size / took_s:,.0f} rows/s ({took_s:.0f} s)", flush=True)
    check(world, import_id, size)
    print("the report is whole: every row once, nothing doubled")
    return 0


def uploaded(world: World, size: int) -> int:
    upload = world.imports.begin(world.actor, world.orgs[BOOKS].connection_id, ImportKind.ITEMS, name="big.csv")
    upload.write(b"Name,Rate\n")
    for line in rows(size):
        upload.write(line.encode())
    return upload.finish().id


def tell_memory(world: World, import_id: int, done: int, pid: int) -> None:
    kib = await_done(world, import_id, done, pid)
    print(f"{done:>7,} rows: worker RSS {kib / 1024:.1f} MiB", flush=True)


def settled(world: World, import_id: int) -> int:
    return world.imports.get(world.actor, import_id).done


def await_done(world: World, import_id: int, done: int, pid: int) -> int:
    """The worker's memory as so many rows are done: the last look at it before it may have ended."""
    seen = [0]

    def there() -> bool:
        view = world.imports.get(world.actor, import_id)
        if not view.ended:
            seen[0] = resident_kib(pid) or seen[0]
        return view.done >= done or view.ended

    await_that(there, f"{done} rows are done", within_s=3600)
    return seen[0]


def check(world: World, import_id: int, size: int) -> None:
    view = world.imports.get(world.actor, import_id)
    good = size - bad_rows(size)
    assert (view.state, view.rows, view.created, view.failed) == ("completed_with_failures", size, good, size - good), (
        view
    )
    check_import(world.office, import_id)
    report = csv.DictReader("".join(world.imports.report(world.actor, import_id)).splitlines())
    told = Counter((row["Bothways outcome"], row["Bothways reason"]) for row in report)
    assert told["created", ""] == good
    assert sum(told.values()) == size
    names = Counter(row["name"] for row in world.sandbox.rows(BOOKS, "items"))
    assert len(names) == sum(names.values()) == good, names.most_common(3)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000))
