"""Wake-up of the result streams: outcomes go into Postgres, one committer per process."""

from __future__ import annotations

from shared.engine.results import record_results
from workers.app import app
from workers.lifecycle import runtime
from workers.quiet import quietly


@app.task(name="results.record")
def record() -> None:
    with quietly("results.record"):
        here = runtime()
        here.results.run(lambda: record_results(here.ports, here.keeper.stopping.is_set))
