"""Wake-up of a lane's drainer."""

from __future__ import annotations

from shared.bus import Lane
from shared.engine import drain as engine
from workers.app import app
from workers.lifecycle import runtime
from workers.quiet import quietly


@app.task(name="events.drain")
def drain(lane: str) -> None:
    with quietly("events.drain"):
        here = runtime()
        engine.drain(here.ports, here.keeper, Lane.parse(lane))
