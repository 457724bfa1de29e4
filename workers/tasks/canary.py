"""A task per queue that only says that it was run: what health looks at."""

from __future__ import annotations

from shared.wake import QUEUES
from workers.app import app
from workers.lifecycle import runtime
from workers.quiet import quietly


def _register(queue: str) -> None:
    @app.task(name=f"{queue}.canary")
    def canary() -> None:
        with quietly(f"{queue}.canary"):
            runtime().ports.bus.sing(queue)


for _queue in QUEUES:
    _register(_queue)
