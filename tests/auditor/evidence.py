"""Collecting what there is to see of a stack, and marking where a cell begins."""

from __future__ import annotations

from collections.abc import Iterable

from tests.auditor import sources
from tests.auditor.fields import BOOKS, FSM, VENDORS
from tests.auditor.seen import Evidence, Mark

__all__ = ["Evidence", "Mark", "collect", "mark"]


def mark(*, sandbox_url: str, database_url: str, known: Iterable[tuple[str, str, str]] = ()) -> Mark:
    """Taken while all is quiet. `known`: `Report.keys` of the last audit, if that was red."""
    with sources.Sandbox(sandbox_url) as sandbox:
        call_seqs = {vendor: sandbox.last(vendor, "calls") for vendor in sandbox.vendors}
        delivery_seqs = {vendor: sandbox.last(vendor, "deliveries") for vendor in (FSM, BOOKS)}
        records = tuple(one for vendor in VENDORS.values() for one in sandbox.records(vendor))
    tables = sources.read_tables(database_url)
    return Mark(
        at_ms=sources.now_ms(),
        call_seqs=call_seqs,
        delivery_seqs=delivery_seqs,
        outcome_id=max((one.id for one in tables.outcomes), default=0),
        versions={one.id: one.version for one in tables.connections},
        records=records,
        known=frozenset(known),
    )


def collect(*, sandbox_url: str, database_url: str, redis_url: str, since: Mark | None = None) -> Evidence:
    """Deliveries first, then Redis, then Postgres, so that what is seen accepted is looked for in what comes later.

    Raises httpx.HTTPError, redis.RedisError, psycopg.Error.
    """
    with sources.Sandbox(sandbox_url) as sandbox:
        sent, idle = zip(*(sandbox.deliveries(vendor, since) for vendor in (FSM, BOOKS)), strict=True)
        calls, dropped = zip(*(sandbox.calls(vendor, since) for vendor in sandbox.vendors), strict=True)
        streams = sources.read_streams(redis_url)
        tables = sources.read_tables(database_url)
        records = tuple(one for vendor in VENDORS.values() for one in sandbox.records(vendor))
        offsets_ms = {vendor: sandbox.offset_ms(vendor) for vendor in VENDORS.values()}
    return Evidence(
        at_ms=sources.now_ms(),
        tables=tables,
        streams=streams,
        since=since,
        records=records,
        calls=tuple(one for found in calls for one in found),
        deliveries=tuple(one for found in sent for one in found),
        idle=all(idle),
        offsets_ms=offsets_ms,
        dropped=sum(dropped),
    )
