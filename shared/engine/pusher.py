"""What a batch writes: intents first, then the vendors' batch calls under a lease that covers each of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from shared.connectors.base import Draft, Edit, Unsure, WriteResult, Written
from shared.engine.context import Context
from shared.engine.known import BindingRow, Planned, Push
from shared.engine.reader import unreadable_fields
from shared.engine.settle import Settler
from shared.engine.watchdog import Watchdog
from shared.engine.work import Work, chunks, new_values, still_open
from shared.errors import RetryableError
from shared.points import at
from shared.sync.merge import pending_of, with_pending
from shared.sync.model import ActionKind, Pair, RecordId, Side
from shared.sync.reasons import Code

T = TypeVar("T")

OpenIntents = Callable[[str, Sequence[Planned]], set[tuple[Side, str]]]
"""Commits an intent per record of a pair, under the fence; returns those (side, record id) that are ours."""

NotePushes = Callable[[str, Sequence[Push]], Mapping[RecordId, BindingRow]]
"""Commits what is about to be sent to records of a pair, under the fence; returns the bindings by left id."""

_UPDATES = (ActionKind.UPDATE, ActionKind.DEACTIVATE)
INTENTS_AT_ONCE = 40
"""After a crash each open intent costs a look: so few more than one call's are open where a call takes one record."""
TRIES_AT_A_NAME = 2
"""How often a refused name is looked for again before it is a failure."""


