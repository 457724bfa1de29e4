"""Wake-up of the result stream: outcomes go into Postgres, one committer per process."""

from __future__ import annotations

from shared.bus import RESULTS, redis_errors
from shared.engine.results import record_results
from workers.app import app
from workers.lifecycle import runtime
from workers.quiet import quietly


@app.task(name="results.record")
def record() -> None:
    with quietly("results.record"):
        here = runtime()
        if not here.results_lock.acquire(timeout=30):
            return
        try:
            # Cleared first: a batch that comes while we commit wakes again, it may find nothing left to do.
            with redis_errors():
                here.ports.bus.redis.delete(f"{RESULTS}:woken")
            record_results(here.ports)
        finally:
            here.results_lock.release()
