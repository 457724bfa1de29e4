"""The sandbox's Zoho FSM and Zoho Books, connected to a stack on durable servers, with every limit off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import httpx

from api.ports import open_doors
from deploy.local.stack import DEFAULT_WORKERS, Stack, StackOptions, Worker
from tests.bench.rig import settings_of
from tests.e2e.world import World, connected

SETTINGS = ("limits=false of both connections: the vendors' published limits are off",)


@contextmanager
def zoho(
    folder: Path,
    *,
    workers: Sequence[Worker] = DEFAULT_WORKERS,
    beat: bool = True,
    env: Mapping[str, str] | None = None,
) -> Iterator[World]:
    """Webhooks are on, both ways; nothing is fetched yet. The sandbox itself limits nobody unless it is told to."""
    options = StackOptions(
        data_dir=folder, sandbox=True, flower=False, beat=beat, workers=tuple(workers), env=env or {}
    )
    with Stack.start(options) as stack, httpx.Client(timeout=30, trust_env=False) as http:
        world = connected(stack, http)
        with closing(open_doors(settings_of(stack, world.sandbox), threads=1)) as doors:
            for (connection,) in world.sql("SELECT id FROM connection"):
                doors.connections.set_limits(doors.host(), connection, False)
        yield world
