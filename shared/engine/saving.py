"""Saves a batch of outcomes: sync log, bindings, bases, due rows and run counters, by a fixed number of statements.

Coming twice is harmless: an event that has its outcome is not counted again, and a binding moves only from the version
that was planned from. Each statement takes all its rows as one JSON parameter, however many records the batch has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from msgspec.structs import asdict
from sqlalchemy import Row, TextClause

from shared.db.sql import Statements, sql
from shared.engine.outcome import BindingSave, Result, ResultBatch, Wait
from shared.sync.events import ChangeEvent, Hint, Origin, encode
from shared.sync.model import RecordId, Side


@dataclass(slots=True)
class _Log:
    """What the sync log gains. `ends`: event id -> the event id of the outcome in which it ends; `late`: those of them
    that end in an outcome which is there already, which is told that it speaks for one more."""

    outcomes: list[dict[str, Any]] = field(default_factory=list)
    ends: dict[str, str] = field(default_factory=dict)
    late: dict[str, Result] = field(default_factory=dict)


def save(session: Statements, batch: ResultBatch, low: int = 0) -> set[int]:
    """Returns the runs that are to go on: of which no more than `low` records are pending since this."""
    fresh = _claim_events(session, batch)
    log = _Log()
    settled: Counter[int] = Counter()
    # Sorted, and the rows that batches share (counters, runs) last: two of them lock in the same order.
    for part in _parts(sorted(batch.results, key=lambda one: (one.pair, one.side, one.record_id))):
        settled += _save_part(session, batch, part, fresh, log)
    alone = {one.event_ids[0] for one in batch.results if len(one.event_ids) == 1}.intersection(fresh)
    noted = _note_ends(session, batch, {event: end for event, end in log.ends.items() if event not in alone})
    if log.outcomes:
        of_batch = {"workspace": batch.workspace_id, "integration": batch.integration_id, "run": batch.run_id}
        _all(session, _INSERT_OUTCOMES, log.outcomes, fence=batch.fence, **of_batch)
    _speak_for(session, batch, {event: log.late[event] for event in noted.intersection(log.late)})
    _count(session, batch, log.outcomes)
    if batch.last:
        session.execute(sql("DELETE FROM open_batch WHERE id = :id"), {"id": batch.batch_id})
    return {run_id for run_id in sorted(settled) if _goes_on(session, run_id, settled[run_id], low)}


def _parts(results: Sequence[Result]) -> list[list[Result]]:
    """In their order, but no record twice in a part: both ends of a binding may have come in one batch, and the second
    finds what the first left."""
    parts: list[list[Result]] = []
    last: dict[tuple[str, str], int] = {}
    for result in results:
        records = {(str(result.side), result.record_id)}
        if result.binding is not None:
            records |= {("left", result.binding.left_id), ("right", result.binding.right_id)}
        number = 1 + max(last.get(one, -1) for one in records)
        last |= dict.fromkeys(records, number)
        if number == len(parts):
            parts.append([])
        parts[number].append(result)
    return parts


def _save_part(
    session: Statements, batch: ResultBatch, part: Sequence[Result], fresh: Collection[str], log: _Log
) -> Counter[int]:
    """Records settled, by run."""
    moved = _save_bindings(session, batch, part)
    saved = [one for one in part if id(one) not in moved]
    again = [one for one in part if id(one) in moved and not _counted(one, fresh)]
    if again:  # read, planned and settled once more: they have no outcome yet
        ids = [event for one in again for event in one.event_ids]
        session.execute(sql("DELETE FROM event_done WHERE event_id = ANY(:ids)"), {"ids": ids})
    _save_intents(session, batch, saved)
    answered = _answered(session, batch, saved)
    waits = [_wait_row(one, one.wait) for one in saved if one.wait] + [_again_row(batch, one) for one in again]
    if waits:
        _all(session, _UPSERT_DUE, waits, integration=batch.integration_id, workspace=batch.workspace_id)
    _wake_children(session, batch, saved)
    for result in saved:
        _note(batch, result, fresh, answered.get(id(result), ()), log)
    return _settle_staged(session, saved, answered)


def _counted(result: Result, fresh: Collection[str]) -> bool:
    """It has its outcome already, by an earlier try."""
    return result.outcome is not None and not any(event in fresh for event in result.event_ids)


def _note(batch: ResultBatch, result: Result, fresh: Collection[str], answered: Sequence[Row[Any]], log: _Log) -> None:
    waited = [event for row in answered if row.why != "failed" for event in _ids_of(row.event)]
    events = [one for one in result.event_ids if one in fresh]
    log.ends |= dict.fromkeys([*events, *waited], events[0] if events else result.event_ids[0])
    if not events:
        log.late |= dict.fromkeys(waited, result)
    elif result.outcome is not None:
        log.outcomes.append(_outcome_row(batch, result, list(dict.fromkeys([*events, *waited]))))


def _all(session: Statements, statement: TextClause, rows: Sequence[Mapping[str, Any]], **values: object) -> Any:
    """`statement` reads its rows from the JSON parameter `rows`."""
    return session.execute(statement, {**values, "rows": orjson.dumps(rows).decode()})


# Events


def _claim_events(session: Statements, batch: ResultBatch) -> set[str]:
    """Of the events that end here, those that have no outcome yet. One that came alone ends in an outcome of its own
    name; of several that were folded that is not known before it is known which of them are new."""
    ended = [result for result in batch.results if result.outcome is not None]
    ends = {event: event if len(one.event_ids) == 1 else None for one in ended for event in one.event_ids}
    if not ends:
        return set()
    rows = [{"e": event, "o": ends[event]} for event in sorted(ends)]
    return {row.event_id for row in _all(session, _CLAIM_EVENTS, rows, workspace=batch.workspace_id)}


_CLAIM_EVENTS = sql(
    "INSERT INTO event_done (event_id, outcome_event, workspace_id) SELECT r.e, r.o, :workspace "
    "FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(e text, o text) ON CONFLICT DO NOTHING RETURNING event_id"
)


def _note_ends(session: Statements, batch: ResultBatch, ends: Mapping[str, str]) -> set[str]:
    """In which outcome each event ended, and those that waited in a due row which an outcome answered (P9).

    Returns those of which it was not known before.
    """
    if not ends:
        return set()
    rows = session.execute(
        sql(
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


def _speak_for(session: Statements, batch: ResultBatch, events: Mapping[str, Result]) -> None:
    """An event was worked on twice, and the second time answered what waited: no outcome of its own tells of those."""
    if events:
        session.execute(
            sql(
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


# Bindings


_BINDING_COLUMNS = """jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(pair text, left_id text, right_id text, base jsonb,
        state text, left_written timestamptz, right_written timestamptz, unread jsonb, left_hash text, right_hash text,
        left_modified timestamptz, right_modified timestamptz, left_seen_at timestamptz, right_seen_at timestamptz,
        deactivated boolean, left_bare boolean, right_bare boolean, expected integer)"""
_INSERT_BINDING = sql(
    f"""
    INSERT INTO binding (workspace_id, left_org_id, right_org_id, pair, left_id, right_id, base, state, left_written,
        right_written, unread, left_hash, right_hash, left_modified, right_modified, left_seen_at, right_seen_at,
        left_bare_at, right_bare_at, deactivated, version, fence, bound_by_run)
    SELECT i.workspace_id, i.left_org_id, i.right_org_id, r.pair, r.left_id, r.right_id, r.base, r.state,
        r.left_written, r.right_written, r.unread, r.left_hash, r.right_hash, r.left_modified, r.right_modified,
        r.left_seen_at, r.right_seen_at, CASE WHEN r.left_bare THEN clock_timestamp() END,
        CASE WHEN r.right_bare THEN clock_timestamp() END, r.deactivated, 1, :fence, :run
    FROM integration i, {_BINDING_COLUMNS} WHERE i.id = :integration
    ON CONFLICT DO NOTHING RETURNING pair, left_id
    """
)
_UPDATE_BINDING = sql(
    f"""
    UPDATE binding b SET base = r.base, state = r.state, left_written = r.left_written,
        right_written = r.right_written, unread = r.unread, left_hash = r.left_hash, right_hash = r.right_hash,
        left_modified = r.left_modified, right_modified = r.right_modified, left_seen_at = r.left_seen_at,
        right_seen_at = r.right_seen_at, pending = NULL, deactivated = r.deactivated, version = b.version + 1,
        fence = :fence, updated_at = clock_timestamp()
    FROM integration i, {_BINDING_COLUMNS}
    WHERE i.id = :integration AND b.left_org_id = i.left_org_id AND b.right_org_id = i.right_org_id
        AND b.pair = r.pair AND b.left_id = r.left_id AND b.right_id = r.right_id AND b.version = r.expected
        AND b.fence <= :fence
    RETURNING b.pair, b.left_id
    """
)


def _save_bindings(session: Statements, batch: ResultBatch, part: Sequence[Result]) -> set[int]:
    """`id()` of those whose binding somebody else moved (or made) since it was planned from."""
    bound = [(one.pair, one.binding) for one in part if one.binding is not None]
    saved: set[tuple[str, str]] = set()
    for statement, new in ((_INSERT_BINDING, True), (_UPDATE_BINDING, False)):
        rows = [_binding_row(pair, one) for pair, one in bound if (one.expected == 0) is new]
        if rows:
            values = {"integration": batch.integration_id, "fence": batch.fence, "run": batch.run_id}
            saved |= {(row.pair, row.left_id) for row in _all(session, statement, rows, **values)}
    return {id(one) for one in part if one.binding and (one.pair, one.binding.left_id) not in saved}


def _binding_row(pair: str, binding: BindingSave) -> dict[str, Any]:
    return {"pair": pair, **asdict(binding)}


def _wake_children(session: Statements, batch: ResultBatch, saved: Sequence[Result]) -> None:
    parents = [one.binding for one in saved if one.binding and one.binding.has_children and one.binding.expected <= 1]
    if parents:
        ids = sorted({record for one in parents for record in (one.left_id, one.right_id)})
        session.execute(_WAKE_CHILDREN, {"integration": batch.integration_id, "ids": ids})


# What waited for its parent, or failed for want of it, is due at once: as an event of its own, where it has ended.
_WAKE_CHILDREN = sql(
    """
    UPDATE due SET due_at = clock_timestamp(), event = CASE WHEN why = 'failed' THEN event
        || jsonb_build_object('id', replace(CAST(gen_random_uuid() AS text), '-', ''), 'fold', '') ELSE event END,
        why = CASE WHEN why = 'failed' THEN 'retry' ELSE why END
    WHERE integration_id = :integration AND reason = 'PARENT_NOT_SYNCED' AND detail = ANY(:ids)
        AND sent_at IS NULL
    """
)

# Intents


_INTENTS = "jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(pair text, side text, record_id text)"
_OF_INTENTS = "i.integration_id = :integration AND i.pair = r.pair AND i.side = r.side AND i.record_id = r.record_id"
_SAVE_INTENT = {
    "close": sql(f"DELETE FROM intent i USING {_INTENTS} WHERE {_OF_INTENTS}"),
    "doubt": sql(f"UPDATE intent i SET state = 'in_doubt' FROM {_INTENTS} WHERE {_OF_INTENTS}"),
    "looked": sql(
        "UPDATE intent i SET state = 'in_doubt', looks = i.looks + 1, "
        f"first_look_at = coalesce(i.first_look_at, clock_timestamp()) FROM {_INTENTS} WHERE {_OF_INTENTS}"
    ),
}


def _save_intents(session: Statements, batch: ResultBatch, saved: Sequence[Result]) -> None:
    for what, statement in _SAVE_INTENT.items():
        rows = [_key(one, one.pair) for one in saved if one.intent == what]
        if rows:
            _all(session, statement, rows, integration=batch.integration_id)


def _key(result: Result, pair: str) -> dict[str, Any]:
    return {"pair": pair, "side": result.side, "record_id": result.record_id}


# Due rows


# Of a pair of whose module there are several it may wait under any of them, by what was known of it then. What was
# parked after it was read, or listed, speaks of something newer: it stays. Event ids are unique over all records.
_ANSWER = sql(
    """
    DELETE FROM due d USING jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(n integer, pair text, side text,
        record_id text, until timestamptz)
    WHERE d.integration_id = :integration AND d.pair = r.pair AND d.side = r.side AND d.record_id = r.record_id
      AND (d.event->>'id' = ANY(:events) OR coalesce(d.parked_at <= r.until, true))
    RETURNING r.n, d.run_id, d.why, d.event
    """
)


def _answered(session: Statements, batch: ResultBatch, saved: Sequence[Result]) -> dict[int, list[Row[Any]]]:
    """Takes away where records waited, or had failed; returns those rows by the `id()` of the result.

    A run that waits for a record gets its answer, whichever event brought it.
    """
    ended = [one for one in saved if one.outcome is not None]
    rows = [
        {**_key(one, pair), "n": number, "until": (one.listed_at or batch.opened_at) if one.fresh else "-infinity"}
        for number, one in enumerate(ended)
        for pair in one.pairs or [one.pair]
    ]
    found: dict[int, list[Row[Any]]] = {}
    if rows:
        events = [event for one in ended for event in one.event_ids]
        for row in _all(session, _ANSWER, rows, integration=batch.integration_id, events=events):
            found.setdefault(id(ended[row.n]), []).append(row)
    return found


def _ids_of(event: Mapping[str, str]) -> list[str]:
    """Of a due row's envelope."""
    return [event["id"], *event.get("fold", "").split()]


