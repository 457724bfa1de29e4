"""The cells, a file per group of rows of the matrix. Each offers `CELLS`; this file alone puts them together."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from tests.chaos.cell import Cell

SLUGS = (
    "worker_kill", "worker_term", "worker_freeze", "beat_kill", "api_kill", "redis_kill", "redis_freeze",
    "redis_flush", "redis_clients_killed", "redis_full", "postgres_kill", "postgres_freeze", "postgres_restore",
    "net_cut", "net_blackhole", "net_delay", "vendor_429", "vendor_5xx", "vendor_reply_lost", "vendor_slow",
    "vendor_body", "webhook_lost", "webhook_doubled", "webhook_reordered", "webhook_flood", "clock_vendor",
    "clock_ours", "grant_revoked", "grant_refresh", "both_sides_edit", "poison", "import_race",
)  # fmt: skip

NOT_RUN: dict[str, str] = {
    "postgres_kill, disk full": "needs libfiu (fiu-run), which is not looked for here",
}
"""What this machine cannot play, and why."""


def all_cells() -> list[Cell]:
    found: list[Cell] = []
    for module in iter_modules(__path__):
        found += import_module(f"{__name__}.{module.name}").CELLS
    unknown = {cell.fault for cell in found} - set(SLUGS)
    if unknown:
        raise ValueError(f"no such slugs: {sorted(unknown)}")
    return sorted(found, key=lambda cell: (SLUGS.index(cell.fault), cell.shape.scale, cell.step, cell.seed))
