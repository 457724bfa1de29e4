"""A batch of records of one integration: fetch, plan, push, and hand over the outcomes.

Order (style section 5): load what is known, lock the roots, read the sources, find twins, plan, read the twins that a
write would touch, commit intents, look at the lease, push. Each step works on all records of the batch that are still
open, in as few vendor calls as the connector's batch sizes allow. Trouble of one record comes back as its own result.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from shared.connectors.base import Draft, Edit, Rejected, Unsure, WriteResult, Written
from shared.engine.context import Context, Ports
from shared.engine.known import BindingRow, IntentRow, Known, StagedRow
from shared.engine.outcome import BindingSave, Result, Wait
from shared.errors import RecordRejected, RetryableError
from shared.lease import Lease
from shared.sync import match
from shared.sync.events import Folded, Origin, encode
from shared.sync.match import fold_key
from shared.sync.merge import read_back
from shared.sync.model import (
    Action,
    ActionKind,
    Base,
    BaseValue,
    Change,
    OutcomeKind,
    Pair,
    Record,
    RecordId,
    Side,
)
from shared.sync.plan import apply_writes, plan
from shared.sync.reasons import REASONS, Code
from shared.sync.values import encode_base, row_hash, same

log = logging.getLogger(__name__)

T = TypeVar("T")

SETTLED_AFTER = timedelta(seconds=2)
"""Vendors' times have a resolution of one second: a version younger than this may still change without a new time, so
a poll must not take an equal time for an equal record."""

SOON_S = 1.0
"""When to look again at what should be clear by then (scaled)."""

_OUTCOMES = {
    ActionKind.CREATE: OutcomeKind.CREATED,
    ActionKind.UPDATE: OutcomeKind.UPDATED,
    ActionKind.BIND: OutcomeKind.BOUND,
    ActionKind.UNCHANGED: OutcomeKind.UNCHANGED,
    ActionKind.ECHO: OutcomeKind.ECHO,
    ActionKind.SKIP: OutcomeKind.SKIPPED,
    ActionKind.FAIL: OutcomeKind.FAILED,
}


@dataclass(slots=True, eq=False)
class Work:
    """One record of the batch on its way; `result` is set when it is done, `deferred` when it must come again."""

    folded: Folded
    pair: Pair
    side: Side
    binding: BindingRow | None = None
    intent: IntentRow | None = None
    staged: StagedRow | None = None
    earlier: Record | None = None
    root: str | None = None
    source: Record | None = None
    read: bool = False
    twin: Record | None = None
    twin_id: RecordId | None = None
    action: Action | None = None
    written: dict[Side, Written] = field(default_factory=dict)
    refused: set[Side] = field(default_factory=set)
    written_ms: int | None = None
    result: Result | None = None
    deferred: bool = False

    @property
    def id(self) -> RecordId:
        return self.folded.record_id

    @property
    def attempt(self) -> int:
        """1 for the first try."""
        return self.folded.attempt + 1

    @property
    def open(self) -> bool:
        return self.result is None and not self.deferred

    def left_right(self) -> tuple[Record | None, Record | None]:
        return (self.source, self.twin) if self.side is Side.LEFT else (self.twin, self.source)


class Batch:
    """Works through the folded events of one lane. `ensure_lease` renews when a push would not be covered."""

    def __init__(
        self,
        ports: Ports,
        context: Context,
        lease: Lease,
        batch_id: str,
        token: str,
        ensure_lease: Callable[[], None],
    ) -> None:
        self._ports = ports
        self._context = context
        self._lease = lease
        self._batch_id = batch_id
        self._token = token
        self._ensure_lease = ensure_lease
        self._known = Known(ports.db, context)
        self._soon_s = ports.settings.scaled(SOON_S)
        self.roots: list[str] = []

    def process(self, folded: Sequence[Folded], reads: Mapping[str, Record]) -> list[Work]:
        """`reads`: records read by an earlier try of an event, by its id, whose root was locked then."""
        works = [Work(one, self._context.pairs[one.pair], one.side) for one in folded]
        for work in works:
            if all(event_id in reads for event_id in work.folded.event_ids):
                work.earlier = reads[work.folded.event_ids[-1]]
        for name in self._context.pairs:
            for side in Side:
                part = [work for work in works if work.pair.name == name and work.side is side]
                if part:
                    self._process_part(part)
        return works

    def _process_part(self, works: list[Work]) -> None:
        """All of one pair and one side; a passing fault of the vendor makes those still open wait."""
        try:
            self._load(works)
            self._lock_bound(works)
            self._read_sources(_open(works))
            self._lock_unbound(works)
            for work in _open(works):
                self._check_source(work)
            self._find_twins([work for work in _open(works) if work.binding is None])
            self._plan_bound([work for work in _open(works) if work.binding is not None])
            self._plan_unbound([work for work in _open(works) if work.binding is None])
            self._push(_open(works))
        except RetryableError as error:
            for work in _open(works):
                self._wait(work, error.code, retry_after_s=error.retry_after_s)
        for work in _open(works):
            self._finish(work)

    # What is known

    def _load(self, works: list[Work]) -> None:
        pair, side = works[0].pair.name, works[0].side
        ids = [work.id for work in works]
        bindings = self._known.bindings(pair, side, ids)
        intents = self._known.intents(pair, side, ids)
        staged = self._known.staged(pair, side, [w.folded for w in works if w.folded.staged])
        for work in works:
            work.binding = bindings.get(work.id)
            work.intent = intents.get(work.id)
            work.staged = staged.get(work.id)

    def _lock_bound(self, works: list[Work]) -> None:
        """The root of a binding is its left record; what is read before the lock is read again after it."""
        bound = [work for work in works if work.binding is not None]
        for work in bound:
            work.root = f"{self._context.id}:{work.pair.name}:b:{work.binding.left_id}" if work.binding else None
        self._lock(bound)
        if got := _open(bound):
            again = self._known.bindings(got[0].pair.name, got[0].side, [work.id for work in got])
            for work in got:
                work.binding = again.get(work.id)

    def _lock_unbound(self, works: list[Work]) -> None:
        """Unbound records of either side with the same match key meet at one lock."""
        unbound = [work for work in _open(works) if work.binding is None and work.root is None]
        for work in unbound:
            key = fold_key(work.source.get(work.pair.key(work.side))) if work.source else ""
            work.root = f"{self._context.id}:{work.pair.name}:" + (f"k:{key}" if key else f"{work.side}:{work.id}")
        self._lock(unbound)
        if got := _open(unbound):
            now_bound = self._known.bindings(got[0].pair.name, got[0].side, [work.id for work in got])
            for work in got:
                work.deferred = work.id in now_bound
            # An intent may have been committed, or closed, between the first look and the lock.
            intents = self._known.intents(got[0].pair.name, got[0].side, [work.id for work in got])
            for work in got:
                work.intent = intents.get(work.id)

    def _lock(self, works: list[Work]) -> None:
        """A root that another batch has, or that another record of this batch took, comes again later."""
        wanted: dict[str, Work] = {}
        for work in works:
            if work.root is None or work.root in wanted or work.root in self.roots:
                work.root, work.deferred = None, True
            else:
                wanted[work.root] = work
        got = self._ports.bus.lock_roots(list(wanted), self._token)
        for (root, work), mine in zip(wanted.items(), got, strict=True):
            if mine:
                self.roots.append(root)
            else:
                work.root, work.deferred = None, True

    # Reading

    def _read_sources(self, works: list[Work]) -> None:
        fetch: list[Work] = []
        for work in works:
            if (record := self._earlier(work) or self._staged_source(work)) is not None:
                work.source, work.read = record, True
            else:
                fetch.append(work)
        self._fetch(fetch, lambda work: (work.side, work.id))

    @staticmethod
    def _earlier(work: Work) -> Record | None:
        """Good while nothing was settled since, but that we made the record as it was read (P5)."""
        row, record = work.binding, work.earlier
        if row is None or record is None:
            return record
        as_made = record.modified_at is not None and record.modified_at == row.bound.written.get(work.side)
        return record if row.version == 1 and as_made else None

    def _staged_source(self, work: Work) -> Record | None:
        """The listed row, unless it lacks mapped fields or the record was settled since it was listed (P5)."""
        if work.staged is None or not work.staged.usable(work.pair, work.side):
            return None
        if work.binding is not None and work.binding.updated_at >= work.staged.read_at:
            return None
        return work.staged.record

    def _fetch(self, works: list[Work], target: Callable[[Work], tuple[Side, RecordId]], *, twin: bool = False) -> None:
        by_side: dict[Side, list[tuple[Work, RecordId]]] = {}
        for work in works:
            side, record_id = target(work)
            by_side.setdefault(side, []).append((work, record_id))
        for side, items in by_side.items():
            pair = items[0][0].pair
            facts = self._context.facts[pair.name, side]
            for chunk in _chunks(items, facts.read_batch):
                self._fetch_chunk(side, pair, chunk, twin)

    def _fetch_chunk(self, side: Side, pair: Pair, chunk: Sequence[tuple[Work, RecordId]], twin: bool) -> None:
        ids = list(dict.fromkeys(record_id for _, record_id in chunk))
        try:
            found = self._context.connectors[side].fetch(pair.module(side), ids)
        except RetryableError as error:
            for work, _ in chunk:
                self._wait(work, error.code, retry_after_s=error.retry_after_s)
            return
        except RecordRejected as error:
            for work, _ in chunk:
                self._fail(work, error.code, error.vendor_message or "")
            return
        for work, record_id in chunk:
            if twin:
                work.twin = found.get(record_id)
            else:
                work.source, work.read = found.get(record_id), True

    def _check_source(self, work: Work) -> None:
        """A record that is gone and was never bound needs no twin."""
        if work.source is None and work.binding is None:
            self._settle_plan(work, plan(work.pair, self._context.policy, work.side, None, None, None))

    # Twins of records without a binding

    def _find_twins(self, works: list[Work]) -> None:
        for work in works:
            if work.source is None:
                continue
            try:
                self._find_twin(work, work.source)
            except RetryableError as error:
                self._wait(work, error.code, retry_after_s=error.retry_after_s)
            except RecordRejected as error:
                self._fail(work, error.code, error.vendor_message or "")

    def _find_twin(self, work: Work, source: Record) -> None:
        key = fold_key(source.get(work.pair.key(work.side)))
        # plan() without a twin says whether a twin would be wanted at all: wrong type, inactive, no key end here.
        first = plan(work.pair, self._context.policy, work.side, *_sides(work.side, source, None), None)
        if (
            first.kind in (ActionKind.SKIP, ActionKind.FAIL)
            and work.intent is None
            and first.reason != Code.MANDATORY_FIELD_EMPTY
        ):
            self._settle_plan(work, first)
            return
        staged = work.staged
        if staged is not None and work.intent is None and staged.verdict == "ambiguous":
            self._fail(work, Code.AMBIGUOUS_MATCH, "")
            return
        if staged is not None and work.intent is None and staged.verdict == "create" and staged.fresh:
            return
        twin_id = self._look(work, key)
        if twin_id is not None:
            work.twin_id = twin_id
        elif work.open and work.intent is not None:
            self._still_absent(work, work.intent)

    def _look(self, work: Work, key: str) -> RecordId | None:
        """The one unbound record at the other side with this match key; sets a failure where it is not one."""
        side, pair = work.side.other, work.pair
        field_name = pair.key(side)
        text = str(work.source.get(pair.key(work.side)) if work.source else "").strip()
        rows = self._context.connectors[side].find(pair.module(side), field_name, text)
        rows = tuple(row for row in rows if fold_key(row.get(field_name)) == key)
        bound = self._known.bindings(pair.name, side, [row.id for row in rows])
        resolution = match.resolve(key, [match.Candidate(row.id, key, row.id in bound) for row in rows])
        if isinstance(resolution, match.One):
            return resolution.id
        if isinstance(resolution, match.Ambiguous):
            self._fail(work, Code.AMBIGUOUS_MATCH, "")
        elif isinstance(resolution, match.Taken):
            self._fail(work, Code.TWIN_TAKEN, "")
        return None

    def _still_absent(self, work: Work, intent: IntentRow) -> None:
        """An unclear create whose twin cannot be found (reliability section 4).

        Where the vendor refuses a second record with this key, trying again is the surest look. Else absence is
        believed only after enough looks over enough time.
        """
        settings = self._ports.settings
        facts = self._context.facts[work.pair.name, work.side.other]
        if facts.unique_key == work.pair.key(work.side.other) or facts.stamp_field is not None:
            return
        span = settings.scaled(settings.doubt_span_s)
        if intent.looks + 1 >= settings.doubt_looks and intent.looked_for_s >= span:
            return
        self._wait(
            work,
            Code.IN_DOUBT_UNRESOLVED,
            why="in_doubt",
            retry_after_s=span / (settings.doubt_looks - 1),
            intent="looked",
        )

    # Planning

    def _plan_bound(self, works: list[Work]) -> None:
        """First against the base alone: an echo, or a change of nothing mapped, costs no second read."""
        need: list[Work] = []
        for work in works:
            binding = work.binding
            if binding is None:
                continue
            work.twin_id = binding.id(work.side.other)
            if work.source is not None and binding.state == "live" and _all_agreed(work.pair, binding.bound.base):
                guess = self._twin_as_known(work, binding)
                action = self._plan(work, guess) if guess else None
                if action is not None and not action.writes and action.kind in (ActionKind.ECHO, ActionKind.UNCHANGED):
                    self._settle_plan(work, action)
                    continue
            if work.source is None:
                self._settle_plan(work, self._plan(work, None))
                continue
            need.append(work)
        self._fetch(need, lambda work: (work.side.other, work.twin_id or work.id), twin=True)
        for work in _open(need):
            self._decide(work)

    def _twin_as_known(self, work: Work, binding: BindingRow) -> Record | None:
        """The twin without reading it: as listed by the same run, else as last agreed. None: it must be read."""
        side = work.side.other
        if work.staged is None or work.staged.verdict != "both":
            return _from_base(work.pair, binding.bound.base, side, binding.id(side))
        listed = work.staged.twin
        if listed is None or not listed.usable(work.pair, side) or binding.updated_at >= listed.read_at:
            return None
        return listed.record

    def _plan_unbound(self, works: list[Work]) -> None:
        matched = [work for work in works if work.twin_id is not None]
        self._fetch(matched, lambda work: (work.side.other, work.twin_id or work.id), twin=True)
        for work in _open(matched):
            if work.twin is None:  # found by search, gone by now
                self._wait(work, Code.VENDOR_UNAVAILABLE, retry_after_s=self._soon_s)
            else:
                self._decide(work)
        for work in works:
            if work.open and work.twin_id is None:
                self._decide(work)

    def _plan(self, work: Work, twin: Record | None) -> Action:
        left, right = _sides(work.side, work.source, twin)
        bound = work.binding.bound if work.binding else None
        return plan(work.pair, self._context.policy, work.side, left, right, bound)

    def _decide(self, work: Work) -> None:
        action = self._plan(work, work.twin)
        work.action = action
        if not action.writes:
            self._settle_plan(work, action)

    # Writing

    def _push(self, works: list[Work]) -> None:
        creates = [work for work in works if work.action and work.action.kind is ActionKind.CREATE]
        updates = [work for work in works if work.action and work.action.kind is ActionKind.UPDATE]
        self._commit_intents(creates)
        for side in Side:
            self._create(side, [w for w in _open(creates) if w.side.other is side])
            self._update(side, [w for w in _open(updates) if w.action and w.action.writes.get(side)])

    def _commit_intents(self, works: list[Work]) -> None:
        """Before any call: after a crash the row says that a record may have been made. Two that want the same: one."""
        if not works:
            return
        drafts = [
            (work.side, work.id, fold_key(work.source.get(work.pair.key(work.side))) if work.source else "")
            for work in works
            if work.intent is None
        ]
        mine = self._known.open_intents(self._ports.leases, self._lease, works[0].pair.name, drafts, self._batch_id)
        for work in works:
            if work.intent is None and (work.side, work.id) not in mine:
                self._wait(work, Code.VENDOR_UNAVAILABLE, retry_after_s=self._soon_s)

    def _create(self, side: Side, works: list[Work]) -> None:
        if not works:
            return
        pair = works[0].pair
        facts = self._context.facts[pair.name, side]
        for chunk in _chunks(works, facts.create_batch):
            drafts = [Draft(_values(work.action.writes[side]), work.id) for work in chunk if work.action]
            results = self._call(chunk, partial(self._context.connectors[side].create, pair.module(side), drafts))
            for work, result in zip(chunk, results, strict=False):
                self._created(work, side, result)

    def _created(self, work: Work, side: Side, result: WriteResult) -> None:
        if isinstance(result, Written):
            work.written[side] = result
            work.twin_id = result.id
        elif isinstance(result, Unsure):
            self._wait(work, Code.IN_DOUBT_UNRESOLVED, why="in_doubt", retry_after_s=self._soon_s, intent="doubt")
        elif result.code == Code.DUPLICATE_NAME and work.attempt <= 2:
            # Somebody made it between our look and our call, or an earlier try of ours did: look again.
            self._wait(work, result.code, retry_after_s=self._soon_s, intent="doubt")
        else:
            self._rejected(work, result)

    def _update(self, side: Side, works: list[Work]) -> None:
        if not works:
            return
        pair = works[0].pair
        facts = self._context.facts[pair.name, side]
        for chunk in _chunks(works, facts.update_batch):
            edits = [
                Edit(record, work.action.writes[side])
                for work in chunk
                if work.action and (record := work.source if work.side is side else work.twin)
            ]
            results = self._call(chunk, partial(self._context.connectors[side].update, pair.module(side), edits))
            for work, result in zip(chunk, results, strict=False):
                self._updated(work, side, result)

    def _updated(self, work: Work, side: Side, result: WriteResult) -> None:
        if isinstance(result, Written):
            work.written[side] = result
        elif isinstance(result, Unsure):
            # An update may be repeated: read, compare and write what is still missing.
            self._wait(work, Code.IN_DOUBT_UNRESOLVED, retry_after_s=self._soon_s)
        else:
            work.refused.add(side)
            self._rejected(work, result)

    def _call(self, chunk: Sequence[Work], call: Callable[[], Sequence[WriteResult]]) -> Sequence[WriteResult]:
        self._ensure_lease()
        try:
            results = call()
        except RetryableError as error:
            for work in chunk:
                self._wait(work, error.code, retry_after_s=error.retry_after_s, intent="keep")
            return ()
        now_ms = int(time.time() * 1000)
        for work in chunk:
            work.written_ms = now_ms
        return results

    # Ends

    def _rejected(self, work: Work, result: Rejected) -> None:
        detail = f"{result.vendor_message} ({result.vendor_code})" if result.vendor_message else result.vendor_code
        if result.code == Code.TARGET_GONE and work.binding is not None:
            self._settle_plan(work, Action(ActionKind.SKIP, reason=Code.TWIN_DELETED))
            return
        self._fail(work, result.code, detail)

    def _finish(self, work: Work) -> None:
        """Every write of the plan was accepted."""
        if work.action is None:
            self._fail(work, Code.INTERNAL, "the record was not planned")
            return
        self._settle_plan(work, work.action)

    def _settle_plan(self, work: Work, action: Action) -> None:
        work.action = action
        if action.kind is ActionKind.FAIL:
            self._fail(work, action.reason or Code.INTERNAL, action.detail)
            return
        result = self._result(work, _OUTCOMES[action.kind])
        result.reason = action.reason or ""
        result.detail = action.detail
        result.changes = [
            {"side": side, "field": change.field, "old": _plain(change.old), "new": _plain(change.new)}
            for side, changes in action.writes.items()
            for change in changes
        ]
        result.conflicts = [
            {
                "left_field": one.left_field,
                "right_field": one.right_field,
                "left": _plain(one.left),
                "right": _plain(one.right),
                "winner": one.winner,
            }
            for one in action.conflicts
        ]
        result.warnings = list(action.warnings)
        result.binding = self._binding(work, action)
        work.result = result

    def _fail(self, work: Work, code: str, detail: str) -> None:
        result = self._result(work, OutcomeKind.FAILED)
        result.reason = code if code in REASONS else Code.INTERNAL
        result.detail = detail
        if work.written and work.action is not None:
            # One side took its part: what it now holds is agreed, the rest stays as it was.
            result.binding = self._binding(work, work.action)
        if result.intent == "keep":
            result.intent = "close"
        result.wait = Wait("failed", None, work.attempt, self._event(work, attempt=0))
        work.result = result

    def _wait(
        self,
        work: Work,
        code: str,
        *,
        why: str = "retry",
        retry_after_s: float | None = None,
        intent: str | None = None,
    ) -> None:
        """The event goes into a due row; after too many errors it fails with what it waited for (P8)."""
        if not work.open:
            return
        settings = self._ports.settings
        attempt = work.attempt
        if why == "retry" and attempt >= settings.attempts_by_error:
            self._fail(work, Code.VENDOR_UNAVAILABLE if code in (Code.VENDOR_UNAVAILABLE, "RATE_LIMITED") else code, "")
            return
        result = self._result(work, None)
        result.reason = code
        if intent is not None:
            result.intent = intent
        elif work.intent is None:
            result.intent = "keep"
        backoff = settings.scaled(min(2.0 ** (attempt - 1), 300.0))
        in_s = retry_after_s if retry_after_s is not None else backoff
        result.wait = Wait(why, max(in_s, 0.0), attempt, self._event(work, attempt=attempt - (why != "retry")))
        work.result = result

    def _event(self, work: Work, *, attempt: int) -> dict[str, str]:
        """The envelope to send when the wait is over; what was staged is read afresh then."""
        folded = work.folded
        return encode(
            replace(
                folded.newest,
                event_id=folded.event_ids[0],
                run_id=folded.run_id,
                received_at=folded.received_at,
                origin=Origin.RETRY,
                staged=False,
                attempt=attempt,
            )
        )

    def _result(self, work: Work, outcome: OutcomeKind | None) -> Result:
        folded = work.folded
        return Result(
            event_ids=list(folded.event_ids),
            origin=folded.origin,
            pair=work.pair.name,
            side=work.side,
            record_id=work.id,
            run_id=folded.run_id,
            outcome=outcome,
            twin_id=work.twin_id,
            attempt=work.attempt,
            received_ms=folded.received_at,
            written_ms=work.written_ms,
            intent="close" if outcome is not None else "keep",
        )

    # The binding after the action

    def _binding(self, work: Work, action: Action) -> BindingSave | None:
        if work.twin_id is None or action.kind is ActionKind.FAIL:
            return None
        row = work.binding
        if action.kind is ActionKind.SKIP:
            return self._marked_deleted(work, action)
        left_id, right_id = (work.id, work.twin_id) if work.side is Side.LEFT else (work.twin_id, work.id)
        base = self._agreed(work, action)
        unread = set(row.bound.unread if row else ())
        save = BindingSave(left_id, right_id, {}, row.version if row else 0)
        for side in Side:
            written, record = work.written.get(side), self._record(work, side)
            if written is not None:
                unread = (unread - {side}) | ({side} if written.record is None else set())
                self._note_written(work, action, side, written, save, base)
            elif record is not None:
                unread -= {side}
                _note(save, side, row, _digest(work.pair, side, record, self._context), record.modified_at)
            elif row is not None:
                setattr(save, f"{side}_hash", row.hash(side))
                setattr(save, f"{side}_modified", _iso(row.modified(side)))
                setattr(save, f"{side}_written", _iso(row.bound.written.get(side)))
        save.base = encode_base(base)
        save.unread = sorted(unread)
        return save

    def _marked_deleted(self, work: Work, action: Action) -> BindingSave | None:
        row = work.binding
        if row is None or action.reason not in (Code.SOURCE_DELETED, Code.TWIN_DELETED):
            return None
        gone = work.side if action.reason == Code.SOURCE_DELETED else work.side.other
        save = row.save()
        save.state = f"{gone}_deleted"
        return save

    def _record(self, work: Work, side: Side) -> Record | None:
        """The record of this side as read in this batch (a twin guessed from the base was not read)."""
        return work.source if side is work.side else work.twin

    def _agreed(self, work: Work, action: Action) -> dict[str, BaseValue]:
        """The plan's base, less what a side refused to take."""
        if not work.refused:
            return dict(action.base)
        old = work.binding.bound.base if work.binding else {}
        lost = {change.field for side in work.refused for change in action.writes.get(side, ())}
        base = dict(action.base)
        for pair in work.pair.mapping:
            if any(pair.field(side) in lost for side in work.refused):
                if pair.key in old:
                    base[pair.key] = old[pair.key]
                else:
                    base.pop(pair.key, None)
        return base

    def _note_written(
        self, work: Work, action: Action, side: Side, written: Written, save: BindingSave, base: dict[str, BaseValue]
    ) -> None:
        """What this side now holds: as the answer shows it, for the fields that we wrote (FM-10).

        A field that we did not write and that differs from what was read before is somebody's edit in between: it
        must stay a difference from the base, and the poll must not take the row for known.
        """
        setattr(save, f"{side}_written", _iso(written.modified_at))
        before = self._record(work, side)
        changes = action.writes[side]
        expected = apply_writes(before, changes) if before else Record(written.id, _values(changes))
        surprise = False
        if written.record is not None:
            base.update(read_back(work.pair, base, side, changes, written.record))
            surprise = _surprised(work.pair, side, changes, expected, written.record)
            expected = written.record
        digest = None if surprise else _digest(work.pair, side, expected, self._context)
        _note(save, side, work.binding, digest, written.modified_at, ours=True)


