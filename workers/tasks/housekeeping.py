"""Beat's ticks."""

from __future__ import annotations

from shared.engine import housekeeping as engine
from workers.app import app
from workers.lifecycle import runtime
from workers.quiet import quietly


@app.task(name="housekeeping.tick")
def tick() -> None:
    with quietly("housekeeping.tick"):
        here = runtime()
        here.ticks.run(lambda: engine.tick(here.ports))


@app.task(name="housekeeping.hourly")
def hourly() -> None:
    with quietly("housekeeping.hourly"):
        engine.hourly(runtime().ports)
