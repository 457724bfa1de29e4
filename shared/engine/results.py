"""Saves outcomes: sync log, bindings, bases, due rows and run counters in one Postgres transaction under the fence.

Only after the commit are the events acknowledged and the root locks given back. Coming twice is harmless: an event that
has its outcome is not counted again, and a binding moves only from the version that was planned from.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from shared.bus import LIVE, Lane, TakenResult
from shared.engine.context import Ports, lane_of
from shared.engine.outcome import BindingSave, Result, ResultBatch, Wait
from shared.errors import BothwaysError, LeaseLost, Unavailable
from shared.lease import Holder, Lease
from shared.points import at
from shared.sync.events import ChangeEvent, Hint, Origin, encode
from shared.sync.model import RecordId, Side
from shared.sync.reasons import Code

log = logging.getLogger(__name__)

_READ_COUNT = 16


def record_results(ports: Ports, stopping: Callable[[], bool] = lambda: False) -> int:
    """Commits what lies on the result streams until they are empty; returns the number of batches saved.

    Raises Unavailable where Postgres or Redis is away: nothing is lost, the sweep calls again.
    """
    saved = 0
    ports.bus.ensure_results()  # gone with the data where Redis was flushed
    # Before the first look: a batch that comes while we commit wakes again, it may find nothing left to do.
    ports.bus.clear_results_woken()
    todo = ports.bus.retry_results(_READ_COUNT)
    while todo or (todo := ports.bus.read_results(_READ_COUNT)):
        for taken in todo:
            if stopping():
                ports.wake.results()  # another worker claims what is left
                return saved
            _record_one(ports, taken)
            saved += 1
        todo = []
    return saved


def _record_one(ports: Ports, taken: TakenResult) -> None:
    try:
        batch = ResultBatch.decode(taken.payload)
        lane = Lane.parse(batch.lane)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        # Of another version, maybe: it stays for a worker that can read it, and the others go on.
        log.error("results %s cannot be read: %s", taken.id, type(error).__name__)  # noqa: TRY400  (values)
        return
    at("results.taken")
    try:
        finished = _save_safely(ports, batch)
    except LeaseLost:
        # Whoever took over looks at these events afresh: what was created meanwhile has its intent.
        log.warning("results dropped, lease lost", extra={"lane": batch.lane, "fence": batch.fence})
        ports.bus.unsettle(lane, batch.entries)
        ports.bus.unlock_roots(batch.roots, batch.token, settled=True)
        ports.bus.drop_result(taken)
        ports.wake.drain(lane)
        return
    at("results.committed")
    _send_followers(ports, batch)
    whole = ports.bus.ack(lane, batch.entries)
    ports.bus.unlock_roots(batch.roots, batch.token, settled=True)
    ports.bus.drop_result(taken)
    if not whole:
        ports.epoch.tick()
    if batch.holder.startswith("run:") and _settled(ports, batch.run_id):
        finished.add(batch.run_id)
    for run_id in finished:
        ports.wake.run(run_id)


def _send_followers(ports: Ports, batch: ResultBatch) -> None:
    """Before the acknowledgement: a crash in between sends them twice, and an event that comes twice does no harm."""
    events = [event for result in batch.results for event in result.follow]
    items = []
    for event in events:
        shards = ports.settings.shards
        lane = lane_of(batch.integration_id, LIVE, event["pair"], Side(event["side"]), event["rec"], shards)
        items.append((lane, json.dumps(event)))
    for lane in dict.fromkeys(ports.bus.add(items)) if items else ():
        ports.wake.drain(lane)


def _save_safely(ports: Ports, batch: ResultBatch) -> set[int]:
    """A batch that Postgres refuses is saved result by result: one bad value must not hold up everybody (P8)."""
    try:
        return _save_fenced(ports, batch)
    except (LeaseLost, Unavailable):
        raise
    except BothwaysError as error:
        log.error("results of %s, one by one: %s", batch.lane, error)  # noqa: TRY400  (no values in it)
    finished: set[int] = set()
    for result in batch.results:
        finished |= _save_alone(ports, replace(batch, results=[result], last=False))
    return finished | _save_fenced(ports, replace(batch, results=[]))


def _save_alone(ports: Ports, batch: ResultBatch) -> set[int]:
    """What is refused alone has failed. Its intent stays: what was made for it is looked for by the next try."""
    try:
        return _save_fenced(ports, batch)
    except (LeaseLost, Unavailable):
        raise
    except BothwaysError as error:
        log.error("record refused: %s", error)  # noqa: TRY400
    result = batch.results[0]
    wait = Wait("failed", None, result.attempt, encode(_event(batch, result, attempt=0)))
    failed = Result(
        event_ids=result.event_ids,
        origin=result.origin,
        pair=result.pair,
        side=result.side,
        record_id=result.record_id,
        run_id=result.run_id,
        outcome="failed",
        reason=Code.INTERNAL,
        attempt=result.attempt,
        wait=wait,
        asked=result.asked,
        pairs=result.pairs,
    )
    return _save_fenced(ports, replace(batch, results=[failed]))


def _save_fenced(ports: Ports, batch: ResultBatch) -> set[int]:
    with ports.db.transaction() as session:
        ports.leases.check(session, _lease(batch), pushed=True)
        return save(session, batch)


def _settled(ports: Ports, run_id: int) -> bool:
    """A run that waits only for the batches which joined it: this may have been the last of them."""
    with ports.db.transaction() as session:
        query = text("SELECT 1 FROM run WHERE id = :run AND state = 'draining' AND pending = 0")
        return session.execute(query, {"run": run_id}).first() is not None


def _lease(batch: ResultBatch) -> Lease:
    kind = batch.holder.partition(":")[0]
    holder = Holder(batch.holder, kind, batch.integration_id, batch.workspace_id)
    return Lease(holder, tuple(batch.orgs), batch.fence, 0.0)


def save(session: Session, batch: ResultBatch) -> set[int]:
    """Returns the runs whose last pending record this was."""
    fresh = _claim_events(session, batch)
    ends: dict[str, str] = {}
    """Event id -> the event id of the outcome in which it ends."""
    late: dict[str, Result] = {}
    """Those of them that end in an outcome which is there already: it is told that it speaks for one more."""
    settled: Counter[int] = Counter()
    outcomes: list[dict[str, Any]] = []
    # Sorted, and the rows that batches share (counters, runs) last: two of them lock in the same order.
    for result in sorted(batch.results, key=lambda one: (one.pair, one.side, one.record_id)):
        counted = result.outcome is not None and not fresh.intersection(result.event_ids)
        if result.binding is not None and not _save_binding(session, batch, result, result.binding):
            if not counted:
                _plan_again(session, batch, result)
            continue
        _save_intent(session, batch, result)
        runs, answered = _save_wait(session, batch, result)
        settled.update(runs)
        events = [one for one in result.event_ids if one in fresh]
        ends |= dict.fromkeys([*events, *answered], events[0] if events else result.event_ids[0])
        if not events:
            late |= dict.fromkeys(answered, result)
        elif result.outcome is not None:
            outcomes.append(_outcome_row(batch, result, list(dict.fromkeys([*events, *answered]))))
    noted = _note_ends(session, batch, ends)
    _insert_outcomes(session, outcomes)
    _speak_for(session, batch, {event: late[event] for event in noted.intersection(late)})
    _count(session, batch, outcomes)
    if batch.last:
        session.execute(text("DELETE FROM open_batch WHERE id = :id"), {"id": batch.batch_id})
    return {run_id for run_id in sorted(settled) if _nothing_pending(session, run_id, settled[run_id])}


def _nothing_pending(session: Session, run_id: int, settled: int) -> bool:
    pending = session.execute(
        text("UPDATE run SET pending = pending - :n WHERE id = :run RETURNING pending"), {"run": run_id, "n": settled}
    ).scalar()
    return pending == 0


def _claim_events(session: Session, batch: ResultBatch) -> set[str]:
    """Of the events that end here, those that have no outcome yet."""
    ids = [event for result in batch.results if result.outcome is not None for event in result.event_ids]
    if not ids:
        return set()
    rows = session.execute(
        text(
            "INSERT INTO event_done (event_id, workspace_id) SELECT unnest(CAST(:ids AS text[])), :workspace "
            "ON CONFLICT DO NOTHING RETURNING event_id"
        ),
        {"ids": sorted(set(ids)), "workspace": batch.workspace_id},
    )
    return {row.event_id for row in rows}


def _note_ends(session: Session, batch: ResultBatch, ends: Mapping[str, str]) -> set[str]:
    """In which outcome each event ended, and those that waited in a due row which an outcome answered (P9).

    Returns those of which it was not known before.
    """
    if not ends:
        return set()
    rows = session.execute(
        text(
            "INSERT INTO event_done (event_id, outcome_event, workspace_id) "
            # One that was worked on twice ended in an outcome of another name already: that is where these end.
            "SELECT e, coalesce(d.outcome_event, o), :workspace "
            "FROM unnest(CAST(:ids AS text[]), CAST(:outcomes AS text[])) AS f(e, o) "
            "LEFT JOIN event_done d ON d.event_id = o "
            "ON CONFLICT (event_id) DO UPDATE SET outcome_event = excluded.outcome_event "
            "WHERE event_done.outcome_event IS NULL RETURNING event_id"
        ),
        {"ids": sorted(ends), "outcomes": [ends[one] for one in sorted(ends)], "workspace": batch.workspace_id},
    )
    return {row.event_id for row in rows}


def _speak_for(session: Session, batch: ResultBatch, events: Mapping[str, Result]) -> None:
    """An event was worked on twice, and the second time answered what waited: no outcome of its own tells of those."""
    if events:
        session.execute(
            text(
                "UPDATE outcome o SET events = o.events + f.n FROM (SELECT outcome_event AS ended_in, count(*) AS n "
                "FROM event_done WHERE event_id = ANY(:ids) GROUP BY 1) f WHERE o.event_id = f.ended_in "
                "AND o.integration_id = :integration AND o.pair = ANY(:pairs) AND o.record_id = ANY(:records)"
            ),
            {
                "ids": sorted(events),
                "integration": batch.integration_id,
                "pairs": sorted({one.pair for one in events.values()}),
                "records": sorted({one.record_id for one in events.values()}),
            },
        )


_INSERT_BINDING = text(
    """
    INSERT INTO binding (workspace_id, left_org_id, right_org_id, pair, left_id, right_id, base, state, left_written,
        right_written, unread, left_hash, right_hash, left_modified, right_modified, left_seen_at, right_seen_at,
        left_bare_at, right_bare_at, deactivated, version, fence, bound_by_run)
    SELECT i.workspace_id, i.left_org_id, i.right_org_id, :pair, :left_id, :right_id, CAST(:base AS jsonb), :state,
        CAST(:left_written AS timestamptz), CAST(:right_written AS timestamptz), CAST(:unread AS jsonb), :left_hash,
        :right_hash, CAST(:left_modified AS timestamptz), CAST(:right_modified AS timestamptz),
        CAST(:left_seen_at AS timestamptz), CAST(:right_seen_at AS timestamptz),
        CASE WHEN :left_bare THEN clock_timestamp() END, CASE WHEN :right_bare THEN clock_timestamp() END,
        :deactivated, 1, :fence, :run
    FROM integration i WHERE i.id = :integration
    ON CONFLICT DO NOTHING
    """
)
_UPDATE_BINDING = text(
    """
    UPDATE binding b SET base = CAST(:base AS jsonb), state = :state,
        left_written = CAST(:left_written AS timestamptz), right_written = CAST(:right_written AS timestamptz),
        unread = CAST(:unread AS jsonb), left_hash = :left_hash, right_hash = :right_hash,
        left_modified = CAST(:left_modified AS timestamptz), right_modified = CAST(:right_modified AS timestamptz),
        left_seen_at = CAST(:left_seen_at AS timestamptz), right_seen_at = CAST(:right_seen_at AS timestamptz),
        pending = NULL, deactivated = :deactivated, version = b.version + 1, fence = :fence,
        updated_at = clock_timestamp()
    FROM integration i
    WHERE i.id = :integration AND b.left_org_id = i.left_org_id AND b.right_org_id = i.right_org_id
        AND b.pair = :pair AND b.left_id = :left_id AND b.right_id = :right_id AND b.version = :expected
        AND b.fence <= :fence
    """
)


def _save_binding(session: Session, batch: ResultBatch, result: Result, binding: BindingSave) -> bool:
    """False: somebody else moved (or made) the binding since it was planned from."""
    values = {
        "integration": batch.integration_id,
        "pair": result.pair,
        "fence": batch.fence,
        "run": batch.run_id,
        "left_id": binding.left_id,
        "right_id": binding.right_id,
        "base": json.dumps(binding.base),
        "state": binding.state,
        "left_written": binding.left_written,
        "right_written": binding.right_written,
        "unread": json.dumps(binding.unread),
        "left_hash": binding.left_hash,
        "right_hash": binding.right_hash,
        "left_modified": binding.left_modified,
        "right_modified": binding.right_modified,
        "left_seen_at": binding.left_seen_at,
        "right_seen_at": binding.right_seen_at,
        "expected": binding.expected,
        "deactivated": binding.deactivated,
        "left_bare": binding.left_bare,
        "right_bare": binding.right_bare,
    }
    statement = _INSERT_BINDING if binding.expected == 0 else _UPDATE_BINDING
    saved = bool(session.execute(statement, values).rowcount)  # type: ignore[attr-defined]
    if saved and binding.has_children and binding.expected <= 1:
        session.execute(_WAKE_CHILDREN, values)
    return saved


# What waited for its parent, or failed for want of it, is due at once: as an event of its own, where it has ended.
_WAKE_CHILDREN = text(
    """
    UPDATE due SET due_at = clock_timestamp(), event = CASE WHEN why = 'failed' THEN event
        || jsonb_build_object('id', replace(CAST(gen_random_uuid() AS text), '-', ''), 'fold', '') ELSE event END,
        why = CASE WHEN why = 'failed' THEN 'retry' ELSE why END
    WHERE integration_id = :integration AND reason = 'PARENT_NOT_SYNCED' AND detail IN (:left_id, :right_id)
        AND sent_at IS NULL
    """
)


def _plan_again(session: Session, batch: ResultBatch, result: Result) -> None:
    """The event goes back: read, planned and settled once more. It has no outcome yet."""
    session.execute(text("DELETE FROM event_done WHERE event_id = ANY(:ids)"), {"ids": result.event_ids})
    event = encode(_event(batch, result, attempt=result.attempt - 1))
    _upsert_due(session, batch, result, why="retry", in_s=0.0, attempts=result.attempt, event=event)


def _event(batch: ResultBatch, result: Result, *, attempt: int) -> ChangeEvent:
    """The event that looks at the record afresh."""
    return ChangeEvent(
        event_id=result.event_ids[0],
        folded=tuple(result.event_ids[1:]),
        correlation_id=result.event_ids[0],
        integration_id=batch.integration_id,
        pair=result.asked or result.pair,
        side=Side(result.side),
        record_id=RecordId(result.record_id),
        hint=Hint.UPSERT,
        origin=Origin.RETRY,
        received_at=result.received_ms or 0,
        run_id=result.run_id,
        attempt=attempt,
    )


def _save_intent(session: Session, batch: ResultBatch, result: Result) -> None:
    key = {
        "integration": batch.integration_id,
        "pair": result.pair,
        "side": result.side,
        "record": result.record_id,
    }
    where = "integration_id = :integration AND pair = :pair AND side = :side AND record_id = :record"
    if result.intent == "close":
        session.execute(text(f"DELETE FROM intent WHERE {where}"), key)
    elif result.intent == "doubt":
        session.execute(text(f"UPDATE intent SET state = 'in_doubt' WHERE {where}"), key)
    elif result.intent == "looked":
        session.execute(
            text(
                "UPDATE intent SET state = 'in_doubt', looks = looks + 1, "
                f"first_look_at = coalesce(first_look_at, clock_timestamp()) WHERE {where}"
            ),
            key,
        )


def _save_wait(session: Session, batch: ResultBatch, result: Result) -> tuple[list[int], list[str]]:
    """Writes or ends the due row; returns the runs for which the record is settled by this, and the events that waited
    and end by it."""
    ended = {(result.run_id, result.asked or result.pair)} if result.run_id else set()
    waited: list[str] = []
    if result.outcome is not None:
        for row in _answered(session, batch, result):
            ended |= {(row.run_id, row.event["pair"])} if row.run_id else set()
            waited += _ids_of(row.event) if row.why != "failed" else []
    if (wait := result.wait) is not None:
        _upsert_due(session, batch, result, why=wait.why, in_s=wait.in_s, attempts=wait.attempts, event=wait.event)
    if result.outcome is None:
        return [], []
    return [run for run, pair in sorted(ended) if _settle_staged(session, run, pair, result)], waited


def _answered(session: Session, batch: ResultBatch, result: Result) -> Sequence[Row[Any]]:
    """Takes away where the record waited, or had failed: under whichever pair of its module it was taken for then.

    A run that waits for this record gets its answer, whichever event brought it. What was parked after this was read,
    or listed, speaks of something newer: it stays.
    """
    query = text(
        "DELETE FROM due WHERE integration_id = :integration AND pair = ANY(:pairs) AND side = :side "
        "AND record_id = :record AND (event->>'id' = ANY(:events) "
        "OR coalesce(parked_at <= CAST(:opened AS timestamptz), true)) RETURNING run_id, why, event"
    )
    values = {
        "integration": batch.integration_id,
        "pairs": result.pairs or [result.pair],
        "side": result.side,
        "record": result.record_id,
        "events": result.event_ids,
        "opened": (result.listed_at or batch.opened_at) if result.fresh else "-infinity",
    }
    return session.execute(query, values).all()


def _ids_of(event: Mapping[str, str]) -> list[str]:
    """Of a due row's envelope."""
    return [event["id"], *event.get("fold", "").split()]


