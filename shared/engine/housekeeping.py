"""What must happen later or again: due rows, due runs, wake-ups that were lost, months that come and go.

Everything due is claimed in Postgres, so two beats, late ticks and doubled ticks do no harm.
"""

from __future__ import annotations

import json
import logging

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.db.queries import imports
from shared.engine.classes import lane_for
from shared.engine.context import Ports
from shared.errors import BothwaysError
from shared.sync.events import decode

log = logging.getLogger(__name__)

DUE_CHUNK = 500
EVENT_DONE_DAYS = 7
REMOVE_CHUNK, REMOVE_CHUNKS = 500, 40


def tick(ports: Ports) -> None:
    """Every few seconds. Each part stands alone: trouble of one does not keep the others from running."""
    for step in (
        check_stores,
        send_due,
        start_scheduled,
        wake_runs,
        wake_imports,
        wake_lanes,
        wake_results,
        send_canaries,
    ):
        try:
            step(ports)
        except BothwaysError as error:
            log.warning("tick: %s: %s", step.__name__, error.code)


def send_due(ports: Ports) -> None:
    """Events whose time has come go back onto their lanes; one whose sending was lost goes again after a minute.

    Where its lane has entries it may lie there, behind an org that is held: it is not sent a second time.
    """
    with ports.db.transaction() as session:
        rows = session.execute(
            text(
                """
                UPDATE due d SET sent_at = clock_timestamp() FROM (
                    SELECT id, sent_at IS NOT NULL AS again FROM due WHERE due_at <= clock_timestamp()
                      AND why <> 'failed'
                      AND (sent_at IS NULL OR sent_at < clock_timestamp() - make_interval(secs => :again))
                      AND NOT EXISTS (SELECT 1 FROM run WHERE run.id = due.run_id AND run.resume_at IS NOT NULL)
                    ORDER BY due_at LIMIT :n FOR UPDATE SKIP LOCKED) f
                WHERE d.id = f.id RETURNING d.event, f.again
                """
            ),
            {"n": DUE_CHUNK, "again": ports.settings.scaled(60.0)},
        ).all()
    items = []
    for row in rows:
        event = decode(row.event)
        lane = lane_for(event, ports.settings.shards)
        if not row.again or not ports.bus.length([lane]):
            items.append((lane, json.dumps(row.event)))
    for lane in dict.fromkeys(ports.bus.add(items)):
        ports.wake.drain(lane)


def start_scheduled(ports: Ports) -> None:
    """TR-2: due integrations get a run; the unique index refuses a second one.

    One that has a run stays due until that has ended. `next_run_at` is set where the schedule is off too, after Redis
    lost its data.
    """
    with ports.db.transaction() as session:
        due = session.execute(
            text(
                """
                SELECT id, workspace_id FROM integration i
                WHERE next_run_at <= clock_timestamp() AND state = 'enabled' AND fetched_at IS NOT NULL
                  AND NOT EXISTS (SELECT 1 FROM run r WHERE r.integration_id = i.id AND r.kind <> 'webhook'
                    AND r.ended_at IS NULL)
                ORDER BY id FOR UPDATE SKIP LOCKED
                """
            )
        ).all()
        created = [new_run(session, row.id, row.workspace_id, "sync", "scheduled") for row in due]
    for run_id in created:
        if run_id is not None:
            ports.wake.run(run_id)


def new_run(
    session: Session,
    integration_id: int,
    workspace_id: int,
    kind: str,
    trigger: str,
    *,
    compares: bool = False,
    deletions_confirmed: bool = False,
) -> int | None:
    """None: the integration has a run already (LK-1). A sync is the one that was planned, whoever asked for it."""
    found: int | None = session.execute(
        text(
            """
            INSERT INTO run (workspace_id, integration_id, kind, trigger, state, pending, queued, report, compares,
                deletions_confirmed)
            VALUES (:workspace, :integration, :kind, :trigger, 'queued', 0, 0, '{}', :compares, :confirmed)
            ON CONFLICT DO NOTHING RETURNING id
            """
        ),
        {
            "workspace": workspace_id,
            "integration": integration_id,
            "kind": kind,
            "trigger": trigger,
            "compares": compares,
            "confirmed": deletions_confirmed,
        },
    ).scalar()
    if found is not None and kind == "sync":
        session.execute(text("UPDATE integration SET next_run_at = NULL WHERE id = :id"), {"id": integration_id})
    return found


