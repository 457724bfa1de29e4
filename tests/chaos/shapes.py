"""The few kinds of stack that the cells share."""

from __future__ import annotations

from dataclasses import replace

from deploy.local.stack import DEFAULT_WORKERS, Worker
from tests.chaos.rig import Shape

PLAIN = Shape()
CREW = Shape(
    workers=(
        *DEFAULT_WORKERS,
        Worker("worker-events-2", ("events",), threads=8),
        Worker("worker-control-2", ("runs", "results", "housekeeping")),
    )
)
"""Two of each worker: when one is gone or frozen, the other goes on."""
PROXIED = replace(PLAIN, proxied=True)
TRUE = replace(PLAIN, scale=1.0)
TRUE_CREW = replace(CREW, scale=1.0)
TRUE_PROXIED = replace(PROXIED, scale=1.0)