class Pusher:
    def __init__(
        self,
        context: Context,
        settler: Settler,
        open_intents: OpenIntents,
        note_pushes: NotePushes,
        ensure_lease: Callable[[], None],
        watchdog: Watchdog,
    ) -> None:
        self._watchdog = watchdog
        self._note_pushes = note_pushes
        self._context = context
        self._settler = settler
        self._open_intents = open_intents
        self._ensure_lease = ensure_lease

    def push(self, works: Sequence[Work]) -> None:
        """Records whose every write was accepted stay open; the others have their result."""
        creates = [work for work in works if work.action and work.action.kind is ActionKind.CREATE]
        updates = [work for work in works if work.action and work.action.kind in _UPDATES]
        self._commit_pending(updates)
        for side in Side:
            self._create(side, [work for work in still_open(creates) if work.side.other is side])
            self._update(side, [work for work in still_open(updates) if work.action and work.action.writes.get(side)])

    def _commit_intents(self, works: Sequence[Work]) -> None:
        """Before any call: after a crash the row says that a record may have been made. Of two that want it: one."""
        fresh = [work for work in works if work.intent is None or work.intent.folded_key != work.key]
        if not fresh:
            return
        planned = [
            Planned(work.side, work.id, work.name, work.key, work.action.base, work.intent is not None, work.original)
            for work in fresh
            if work.action
        ]
        mine = self._open_intents(fresh[0].pair.name, planned)
        at("intent.committed")
        for work in fresh:
            if (work.side, work.id) not in mine:
                self._settler.wait(work, Code.VENDOR_UNAVAILABLE, in_s=self._settler.soon_s)

    def _commit_pending(self, works: Sequence[Work]) -> None:
        """What an update sends is noted before it is sent: whoever reads the record after a crash or a lost reply must
        not take our own value for somebody's edit."""
        pushes = {work.left_id: work for work in works if work.action and work.left_id}
        noted = (
            self._note_pushes(works[0].pair.name, [_push(left_id, work) for left_id, work in pushes.items()])
            if works
            else {}
        )
        for left_id, work in pushes.items():
            if left_id in noted:
                work.binding = noted[left_id]
            else:
                self._settler.wait(work, Code.VENDOR_UNAVAILABLE, in_s=self._settler.soon_s)
        at("pending.committed")

    def _create(self, side: Side, works: Sequence[Work]) -> None:
        if not works:
            return
        width = self._context.facts[works[0].pair.name, side].create_batch
        for begun in chunks(works, max(width, INTENTS_AT_ONCE)):
            self._commit_intents(begun)
            for chunk in chunks(still_open(begun), width):
                self._create_chunk(side, chunk)

    def _create_chunk(self, side: Side, chunk: Sequence[Work]) -> None:
        pair, connector = chunk[0].pair, self._context.connectors[side]
        drafts = [Draft(new_values(work.action.writes[side]), work.id) for work in chunk if work.action]
        answers = self._call(chunk, side, partial(connector.create, pair.module(side), drafts))
        for work, answer in zip(chunk, answers, strict=False):
            self._created(work, side, answer)

    def _created(self, work: Work, side: Side, answer: WriteResult) -> None:
        soon_s = self._settler.soon_s
        if isinstance(answer, Written):
            work.written[side] = answer
            work.twin_id = answer.id
        elif isinstance(answer, Unsure):
            self._settler.wait(work, Code.IN_DOUBT_UNRESOLVED, why="in_doubt", in_s=soon_s, intent="doubt")
        elif answer.code == Code.DUPLICATE_NAME and work.intent is not None:
            # Most likely an earlier try of ours made it, and the vendor's search does not show it yet.
            if not self._settler.look_again(work, work.intent):
                self._settler.rejected(work, answer)
        elif answer.code == Code.DUPLICATE_NAME and work.attempt <= TRIES_AT_A_NAME:
            # Somebody made it between our look and our call: look again.
            self._settler.wait(work, answer.code, in_s=soon_s, intent="close")
        elif answer.code == Code.DUPLICATE_NAME and work.pair.parent is not None:
            self._settler.rejected(work, replace(answer, code=Code.EMAIL_IN_COMPANY))
        else:
            self._settler.rejected(work, answer)

    def _update(self, side: Side, works: Sequence[Work]) -> None:
        if not works:
            return
        pair, connector = works[0].pair, self._context.connectors[side]
        for chunk in chunks(works, self._context.facts[pair.name, side].update_batch):
            edits = [
                Edit(record, work.action.writes[side])
                for work in chunk
                if work.action and (record := work.record(side))
            ]
            answers = self._call(chunk, side, partial(connector.update, pair.module(side), edits))
            for work, answer in zip(chunk, answers, strict=False):
                self._updated(work, side, answer)

    def _updated(self, work: Work, side: Side, answer: WriteResult) -> None:
        if isinstance(answer, Written):
            work.written[side] = answer
        elif isinstance(answer, Unsure):
            # An update may be repeated: read, compare and write what is still missing.
            self._settler.wait(work, Code.IN_DOUBT_UNRESOLVED, in_s=self._settler.soon_s)
        else:
            work.refused.add(side)
            self._settler.rejected(work, answer)

    def _call(
        self, chunk: Sequence[Work], side: Side, call: Callable[[], Sequence[WriteResult]]
    ) -> Sequence[WriteResult]:
        """Empty where nothing was sent: the chunk waits then."""
        answers = self._sent(chunk, side, call)
        if answers is None:
            return ()
        at("reply.lost" if any(isinstance(answer, Unsure) for answer in answers) else "reply.read")
        return [_as_shown(chunk[0].pair, side, answer) for answer in answers]

    def send(self, work: Work, side: Side, call: Callable[[], T]) -> T | None:
        """One record's call of a kind of its own, guarded as every push. None: nothing was sent, and it waits."""
        answer = self._sent([work], side, call)
        if answer is not None:
            at("reply.lost" if isinstance(answer, Unsure) else "reply.read")
        return answer

    def _sent(self, works: Sequence[Work], side: Side, call: Callable[[], T]) -> T | None:
        if self._settler.parked(works):
            return None
        self._ensure_lease()
        began = datetime.now(UTC)
        try:
            with self._watchdog.over():
                answer = call()
        except RetryableError as error:
            for work in works:
                # Nothing was made, so an intent of this try is in no doubt; one of an earlier try still is.
                intent = "close" if work.intent is None else "keep"
                self._settler.wait(work, error.code, in_s=error.retry_after_s, intent=intent)
            return None
        now_ms = int(time.time() * 1000)
        for work in works:
            work.written_ms = now_ms
            work.read_at[side] = began
        return answer


def _as_shown(pair: Pair, side: Side, answer: WriteResult) -> WriteResult:
    """What cannot be read was accepted, and not shown: it is read back later (FM-10)."""
    if isinstance(answer, Written) and unreadable_fields(pair, side, answer.record):
        return replace(answer, record=None)
    return answer


def _push(left_id: RecordId, work: Work) -> Push:
    right_id = (work.twin_id or work.id) if work.side is Side.LEFT else work.id
    pending = pending_of(work.pair, work.action.base, work.action.writes) if work.action else {}
    version, base, unread = 0, work.drafted or {}, frozenset({work.made_side} if work.drafted else ())
    if work.binding is not None:
        bound = work.binding.bound
        records = {side: record for side in Side if (record := work.record(side)) is not None}
        version, unread = work.binding.version, bound.unread
        base = with_pending(work.pair, bound.base, bound.pending, records) if len(records) == 2 else bound.base
    return Push(left_id, right_id, version, base, unread, pending)
