"""A whole stack to measure: real processes, durable servers, and a vendor whose limits are off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import text

from api.ports import Doors, open_doors
from deploy.local.stack import DEFAULT_WORKERS, Stack, StackOptions, Worker
from shared.settings import Settings
from shared.sync.access import Actor
from tests.bench_vendor.connector import BATCH
from tests.bench_vendor.world import LEFT, RIGHT, Bench, bench_process, connect, registered

MOST_RECORDS = 10_000_000
SETTINGS = (f"BOTHWAYS_MOST_RECORDS={MOST_RECORDS}: ST-2 stops at 10,000", "BOTHWAYS_MANUAL_SYNCS_PER_DAY=0: TR-4")
ENV = {
    "BOTHWAYS_MOST_RECORDS": str(MOST_RECORDS),
    "BOTHWAYS_MANUAL_SYNCS_PER_DAY": "0",
}
SEED_PART = 5_000


@dataclass(frozen=True)
class Rig:
    """One integration, not fetched yet, between the two orgs of a bench vendor."""

    stack: Stack
    bench: Bench
    doors: Doors
    actor: Actor
    integration: int

    def seed(self, count: int, org: str = LEFT, first: int = 0) -> list[str]:
        """Ids of new records, "Customer 000000" and on."""
        ids: list[str] = []
        for start in range(first, first + count, SEED_PART):
            end = min(first + count, start + SEED_PART)
            ids += self.bench.seed(org, [f"Customer {number:06}" for number in range(start, end)])
        return ids

    def fetch(self) -> float:
        return self.ended(self.doors.runs.fetch(self.actor, self.integration))

    def sync(self) -> tuple[int, float]:
        """The run, and seconds from asking to its end."""
        run_id = self.doors.runs.sync_now(self.actor, self.integration)
        return run_id, self.ended(run_id)

    def ended(self, run_id: int, within_s: float = 900) -> float:
        began = time.monotonic()
        query = "SELECT ended_at FROM run WHERE id = :run"  # a look at its figures would count its records each time
        until(lambda: self.sql(query, run=run_id)[0]["ended_at"], f"run {run_id} ends", within_s)
        run = self.doors.runs.get(self.actor, run_id)
        assert run.state == "completed", (run.state, run.error_code, run.error_detail)
        return time.monotonic() - began

    def sql(self, query: str, **values: object) -> Sequence[Mapping[str, object]]:
        with self.doors.db.transaction() as session:
            return [dict(row) for row in session.execute(text(query), values).mappings()]


@contextmanager
def bench_rig(
    folder: Path,
    *,
    batch: int = 100,
    left: Mapping[str, int] | None = None,
    workers: Sequence[Worker] = DEFAULT_WORKERS,
    env: Mapping[str, str] | None = None,
    hook: str = "tests.bench_vendor.plug:register",
) -> Iterator[Rig]:
    """`batch`: records that a call of the bench vendor takes at the right side; `left`: that side's capabilities."""
    with bench_process() as bench, registered():
        given = {**ENV, "BOTHWAYS_TEST_HOOK": hook, "BOTHWAYS_SANDBOX_URL": bench.url}
        options = StackOptions(data_dir=folder, flower=False, workers=tuple(workers), env={**given, **(env or {})})
        with Stack.start(options) as stack:
            doors = open_doors(settings_of(stack, bench.url), threads=4)
            try:
                actor = doors.host()
                integration, made = connect(
                    doors.connections, doors.db, doors.integrations, actor, left, **{BATCH: batch}
                )
                doors.connections.set_limits(actor, made[RIGHT].connection_id, False)
                for org in (LEFT, RIGHT):
                    bench.no_limits(org)
                bench.limits(RIGHT, app=None)  # that of all orgs together: the textbook pipeline makes 40,000 calls
                yield Rig(stack, bench, doors, actor, integration)
            finally:
                doors.close()


def settings_of(stack: Stack, sandbox_url: str) -> Settings:
    return Settings(
        database_url=SecretStr(stack.env["DATABASE_URL"]),
        redis_url=SecretStr(stack.env["REDIS_URL"]),
        key_file=Path(stack.env["BOTHWAYS_KEY_FILE"]),
        sandbox_url=sandbox_url,
        manual_syncs_per_day=0,
    )


def until(condition: Callable[[], object], what: str, within_s: float, every_s: float = 0.05) -> None:
    ends = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > ends:
            raise SystemExit(f"never came true: {what}")
        time.sleep(every_s)
