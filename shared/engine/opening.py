"""Opening a batch: under whose lease it works, and to which run its outcomes are counted (LK-2 to LK-4)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from shared.bus import Lane
from shared.db.sql import Statements, sql
from shared.engine.context import Context, Ports
from shared.lease import Held, Lease, webhook_holder
from shared.points import at


class _RunEnded(Exception):
    """The run ended between the look and the lock: its lease must not come to life again."""


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """`run_id` is the run that its outcomes are counted to; `token` owns its root locks."""

    id: str
    token: str
    lease: Lease
    run_id: int
    opened_at: datetime
    """By Postgres' clock, before anything was read."""


def open_batch(ports: Ports, context: Context, lane: Lane, drainer: str) -> OpenBatch | Held:
    """Joins the run that holds the orgs, else takes them for webhook work; the batch is on record before it begins.

    `drainer` is the token of the lane's drainer. Held: somebody else has the orgs, or goes first.
    """
    batch_id = uuid.uuid4().hex
    try:
        with ports.db.writing() as session:
            ports.epoch.check(session)
            opened = _open(ports, session, context, batch_id, lane)
    except _RunEnded:
        return Held("run:0", datetime.now(UTC))
    if isinstance(opened, Held):
        return opened
    at("lease.taken")
    lease, run_id, opened_at = opened
    return OpenBatch(batch_id, f"{drainer}-{batch_id[:8]}", lease, run_id, opened_at)


def _open(
    ports: Ports, session: Statements, context: Context, batch_id: str, lane: Lane
) -> tuple[Lease, int, datetime] | Held:
    holder = ports.leases.holder_for_events(session, context.org_ids, webhook_holder(context.id, context.workspace_id))
    if holder.run_id is not None and not _writes(session, holder.run_id):
        return Held(holder.name, datetime.now(UTC))  # Fetch: it must not be joined, for it writes nothing
    if holder.run_id is None and (context.state != "enabled" or not context.fetched):
        return Held(holder.name, datetime.now(UTC))  # events are kept until it may work
    lease = ports.leases.take(session, context.org_ids, holder, joining=True)
    if isinstance(lease, Held):
        return lease
    if lease.holder.run_id is not None and not _active(session, lease.holder.run_id):
        raise _RunEnded
    run_id = lease.holder.run_id or _webhook_run(session, context)
    return lease, run_id, _record_batch(ports, session, context, lease, batch_id, lane)


def _writes(session: Statements, run_id: int) -> bool:
    return session.execute(sql("SELECT kind FROM run WHERE id = :run"), {"run": run_id}).scalar() != "fetch"


def _active(session: Statements, run_id: int) -> bool:
    return bool(session.execute(sql("SELECT 1 FROM run WHERE id = :run AND ended_at IS NULL"), {"run": run_id}).first())


def _webhook_run(session: Statements, context: Context) -> int:
    """Webhook work is logged under one Sync ID per integration and hour (LG-1)."""
    values = {"integration": context.id, "workspace": context.workspace_id}
    found = session.execute(
        sql("SELECT id FROM run WHERE integration_id = :integration AND hour = date_trunc('hour', clock_timestamp())"),
        values,
    ).scalar()
    if found is None:
        found = session.execute(
            sql(
                """
                INSERT INTO run (workspace_id, integration_id, kind, trigger, state, hour, started_at, pending, queued,
                    report)
                VALUES (:workspace, :integration, 'webhook', 'webhook', 'draining',
                    date_trunc('hour', clock_timestamp()), clock_timestamp(), 0, 0, '{}')
                ON CONFLICT (integration_id, hour) DO UPDATE SET hour = excluded.hour RETURNING id
                """
            ),
            values,
        ).scalar_one()
    return int(found)


def _record_batch(
    ports: Ports, session: Statements, context: Context, lease: Lease, batch_id: str, lane: Lane
) -> datetime:
    """Postgres' time of it."""
    opened_at: datetime = session.execute(
        sql(
            "INSERT INTO open_batch (id, workspace_id, integration_id, fence, lane, until) VALUES "
            "(:id, :workspace, :integration, :fence, :lane, clock_timestamp() + make_interval(secs => :s)) "
            "RETURNING clock_timestamp()"
        ),
        {
            "id": batch_id,
            "workspace": context.workspace_id,
            "integration": context.id,
            "fence": lease.fence,
            "lane": str(lane),
            "s": ports.settings.scaled(ports.settings.lease_ttl_s),
        },
    ).scalar_one()
    return opened_at


def close_batch(ports: Ports, batch_id: str) -> None:
    """Nobody pushes for it any more: a waiter, or the end of the run, need not wait until it lapses."""
    with ports.db.writing() as session:
        session.execute(sql("DELETE FROM open_batch WHERE id = :id"), {"id": batch_id})