def _settle_staged(session: Session, run_id: int, pair: str, result: Result) -> bool:
    """`pair`: that which the run's event named."""
    done = session.execute(
        text(
            "UPDATE staged SET state = 'done' WHERE run_id = :run AND pair = :pair AND side = :side "
            "AND record_id = :record AND state = 'queued'"
        ),
        {"run": run_id, "pair": pair, "side": result.side, "record": result.record_id},
    )
    return bool(done.rowcount)  # type: ignore[attr-defined]


def _upsert_due(
    session: Session,
    batch: ResultBatch,
    result: Result,
    *,
    why: str,
    in_s: float | None,
    attempts: int,
    event: dict[str, str],
) -> None:
    session.execute(
        text(
            """
            INSERT INTO due AS d (workspace_id, integration_id, pair, side, record_id, why, reason, detail, attempts,
                due_at, event, run_id)
            VALUES (:workspace, :integration, :pair, :side, :record, :why, :reason, :detail, :attempts,
                clock_timestamp() + make_interval(secs => CAST(:in_s AS float8)), CAST(:event AS jsonb),
                CAST(:run AS bigint))
            ON CONFLICT (integration_id, pair, side, record_id) DO UPDATE SET why = excluded.why,
                reason = excluded.reason, detail = excluded.detail, attempts = excluded.attempts,
                due_at = excluded.due_at, sent_at = NULL, parked_at = clock_timestamp(),
                event = CASE WHEN d.why = 'failed' THEN excluded.event
                    ELSE excluded.event || jsonb_build_object('fold', concat_ws(' ', excluded.event->>'fold',
                        nullif(d.event->>'id', excluded.event->>'id'), d.event->>'fold'),
                        -- Listed before something was told of it: then what was listed is old (P5).
                        'stg', least(excluded.event->>'stg', d.event->>'stg')) END,
                run_id = CASE WHEN excluded.why = 'failed' THEN NULL ELSE coalesce(excluded.run_id, d.run_id) END
            -- A newer event waits: it will say itself whether the record still fails.
            WHERE NOT (excluded.why = 'failed' AND d.why <> 'failed')
            """
        ),
        {
            "workspace": batch.workspace_id,
            "integration": batch.integration_id,
            "pair": result.pair,
            "side": result.side,
            "record": result.record_id,
            "why": why,
            "reason": result.reason,
            "detail": result.detail,
            "attempts": attempts,
            "in_s": in_s,
            "event": json.dumps(event),
            "run": None if why == "failed" else result.run_id,
        },
    )


