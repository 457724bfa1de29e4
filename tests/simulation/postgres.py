"""The tables and what the engine's SQL does with them: a transaction is one step, so all of it is done or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from msgspec import structs

from shared.bus import Lane
from shared.engine.context import Context, Ports
from shared.engine.known import LIST_TRUST_S, BindingRow, IntentRow, Planned, Push, StagedRow, binding_row
from shared.engine.opening import OpenBatch
from shared.engine.outcome import BindingSave, Result, ResultBatch
from shared.errors import LeaseLost, Unavailable
from shared.lease import WANTED_STALE_S, Held, Holder, Lease, Leases, gives_way, webhook_holder
from shared.settings import Settings
from shared.sync.events import ChangeEvent, Folded, Hint, Origin, encode
from shared.sync.model import Base, Record, RecordId, Side
from shared.sync.values import encode_base, encode_pending
from tests.simulation.faults import Faults, Mutant
from tests.simulation.sched import EPOCH, EPOCH_S, Sched

Key = tuple[Side, RecordId]


@dataclass(slots=True)
class LeaseRow:
    """Of both orgs: they are always taken together here."""

    holder: str | None = None
    kind: str | None = None
    fence: int = 0
    taken_ms: int = 0
    expires_ms: int = 0
    wanted_by: str | None = None
    wanted_ms: int = 0
    ending_ms: int | None = None


@dataclass(slots=True)
class Intent:
    name: str
    folded_key: str
    draft: Base
    batch_id: str
    made_ms: int
    looks: int = 0
    first_look_ms: int | None = None
    state: str = "open"


@dataclass(slots=True)
class Due:
    why: str
    reason: str
    due_ms: int
    event: dict[str, str]
    run_id: int | None
    attempts: int
    parked_at: datetime
    sent_ms: int | None = None


@dataclass(slots=True)
class Staged:
    record: Record
    read_ms: int
    key: str
    state: str = "listed"
    verdict: str | None = None
    twin_id: RecordId | None = None


@dataclass(slots=True)
class Listing:
    since: datetime | None
    whole: bool
    cursor: str | None = None
    done: bool = False
    rows: int = 0
    vendor_at: datetime | None = None


@dataclass(slots=True)
class Run:
    id: int
    state: str = "queued"
    started_ms: int | None = None
    ended_ms: int | None = None
    pending: int = 0
    claimed_by: str | None = None
    claimed_until: int = 0
    resume_ms: int | None = None
    listings: dict[Side, Listing] = field(default_factory=dict)
    staged: dict[Key, Staged] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    event_id: str
    event_ids: tuple[str, ...]
    fresh: tuple[str, ...]
    """Events that end here and had no outcome before: of `event_ids`, and those that waited in a due row."""
    side: Side
    record_id: RecordId
    outcome: str
    reason: str
    attempt: int
    run_id: int
    fence: int
    saved_ms: int


class Tables:
    """`breach(promise, text)` is told of what must never be seen in a commit."""

    def __init__(self, sched: Sched, faults: Faults, settings: Settings, breach: Callable[[str, str], None]) -> None:
        self.sched, self.faults, self.settings = sched, faults, settings
        self._breach = breach
        self.lease = LeaseRow()
        self.fences = 0
        self.bindings: dict[Side, dict[RecordId, dict[str, Any]]] = {side: {} for side in Side}
        self.intents: dict[Key, Intent] = {}
        self.due: dict[Key, Due] = {}
        self.done: dict[str, str | None] = {}
        """Event -> the first event of the outcome in which it ended."""
        self.outcomes: list[OutcomeRow] = []
        self.counts: Counter[tuple[int, str, str]] = Counter()
        self.listed: Counter[int] = Counter()
        self.runs: dict[int, Run] = {}
        self.open_batches: dict[str, tuple[int, int]] = {}
        """Batch -> (fence, until ms)."""
        self.watermarks: dict[Side, datetime] = {}
        self.next_run_ms: int | None = None
        self.marker: str | None = None
        self.made = 0

    @contextmanager
    def transaction(self, what: str = "save") -> Iterator[Tables]:
        """`what` is not given by the engine, where it saves results or renews a lease.

        The fault "before": it never began; "after": committed, and the answer was lost.
        """
        self.sched.step(what)
        fault = (self.faults.take("save") if what == "save" else "") or self.faults.take("postgres")
        if fault == "before":
            raise Unavailable("postgres")
        yield self
        if fault == "after":
            raise Unavailable("postgres")

    writing = transaction

    def number(self) -> int:
        self.made += 1
        return self.made

    # Runs

    def open_run(self) -> Run | None:
        return next((run for run in self.runs.values() if run.ended_ms is None and run.id > 0), None)

    def new_run(self) -> int | None:
        """None: there is one already."""
        if self.open_run() is not None:
            return None
        run = Run(self.number())
        self.runs[run.id] = run
        self.next_run_ms = None
        return run.id

    # Bindings

    def binding(self, side: Side, record_id: RecordId) -> dict[str, Any] | None:
        return self.bindings[side].get(record_id)

    def insert_binding(self, row: dict[str, Any]) -> bool:
        if row["left_id"] in self.bindings[Side.LEFT] or row["right_id"] in self.bindings[Side.RIGHT]:
            return False
        self.bindings[Side.LEFT][row["left_id"]] = row
        self.bindings[Side.RIGHT][row["right_id"]] = row
        return True


def raw_binding(left: str, right: str, fence: int, updated_at: datetime) -> dict[str, Any]:
    none = dict.fromkeys(
        f"{side}_{name}" for side in ("left", "right") for name in ("written", "hash", "modified", "seen_at")
    )
    return {
        **none,
        "left_id": RecordId(left),
        "right_id": RecordId(right),
        "base": {},
        "state": "live",
        "unread": [],
        "pending": None,
        "deactivated": False,
        "version": 1,
        "fence": fence,
        "updated_at": updated_at,
    }


class SimLeases(Leases):
    """`Leases` over the one row; see there. `session` is not looked at: the tables are the transaction."""

    def __init__(self, tables: Tables, settings: Settings, mutant: Mutant | None) -> None:
        super().__init__(settings)
        self._tables, self.mutant = tables, mutant
        self._ttl_ms = int(settings.lease_ttl_s * 1000)
        self._grace_ms = int(settings.push_deadline_s * 1000)
        self._stale_ms = int(WANTED_STALE_S * 1000)

    def take(self, session: Any, orgs: Sequence[int], holder: Holder, *, joining: bool = False) -> Lease | Held:
        row, now = self._tables.lease, self._tables.sched.now
        wanted = row.wanted_by is not None and row.wanted_ms + self._stale_ms > now
        ours = row.holder == holder.name and row.kind != "leaving"
        if ours and row.expires_ms > now:
            ending = row.ending_ms is not None and row.ending_ms + self._stale_ms > now
            if joining and gives_way(holder, wanted=wanted, ending=ending):
                return self._told(row)
            if joining:
                return Lease(holder, tuple(orgs), row.fence, row.expires_ms / 1000)
            row.expires_ms = now + self._ttl_ms
            return self._lease(holder, orgs, row)
        free = row.holder is None or row.expires_ms + self._grace_ms < now
        if not (free or self._idle(row, now) or ours):
            row.wanted_by, row.wanted_ms = holder.name, now
            return self._told(row)
        if holder.kind == "webhook" and wanted and row.wanted_by != holder.name:
            return self._told(row)
        self._tables.fences += 1
        self._tables.lease = row = LeaseRow(holder.name, holder.kind, self._tables.fences, now, now + self._ttl_ms)
        self._tables.sched.note("lease", row.fence, "of", holder.name)
        return self._lease(holder, orgs, row)

    def _idle(self, row: LeaseRow, now: int) -> bool:
        return row.kind in ("webhook", "leaving") and not self._open(row.fence, now)

    def _open(self, fence: int, now: int) -> bool:
        return any(one == fence and until > now for one, until in self._tables.open_batches.values())

    def _lease(self, holder: Holder, orgs: Sequence[int], row: LeaseRow) -> Lease:
        return Lease(holder, tuple(orgs), row.fence, row.expires_ms / 1000)

    def _told(self, row: LeaseRow) -> Held:
        return Held(row.holder or row.wanted_by or "run:0", EPOCH)

    def holder_for_events(self, session: Any, orgs: Sequence[int], webhook: Holder) -> Holder:
        row = self._tables.lease
        if row.kind == "run" and row.holder is not None:
            return Holder(row.holder, "run", webhook.integration_id, webhook.workspace_id)
        return webhook

    def may_end(self, session: Any, lease: Lease) -> bool:
        row, now = self._tables.lease, self._tables.sched.now
        busy = self._open(lease.fence, now)
        if busy:
            row.ending_ms = now
        return not busy

    def holds(self, holder: str, fence: int) -> bool:
        row = self._tables.lease
        return row.holder == holder and row.fence == fence and row.expires_ms > self._tables.sched.now

    def renew(self, session: Any, lease: Lease) -> Lease:
        row = self._tables.lease
        if not self.holds(lease.holder.name, lease.fence):
            raise LeaseLost(f"Lease {lease.fence} of {lease.holder.name} has ended.")
        row.expires_ms = self._tables.sched.now + self._ttl_ms
        return self._lease(lease.holder, lease.orgs, row)

    def check(self, session: Any, lease: Lease, *, pushed: bool = False) -> None:
        left = self._tables.lease.kind == "leaving" and not pushed
        if self.mutant is not Mutant.NO_FENCE_CHECK and (left or not self.holds(lease.holder.name, lease.fence)):
            raise LeaseLost(f"Lease {lease.fence} of {lease.holder.name} has ended.")

    def lock(self, session: Any, lease: Lease) -> None:
        self.check(session, lease)

    def release(self, session: Any, lease: Lease) -> None:
        if self._tables.lease.holder == lease.holder.name and self._tables.lease.fence == lease.fence:
            self._end(lease.holder.name)

    def held(self, session: Any, holder: str) -> list[tuple[int, int]]:
        row = self._tables.lease
        return [(0, row.fence)] if row.holder == holder else []

    def leave(self, session: Any, holder: str, held: Sequence[tuple[int, int]]) -> None:
        if held and self._open(self._tables.lease.fence, self._tables.sched.now):
            self._tables.lease.kind, self._tables.lease.ending_ms = "leaving", None
        elif held:
            self._end(holder)

    def _end(self, holder: str) -> None:
        row = self._tables.lease
        if row.holder == holder:
            self._tables.lease = LeaseRow(fence=row.fence, wanted_by=row.wanted_by, wanted_ms=row.wanted_ms)


class SimKnown:
    """`Known` over the tables."""

    def __init__(self, db: Tables, context: Context) -> None:
        self._db = db

    def bindings(self, pair: str, side: Side, ids: Sequence[str]) -> dict[RecordId, BindingRow]:
        if not ids:
            return {}
        with self._db.transaction("load bindings") as tables:
            rows = [(one, tables.binding(side, RecordId(one))) for one in ids]
            return {RecordId(one): binding_row(dict(row)) for one, row in rows if row is not None}

    def aside(self, pair: str, side: Side, ids: Sequence[str]) -> dict[RecordId, str]:
        """Nothing is set aside here: no person unbinds, and nobody clones."""
        return {}

    def intents(self, pair: str, side: Side, ids: Sequence[str]) -> dict[RecordId, IntentRow]:
        if not ids:
            return {}
        with self._db.transaction("load intents") as tables:
            now = tables.sched.now
            found = [(RecordId(one), tables.intents.get((side, RecordId(one)))) for one in ids]
            return {
                one: IntentRow(
                    row.name,
                    row.folded_key,
                    row.draft,
                    row.state,
                    row.looks,
                    (now - (row.first_look_ms or now)) / 1000,
                )
                for one, row in found
                if row is not None
            }

    def intents_named(self, pair: str, keys: Sequence[str]) -> dict[str, list[tuple[Side, RecordId]]]:
        with self._db.transaction("intents by name") as tables:
            found: dict[str, list[tuple[Side, RecordId]]] = {}
            for key, row in tables.intents.items():
                if row.folded_key and row.folded_key in keys:
                    found.setdefault(row.folded_key, []).append(key)
            return found

    def note_pushes(
        self, leases: SimLeases, lease: Lease, run_id: int, pair: str, pushes: Sequence[Push]
    ) -> dict[RecordId, BindingRow]:
        if not pushes:
            return {}
        with self._db.transaction("note pushes") as tables:
            leases.check(tables, lease)
            rows = [(push.left_id, _note_push(tables, lease.fence, push)) for push in pushes]
            return {left_id: binding_row(dict(row)) for left_id, row in rows if row is not None}

    def making_since_ms(self, pair: str, side: Side) -> float | None:
        with self._db.transaction("making?") as tables:
            now = tables.sched.now
            open_now = {batch for batch, (_, until) in tables.open_batches.items() if until > now}
            made = [one.made_ms for key, one in tables.intents.items() if key[0] is side and one.batch_id in open_now]
            return EPOCH_S * 1000 + min(made) if made else None

    def open_intents(
        self, leases: SimLeases, lease: Lease, batch_id: str, pair: str, drafts: Sequence[Planned]
    ) -> set[tuple[Side, str]]:
        if not drafts:
            return set()
        with self._db.transaction("open intents") as tables:
            leases.check(tables, lease)
            if leases.mutant is Mutant.NO_INTENT:
                return {(one.side, one.record_id) for one in drafts}
            wanted = [one for one in drafts if tables.binding(one.side, RecordId(one.record_id)) is None]
            mine = [one for one in wanted if one.again or (one.side, RecordId(one.record_id)) not in tables.intents]
            for one in mine:
                self._intend(tables, batch_id, one)
            return {(one.side, one.record_id) for one in mine}

    @staticmethod
    def _intend(tables: Tables, batch_id: str, one: Planned) -> None:
        key = (one.side, RecordId(one.record_id))
        found = tables.intents.get(key)
        if found is None:
            now = tables.sched.now
            tables.intents[key] = Intent(one.name, one.folded_key, dict(one.draft), batch_id, now)
        else:
            found.name, found.folded_key = one.name, one.folded_key
            found.draft, found.batch_id = dict(one.draft), batch_id

    def staged(self, pair: str, side: Side, folded: Sequence[Folded]) -> dict[RecordId, StagedRow]:
        if not folded:
            return {}
        with self._db.transaction("load staged") as tables:
            found: dict[RecordId, StagedRow] = {}
            for one in folded:
                run = tables.runs.get(one.run_id or 0)
                row = run.staged.get((side, one.record_id)) if run else None
                if run is None or row is None:
                    continue
                shown = _staged_row(tables.sched, row)
                rode = run.staged.get((side.other, row.twin_id)) if row.verdict == "both" and row.twin_id else None
                found[one.record_id] = structs.replace(shown, twin=_staged_row(tables.sched, rode)) if rode else shown
            return found


def _note_push(tables: Tables, fence: int, push: Push) -> dict[str, Any] | None:
    noted = {"pending": encode_pending(push.pending), "base": encode_base(push.base)}
    if push.version == 0:
        row = raw_binding(push.left_id, push.right_id, fence, tables.sched.when(-(10**9)))
        row |= noted | {"unread": sorted(push.unread)}
        return row if tables.insert_binding(row) else None
    found = tables.binding(Side.LEFT, push.left_id)
    same = found is not None and (found["right_id"], found["version"]) == (push.right_id, push.version)
    if found is None or not same or found["fence"] > fence:
        return None
    found.update(noted, version=push.version + 1, fence=fence)
    return found


def _staged_row(sched: Sched, row: Staged) -> StagedRow:
    fresh = row.read_ms + LIST_TRUST_S * 1000 > sched.now
    return StagedRow(row.record, sched.when(row.read_ms), row.verdict, row.twin_id, fresh)


# Opening a batch


def open_batch(ports: Ports, context: Context, lane: Lane, drainer: str) -> OpenBatch | Held:
    tables: Tables = ports.db  # type: ignore[assignment]
    with tables.transaction("open batch"):
        mine = webhook_holder(context.id, context.workspace_id)
        holder = ports.leases.holder_for_events(tables, context.org_ids, mine)  # type: ignore[arg-type]
        lease = ports.leases.take(tables, context.org_ids, holder, joining=True)  # type: ignore[arg-type]
        if isinstance(lease, Held):
            return lease
        run_id = lease.holder.run_id
        if run_id is not None and tables.runs[run_id].ended_ms is not None:
            return Held("run:0", datetime.now(UTC))
        batch_id = f"b{tables.number():07d}"
        until = tables.sched.now + int(tables.settings.lease_ttl_s * 1000)
        tables.open_batches[batch_id] = (lease.fence, until)
        return OpenBatch(batch_id, f"{drainer}-{batch_id}", lease, run_id or 0, tables.sched.when())


def close_batch(ports: Ports, batch_id: str) -> None:
    tables: Tables = ports.db  # type: ignore[assignment]
    with tables.transaction("close batch"):
        tables.open_batches.pop(batch_id, None)


# Saving results (`engine.results.save`)


def save(tables: Tables, batch: ResultBatch) -> set[int]:
    _watch_fence(tables, batch.holder, batch.fence)
    ended = [result for result in batch.results if result.outcome is not None]
    fresh = {event for result in ended for event in result.event_ids} - tables.done.keys()
    tables.done |= dict.fromkeys(fresh)
    settled: Counter[int] = Counter()
    for result in sorted(batch.results, key=lambda one: (one.side, one.record_id)):
        key = (Side(result.side), RecordId(result.record_id))
        mine = [event for event in result.event_ids if event in fresh]
        counted = result.outcome is not None and not mine
        if result.binding is not None and not _save_binding(tables, batch, result.binding):
            if not counted:
                for one in result.event_ids:
                    tables.done.pop(one, None)
                event = encode(_event(batch, result))
                _save_due(tables, key, result, "retry", 0.0, result.attempt, event)
            continue
        _save_intent(tables, key, result.intent)
        waited = _waited(tables, key, batch, result)
        settled.update(_save_wait(tables, key, batch, result))
        events = list(dict.fromkeys([*mine, *(one for one in waited if tables.done.get(one) is None)]))
        tables.done |= dict.fromkeys(events, mine[0] if mine else result.event_ids[0])
        if result.outcome is not None and mine:
            _save_outcome(tables, batch, result, key, tuple(events))
    if batch.last:
        tables.open_batches.pop(batch.batch_id, None)
    for run_id, count in settled.items():
        tables.runs[run_id].pending -= count
    return {run_id for run_id in settled if tables.runs[run_id].pending == 0}


def _watch_fence(tables: Tables, holder: str, fence: int) -> None:
    row = tables.lease
    if row.fence != fence or row.holder != holder or row.expires_ms <= tables.sched.now:
        tables._breach("P4", f"a commit under fence {fence} of {holder}, {row.fence} is {row.holder}'s")


def _save_binding(tables: Tables, batch: ResultBatch, save: BindingSave) -> bool:
    values = {
        "base": save.base,
        "state": save.state,
        "unread": save.unread,
        "deactivated": save.deactivated,
        "left_hash": save.left_hash,
        "right_hash": save.right_hash,
        "left_written": save.left_written,
        "right_written": save.right_written,
        "left_modified": save.left_modified,
        "right_modified": save.right_modified,
        "left_seen_at": save.left_seen_at,
        "right_seen_at": save.right_seen_at,
        "pending": None,
        "fence": batch.fence,
        "updated_at": tables.sched.when(),
    }
    if save.expected == 0:
        row = raw_binding(save.left_id, save.right_id, batch.fence, tables.sched.when())
        return tables.insert_binding(row | values)
    found = tables.binding(Side.LEFT, RecordId(save.left_id))
    if found is None or found["right_id"] != save.right_id or found["version"] != save.expected:
        return False
    if found["fence"] > batch.fence:
        return False
    found.update(values, version=save.expected + 1)
    return True


def _event(batch: ResultBatch, result: Result) -> ChangeEvent:
    return ChangeEvent(
        event_id=result.event_ids[0],
        folded=tuple(result.event_ids[1:]),
        correlation_id=result.event_ids[0],
        integration_id=batch.integration_id,
        pair=result.pair,
        side=Side(result.side),
        record_id=RecordId(result.record_id),
        hint=Hint.UPSERT,
        origin=Origin.RETRY,
        received_at=result.received_ms or 0,
        run_id=result.run_id,
        attempt=result.attempt - 1,
    )


def _save_intent(tables: Tables, key: Key, what: str) -> None:
    intent = tables.intents.get(key)
    if intent is None:
        return
    if what == "close":
        del tables.intents[key]
    elif what in ("doubt", "looked"):
        intent.state = "in_doubt"
        if what == "looked":
            intent.looks += 1
            intent.first_look_ms = tables.sched.now if intent.first_look_ms is None else intent.first_look_ms


def _save_wait(tables: Tables, key: Key, batch: ResultBatch, result: Result) -> set[int]:
    ended = {result.run_id} if result.run_id else set()
    if result.outcome is not None and (waiting := _answered(tables, key, batch, result)) is not None:
        del tables.due[key]
        ended |= {waiting.run_id} if waiting.run_id else set()
    if (wait := result.wait) is not None:
        _save_due(tables, key, result, wait.why, wait.in_s, wait.attempts, wait.event)
    if result.outcome is None:
        return set()
    return {run_id for run_id in ended if _settle_staged(tables, run_id, key)}


def _answered(tables: Tables, key: Key, batch: ResultBatch, result: Result) -> Due | None:
    """One that was parked after this was read speaks of something newer."""
    waiting = tables.due.get(key)
    if waiting is None or waiting.event["id"] in result.event_ids:
        return waiting
    opened = (result.listed_at or batch.opened_at) if result.fresh else None
    return waiting if opened is not None and waiting.parked_at <= opened else None


def _waited(tables: Tables, key: Key, batch: ResultBatch, result: Result) -> list[str]:
    """Events that waited in the due row, and end by this."""
    row = _answered(tables, key, batch, result) if result.outcome is not None else None
    return _ids_of(row.event) if row is not None and row.why != "failed" else []


def _ids_of(event: Mapping[str, str]) -> list[str]:
    return [event["id"], *event.get("fold", "").split()]


def _settle_staged(tables: Tables, run_id: int, key: Key) -> bool:
    run = tables.runs.get(run_id)
    row = run.staged.get(key) if run else None
    if row is None or row.state != "queued":
        return False
    row.state = "done"
    return True


def _save_due(
    tables: Tables, key: Key, result: Result, why: str, in_s: float | None, attempts: int, event: Mapping[str, str]
) -> None:
    before, now = tables.due.get(key), tables.sched.when()
    if before is not None and before.why != "failed" and why == "failed":
        return  # a newer event waits
    run_id = result.run_id if result.run_id is not None else (before.run_id if before else None)
    due_ms = tables.sched.now + int((in_s or 0.0) * 1000)
    kept = dict(event)
    if before is not None and before.why != "failed":
        kept["fold"] = " ".join(dict.fromkeys([*event.get("fold", "").split(), *_ids_of(before.event)]))
        kept["stg"] = min(event["stg"], before.event["stg"])
    tables.due[key] = Due(why, result.reason, due_ms, kept, None if why == "failed" else run_id, attempts, now)


def _save_outcome(tables: Tables, batch: ResultBatch, result: Result, key: Key, fresh: tuple[str, ...]) -> None:
    row = OutcomeRow(
        event_id=fresh[0],
        event_ids=tuple(result.event_ids),
        fresh=fresh,
        side=key[0],
        record_id=key[1],
        outcome=result.outcome or "",
        reason=result.reason,
        attempt=result.attempt,
        run_id=batch.run_id,
        fence=batch.fence,
        saved_ms=tables.sched.now,
    )
    tables.outcomes.append(row)
    tables.counts[batch.run_id, row.outcome, row.reason] += 1
    tables.sched.note("outcome", key[0], key[1], row.outcome, row.reason)