def wake_runs(ports: Ports) -> None:
    with ports.db.transaction() as session:
        rows = session.execute(
            text(
                """
                SELECT id FROM run WHERE kind <> 'webhook'
                  AND state NOT IN ('completed', 'completed_with_failures', 'failed', 'cancelled')
                  AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
                  AND (resume_at IS NULL OR resume_at <= clock_timestamp())
                """
            )
        ).all()
    for row in rows:
        ports.wake.run(row.id)


def wake_imports(ports: Ports) -> None:
    with ports.db.transaction() as session:
        waiting = imports.waiting(session)
    for import_id in waiting:
        ports.wake.data_import(import_id)


def wake_lanes(ports: Ports) -> None:
    for lane in ports.bus.idle_lanes():
        ports.wake.drain(lane)


def wake_results(ports: Ports) -> None:
    if ports.bus.results_waiting():
        ports.wake.results()


def send_canaries(ports: Ports) -> None:
    """Health is that work flows, not that processes are up."""
    if ports.bus.may_send_canaries(ports.settings.scaled(ports.settings.canary_s)):
        ports.wake.canaries()


def check_stores(ports: Ports) -> None:
    """P2: before anything else, whether Redis or Postgres lost what it had."""
    ports.epoch.tick()


def hourly(ports: Ports) -> None:
    """Partitions ahead and behind, closed webhook runs, old runs, remembered events that nothing will ask for again."""
    with ports.db.transaction() as session:
        session.execute(text("SELECT outcome_partitions(:months)"), {"months": ports.settings.outcome_months})
        session.execute(
            text("DELETE FROM event_done WHERE at < clock_timestamp() - make_interval(days => :days)"),
            {"days": EVENT_DONE_DAYS},
        )
        session.execute(
            text(
                """
                UPDATE run r SET state = CASE WHEN EXISTS (SELECT 1 FROM run_count c
                    WHERE c.run_id = r.id AND c.outcome = 'failed') THEN 'completed_with_failures' ELSE 'completed' END,
                    ended_at = r.hour + interval '1 hour'
                WHERE kind = 'webhook' AND ended_at IS NULL AND hour < date_trunc('hour', clock_timestamp())
                """
            )
        )
        session.execute(text("DELETE FROM open_batch WHERE until < clock_timestamp() - interval '1 hour'"))
        imports.forget_old(session, ports.settings.import_cells_days, ports.settings.outcome_months)
    remove_old(ports)


# In UTC, by Postgres' clock: what the partitions of the same months are dropped by.
_EDGE = "timezone('UTC', date_trunc('month', timezone('UTC', now())) - make_interval(months => :months))"
_REMOVE_OLD = (
    # Its counters, lists and mails go with it. One that is on has not ended.
    f"DELETE FROM run WHERE id IN (SELECT id FROM run WHERE ended_at <= {_EDGE} ORDER BY ended_at LIMIT :n)",
    f"""
    DELETE FROM lease_log WHERE (org_id, fence) IN (
        SELECT org_id, fence FROM lease_log WHERE taken_at < {_EDGE} AND released_at <= {_EDGE}
        ORDER BY taken_at LIMIT :n)
    """,
    # What a clock far off brought is in no month's partition.
    f"""
    DELETE FROM outcome_default WHERE at < {_EDGE} AND (id, at) IN (
        SELECT id, at FROM outcome_default WHERE at < {_EDGE} LIMIT :n)
    """,
)


def remove_old(ports: Ports) -> None:
    """LG-1: runs and leases that ended before the first month that is kept. In transactions of a bounded size, so many
    at once; what is left is the next call's."""
    for statement in map(text, _REMOVE_OLD):
        for _ in range(REMOVE_CHUNKS):
            with ports.db.transaction() as session:
                removed = session.execute(
                    statement, {"months": ports.settings.outcome_months, "n": REMOVE_CHUNK}
                ).rowcount  # type: ignore[attr-defined]
            if removed < REMOVE_CHUNK:
                break