def _outcome_row(batch: ResultBatch, result: Result, events: Sequence[str]) -> dict[str, Any]:
    """`events`: those that have no outcome yet; one that came twice may be among the others."""
    return {
        "workspace_id": batch.workspace_id,
        "integration_id": batch.integration_id,
        "run_id": batch.run_id,
        "event_id": events[0],
        "events": len(events),
        "origin": result.origin,
        "pair": result.pair,
        "direction": batch.direction[_source_side(result)],
        "side": result.side,
        "record_id": result.record_id,
        "twin_id": result.twin_id,
        "outcome": result.outcome,
        "reason": result.reason,
        "detail": result.detail,
        "changes": json.dumps(result.changes),
        "conflicts": json.dumps(result.conflicts),
        "warnings": json.dumps(result.warnings),
        "attempt": result.attempt,
        "fence": batch.fence,
        "received_ms": result.received_ms,
        "written_ms": result.written_ms,
    }


def _source_side(result: Result) -> str:
    """Where the change came from: a merge may write the very side whose event brought it up."""
    if result.written_side is None:
        return result.side
    return Side(result.written_side).other.value


_INSERT_OUTCOME = text(
    """
    INSERT INTO outcome (workspace_id, integration_id, run_id, event_id, events, origin, pair, direction, side,
        record_id, twin_id, outcome, reason, detail, changes, conflicts, warnings, attempt, fence, received_at,
        written_at)
    VALUES (:workspace_id, :integration_id, :run_id, :event_id, :events, :origin, :pair, :direction, :side,
        :record_id, :twin_id, :outcome, :reason, :detail, CAST(:changes AS jsonb), CAST(:conflicts AS jsonb),
        CAST(:warnings AS jsonb), :attempt, :fence,
        to_timestamp(CAST(:received_ms AS float8) / 1000), to_timestamp(CAST(:written_ms AS float8) / 1000))
    """
)