def _surprised(pair: Pair, side: Side, changes: Iterable[Change], expected: Record, shown: Record) -> bool:
    """Whether the answer shows a mapped field, not written by us, that is not as it was read before."""
    wrote = {change.field for change in changes}
    names = {line.field(side) for line in pair.mapping if not line.on_create} - wrote
    return any(not same(expected.get(name), shown.get(name)) for name in names)


def _note(
    save: BindingSave,
    side: Side,
    row: BindingRow | None,
    digest: str | None,
    modified: datetime | None,
    *,
    ours: bool = False,
) -> None:
    settled = modified is None or datetime.now(UTC) - modified > SETTLED_AFTER
    setattr(save, f"{side}_hash", digest)
    setattr(save, f"{side}_modified", _iso(modified) if settled else None)
    if not ours:
        setattr(save, f"{side}_written", _iso(row.bound.written.get(side)) if row else None)


def _digest(pair: Pair, side: Side, record: Record, context: Context) -> str:
    return listed_hash(pair, side, record, context.facts[pair.name, side].list_fields)


def listed_hash(pair: Pair, side: Side, record: Record, list_fields: frozenset[str] | None) -> str:
    """Hash over the mapped fields that a list row shows: equal for the row and for the record read by id."""
    names = {line.field(side) for line in pair.mapping if not line.on_create}
    shown = names if list_fields is None else names & list_fields
    return row_hash({name: record.get(name) for name in shown} | {"": record.inactive})


def _all_agreed(pair: Pair, base: Base) -> bool:
    """False: Fetch bound them without a sync, or a field was mapped since: the other side must be read (FM-9)."""
    return all(line.key in base for line in pair.mapping if not line.on_create)


def _from_base(pair: Pair, base: Base, side: Side, record_id: RecordId) -> Record:
    """The other side as it was last agreed."""
    index = 0 if side is Side.LEFT else 1
    fields = {line.field(side): base[line.key][index] for line in pair.mapping if line.key in base}
    for name, allowed in pair.scope.get(side, {}).items():
        fields.setdefault(name, sorted(allowed)[0])
    return Record(record_id, fields)


def _sides(source_side: Side, source: Record | None, twin: Record | None) -> tuple[Record | None, Record | None]:
    return (source, twin) if source_side is Side.LEFT else (twin, source)


def _values(changes: Iterable[Change]) -> dict[str, Any]:
    return {change.field: change.new for change in changes}


def _open(works: Iterable[Work]) -> list[Work]:
    return [work for work in works if work.open]


def _chunks(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    for start in range(0, len(items), max(1, size)):
        yield items[start : start + size]


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, bool | str) else str(value)


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