_UPSERT_DUE = sql(
    """
    INSERT INTO due AS d (workspace_id, integration_id, pair, side, record_id, why, reason, detail, attempts, due_at,
        event, run_id)
    SELECT :workspace, :integration, r.pair, r.side, r.record_id, r.why, r.reason, r.detail, r.attempts,
        clock_timestamp() + make_interval(secs => r.in_s), r.event, r.run_id
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(pair text, side text, record_id text, why text, reason text,
        detail text, attempts integer, in_s float8, event jsonb, run_id bigint)
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
)


def _wait_row(result: Result, wait: Wait) -> dict[str, Any]:
    return _due_row(result, why=wait.why, in_s=wait.in_s, attempts=wait.attempts, event=wait.event)


def _again_row(batch: ResultBatch, result: Result) -> dict[str, Any]:
    event = encode(event_of(batch, result, attempt=result.attempt - 1))
    return _due_row(result, why="retry", in_s=0.0, attempts=result.attempt, event=event)


def _due_row(result: Result, *, why: str, in_s: float | None, attempts: int, event: dict[str, str]) -> dict[str, Any]:
    return {
        **_key(result, result.pair),
        "why": why,
        "reason": result.reason,
        "detail": result.detail,
        "attempts": attempts,
        "in_s": in_s,
        "event": event,
        "run_id": None if why == "failed" else result.run_id,
    }


def event_of(batch: ResultBatch, result: Result, *, attempt: int) -> ChangeEvent:
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


# Runs


_SETTLE_STAGED = sql(
    """
    UPDATE staged s SET state = 'done'
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(run_id bigint, pair text, side text, record_id text)
    WHERE s.run_id = r.run_id AND s.pair = r.pair AND s.side = r.side AND s.record_id = r.record_id
      AND s.state <> 'done'
    RETURNING s.run_id
    """
)


def _settle_staged(
    session: Statements, saved: Sequence[Result], answered: Mapping[int, Sequence[Row[Any]]]
) -> Counter[int]:
    """Records settled, by run: of the run that asked, under the pair that its event named, and of those that waited."""
    ended: set[tuple[int, str, str, str]] = set()
    for result in saved:
        if result.outcome is None:
            continue
        asked = [(result.run_id, result.asked or result.pair)]
        waited = [(row.run_id, row.event["pair"]) for row in answered.get(id(result), ())]
        ended |= {(run, pair, result.side, result.record_id) for run, pair in (*asked, *waited) if run}
    if not ended:
        return Counter()
    rows = [dict(zip(("run_id", "pair", "side", "record_id"), one, strict=True)) for one in sorted(ended)]
    return Counter(row.run_id for row in _all(session, _SETTLE_STAGED, rows))


def _goes_on(session: Statements, run_id: int, settled: int, low: int) -> bool:
    """Once as its lanes run low, so that they do not run dry, and as the last of them is settled."""
    pending: int | None = session.execute(
        sql("UPDATE run SET pending = pending - :n WHERE id = :run RETURNING pending"), {"run": run_id, "n": settled}
    ).scalar()
    return pending == 0 or (pending is not None and pending <= low < pending + settled)


# The log


def _outcome_row(batch: ResultBatch, result: Result, events: Sequence[str]) -> dict[str, Any]:
    """`events`: those that have no outcome yet; one that came twice may be among the others."""
    return {
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
        "changes": result.changes,
        "conflicts": result.conflicts,
        "warnings": result.warnings,
        "attempt": result.attempt,
        "received_ms": result.received_ms,
        "written_ms": result.written_ms,
    }


def _source_side(result: Result) -> str:
    """Where the change came from: a merge may write the very side whose event brought it up."""
    if result.written_side is None:
        return result.side
    return Side(result.written_side).other.value


_INSERT_OUTCOMES = sql(
    """
    INSERT INTO outcome (workspace_id, integration_id, run_id, event_id, events, origin, pair, direction, side,
        record_id, twin_id, outcome, reason, detail, changes, conflicts, warnings, attempt, fence, received_at,
        written_at)
    SELECT :workspace, :integration, :run, r.event_id, r.events, r.origin, r.pair, r.direction, r.side, r.record_id,
        r.twin_id, r.outcome, r.reason, r.detail, r.changes, r.conflicts, r.warnings, r.attempt, :fence,
        to_timestamp(r.received_ms / 1000), to_timestamp(r.written_ms / 1000)
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(event_id text, events integer, origin text, pair text,
        direction text, side text, record_id text, twin_id text, outcome text, reason text, detail text, changes jsonb,
        conflicts jsonb, warnings jsonb, attempt integer, received_ms float8, written_ms float8)
    """
)


_COUNT = sql(
    """
    INSERT INTO run_count AS c (run_id, direction, pair, outcome, reason, workspace_id, records, conflicts, listed)
    VALUES (:run, :direction, :pair, :outcome, :reason, :workspace, :records, :conflicts, :listed)
    ON CONFLICT (run_id, direction, pair, outcome, reason) DO UPDATE
    SET records = c.records + excluded.records, conflicts = c.conflicts + excluded.conflicts,
        listed = c.listed + excluded.listed
    """
)


def _count(session: Statements, batch: ResultBatch, rows: Sequence[dict[str, Any]]) -> None:
    counts: Counter[tuple[str, str, str, str]] = Counter()
    conflicts: Counter[tuple[str, str, str, str]] = Counter()
    for row in rows:
        key = (row["direction"], row["pair"], row["outcome"], row["reason"])
        counts[key] += 1
        conflicts[key] += bool(row["conflicts"])
    # Sorted: two result transactions of one run lock the counters in the same order.
    for key in sorted(counts):
        add_count(session, batch.run_id, batch.workspace_id, key, counts[key], conflicts=conflicts[key])


def add_count(
    session: Statements,
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