def _insert_outcomes(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        session.execute(_INSERT_OUTCOME, list(rows))


_COUNT = text(
    """
    INSERT INTO run_count AS c (run_id, direction, pair, outcome, reason, workspace_id, records, conflicts, listed)
    VALUES (:run, :direction, :pair, :outcome, :reason, :workspace, :records, :conflicts, :listed)
    ON CONFLICT (run_id, direction, pair, outcome, reason) DO UPDATE
    SET records = c.records + excluded.records, conflicts = c.conflicts + excluded.conflicts,
        listed = c.listed + excluded.listed
    """
)


def _count(session: Session, batch: ResultBatch, rows: Sequence[dict[str, Any]]) -> None:
    counts: Counter[tuple[str, str, str, str]] = Counter()
    conflicts: Counter[tuple[str, str, str, str]] = Counter()
    for row in rows:
        key = (row["direction"], row["pair"], row["outcome"], row["reason"])
        counts[key] += 1
        conflicts[key] += row["conflicts"] != "[]"
    # Sorted: two result transactions of one run lock the counters in the same order.
    for key in sorted(counts):
        add_count(session, batch.run_id, batch.workspace_id, key, counts[key], conflicts=conflicts[key])


def add_count(
    session: Session,
    run_id: int,
    workspace_id: int,
    key: tuple[str, str, str, str],
    records: int,
    *,
    conflicts: int = 0,
    listed: int = 0,
) -> None:
    """`key` is (direction, pair, outcome, reason)."""
    direction, pair, outcome, reason = key
    session.execute(
        _COUNT,
        {
            "run": run_id,
            "workspace": workspace_id,
            "direction": direction,
            "pair": pair,
            "outcome": outcome,
            "reason": reason,
            "records": records,
            "conflicts": conflicts,
            "listed": listed,
        },
    )


def iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
