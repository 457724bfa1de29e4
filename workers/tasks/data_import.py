"""Wake-up of a data import."""

from __future__ import annotations

from shared.engine import data_import as engine
from workers.app import app
from workers.lifecycle import runtime
from workers.quiet import quietly


@app.task(name="runs.data_import")
def data_import(import_id: int) -> None:
    with quietly("runs.data_import"):
        here = runtime()
        engine.advance(here.ports, here.keeper, import_id)
