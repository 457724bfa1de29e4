"""Wake-up of a run."""

from __future__ import annotations

from shared.engine import run as engine
from workers.app import app
from workers.lifecycle import runtime
from workers.quiet import quietly


@app.task(name="runs.advance")
def advance(run_id: int) -> None:
    with quietly("runs.advance"):
        here = runtime()
        engine.advance(here.ports, here.keeper, run_id)
