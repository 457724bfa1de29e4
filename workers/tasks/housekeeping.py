"""Beat's ticks."""

from __future__ import annotations

from shared.engine import housekeeping as engine
from shared.engine.mailing import send_notices
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


@app.task(name="housekeeping.mail")
def mail() -> None:
    """Not a step of the tick: a mail server may be slow, and what is due elsewhere must not wait for it."""
    with quietly("housekeeping.mail"):
        here = runtime()
        here.mail.run(lambda: send_notices(here.ports))
