"""A batch of records of one integration: read, plan, push; each record ends with a result, or comes again.

Order (style section 5): load what is known, lock the roots, read the sources, find twins, plan, read what a write would
touch, commit intents, look at the lease, push. Each step works on all records that are still open, in as few vendor
calls as the connector's batch sizes allow. Trouble of one record is its own result.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from msgspec.structs import replace

from shared.engine.agreed import all_agreed, from_base
from shared.engine.context import Context, Ports
from shared.engine.families import Families
from shared.engine.invoices import InvoiceBook, Invoices
from shared.engine.known import BindingRow, Known, StagedRow
from shared.engine.pusher import Pusher
from shared.engine.reader import Reader, unreadable_fields
from shared.engine.settle import Settler
from shared.engine.twins import Twins
from shared.engine.work import Work, chunks, still_open
from shared.errors import RetryableError
from shared.lease import Lease
from shared.points import at
from shared.sync.events import ChangeEvent, Folded, Origin
from shared.sync.model import Action, ActionKind, BindingState, Bound, Pair, Record, RecordId, Side
from shared.sync.plan import in_scope, plan
from shared.sync.reasons import Code

_QUIET = (ActionKind.ECHO, ActionKind.UNCHANGED)
_EARLY, _LATE = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class Batch:
    """`ensure_lease` renews where a push would not be covered; raises LeaseLost.

    Once `stopping`, no call is begun: what is still open comes again, at another worker.
    """

    def __init__(
        self,
        ports: Ports,
        context: Context,
        lease: Lease,
        batch_id: str,
        run_id: int,
        token: str,
        ensure_lease: Callable[[], None],
        stopping: Callable[[], bool],
    ) -> None:
        known = Known(ports.db, context)
        self._context = context
        self._settler = Settler(ports.settings, context, stopping)
        self._reader = Reader(context, ports.bus, known, self._settler, token)
        self._twins = Twins(context, known, self._settler)
        self._families = Families(context, known, self._settler)
        open_intents = partial(known.open_intents, ports.leases, lease, batch_id)
        note_pushes = partial(known.note_pushes, ports.leases, lease, run_id)
        self._pusher = Pusher(context, self._settler, open_intents, note_pushes, ensure_lease, ports.watchdog)
        self._invoices = context.orders and Invoices(
            context, context.orders, known, self._settler, self._reader, self._pusher, open_intents,
            InvoiceBook(ports.db, context, ports.leases, lease),
        )  # fmt: skip

    @property
    def roots(self) -> list[str]:
        """The root locks that this batch holds."""
        return self._reader.roots

    def process(self, folded: Sequence[Folded], reads: Mapping[str, Record | None]) -> list[Work]:
        """`reads`: the events that were tried before and had to wait for a root, by their ids, with the record as read
        then. None: it was not, or something newer is told of it."""
        works = [Work(one, self._context.pair(one.pair), one.side) for one in folded]
        for work in works:
            work.again = any(event_id in reads for event_id in work.folded.event_ids)
            if all(reads.get(event_id) is not None for event_id in work.folded.event_ids):
                work.earlier = reads[work.folded.event_ids[-1]]
        for part in _by_pair_and_side([work for work in works if work.pair.makes]):
            self._choose_pairs(part)
        for name in self._context.pairs:
            for side in Side:
                if part := [work for work in still_open(works) if work.pair.name == name and work.side is side]:
                    self._process_part(part)
        if self._invoices and (orders := [work for work in still_open(works) if not work.pair.makes]):
            self._invoices.process(orders)
        return works

    def _choose_pairs(self, works: Sequence[Work]) -> None:
        try:
            self._reader.choose_pairs(works)
        except RetryableError as error:
            for work in works:
                self._settler.wait(work, error.code, in_s=error.retry_after_s)

    def _process_part(self, works: Sequence[Work]) -> None:
        """All of one pair and one side; a passing fault of the vendor makes those still open wait."""
        try:
            self._reader.load(works)
            self._reader.lock_bound(works)
            self._reader.read_sources(still_open(works), late=self._late(works[0].pair, works[0].side))
            at("source.read")
            self._reader.lock_unbound(works)
            self._families.tell(still_open(works))
            self._families.find(still_open(works))
            self._process_bound([work for work in still_open(works) if work.binding is not None])
            self._process_unbound([work for work in still_open(works) if work.binding is None])
        except RetryableError as error:
            for work in works:
                self._settler.wait(work, error.code, in_s=error.retry_after_s)

    def _late(self, pair: Pair, side: Side) -> bool:
        """Whether a bound record can be read when its turn to be merged comes, so that it is not read once more before
        it is written: where each takes calls of its own, and nothing else is told by it."""
        facts = self._context.facts
        alone = facts[pair.name, side].read_batch == 1 and facts[pair.name, side.other].update_batch == 1
        return alone and pair.parent is None and self._context.inside(pair.name, side) is None

    def _process_bound(self, works: Sequence[Work]) -> None:
        """First with the twin as it is known: an echo, or a change of nothing mapped, costs no second read."""
        need: list[Work] = []
        for work in works:
            if work.binding is None:
                continue
            work.twin_id = work.binding.id(work.side.other)
            if work.late or not self._ends_quietly(work):
                need.append(work)
        self._merge(need)

    def _ends_quietly(self, work: Work) -> bool:
        return self._moved(work, work.side) or (work.binding is not None and self._quiet(work, work.binding))

    def _moved(self, work: Work, side: Side) -> bool:
        """Whether the record at `side` gained a parent, and goes on as that one's by an event of its own (DU-10)."""
        record, binding = work.record(side), work.binding
        if record is None or binding is None or binding.state != BindingState.LIVE:
            return False
        if in_scope(work.pair, side, record, bound=True):
            return False
        for name in self._context.sharing(work.pair.name, side):
            pair = self._context.pairs[name]
            if pair.parent is not None and in_scope(pair, side, record):
                work.follow.append(_as_one_of(work, name, side, record.id))
                self._settler.done(work, Action(ActionKind.SKIP, reason=Code.MOVED))
                return True
        return False

    def _process_unbound(self, works: Sequence[Work]) -> None:
        self._twins.find(works)
        self._reader.lock_twins(works)
        self._merge([work for work in still_open(works) if work.twin_id is not None])
        alone = [work for work in still_open(works) if work.twin_id is None]
        self._twins.wait_for_makers(alone)
        alone = still_open(alone)
        for work in alone:
            self._take(work, work.alone or self._plan(work, None))
        self._push(alone)

    def _merge(self, works: Sequence[Work]) -> None:
        """Reads just before it writes, a vendor's batch at a time: an update carries fields that the vendor demands, or
        whole groups, as they were read, and would undo what somebody wrote to them in between."""
        if not works:
            return
        width = self._context.facts[works[0].pair.name, works[0].side.other].update_batch
        for chunk in chunks(works, width):
            late = [work for work in chunk if work.late]
            self._fetch(late, _own_side)
            for work in still_open(late):
                self._ends_quietly(work)
            self._fetch([work for work in still_open(chunk) if work.twin is None], _other_side)
            self._decide(still_open(chunk))
            self._push(chunk)

    def _fetch(self, works: Sequence[Work], side_of: Callable[[Work], Side]) -> None:
        """Just before what may be written is."""
        self._reader.fetch_twins([work for work in works if side_of(work) is not work.side])
        self._reader.fetch_sources([work for work in works if side_of(work) is work.side])
        for work in works:
            work.fresh.add(side_of(work))

    def _decide(self, works: Sequence[Work]) -> None:
        """With what was listed, or read with many others, as long as that will do: a record that is written is read
        first (P5), and one whose time decides, where a list hid it (DU-6). What that shows may say otherwise."""
        undecided = list(works)
        while undecided:
            stale: dict[int, frozenset[Side]] = {}
            for work in undecided:
                if work.twin is None and work.binding is None:  # found by search, gone by now
                    self._settler.wait(work, Code.VENDOR_UNAVAILABLE, in_s=self._settler.soon_s)
                    continue
                action = self._plan(work, work.twin)
                stale[id(work)] = self._stale(work, action)
                if not stale[id(work)]:
                    self._take(work, action)
            undecided = [work for work in still_open(undecided) if stale[id(work)]]
            for own in (False, True):
                side_of = _own_side if own else _other_side
                self._fetch([work for work in still_open(undecided) if side_of(work) in stale[id(work)]], side_of)
            undecided = still_open(undecided)

    def _push(self, works: Sequence[Work]) -> None:
        self._pusher.push(still_open(works))
        for work in still_open(works):
            self._settler.done(work, work.action or Action(ActionKind.FAIL, reason=Code.INTERNAL))

    def _quiet(self, work: Work, binding: BindingRow) -> bool:
        """Ends the record where nothing would be written, without reading the twin. A person who asks means both."""
        if work.source is None:
            self._settler.done(work, self._plan(work, None))
            return True
        if binding.state != "live" or binding.bound.pending:
            return False
        if any(event.origin is Origin.MANUAL for event in work.folded.events):
            return False
        if (listed := _listed_twin(work, binding)) is not None:
            work.twin, work.twin_listed = listed.record, True
            work.read_at[work.side.other] = listed.read_at
        twin = work.twin or _twin_as_agreed(work, binding)
        action = self._plan(work, twin) if twin else None
        if action is None or action.kind not in _QUIET or (work.twin_listed and self._stale(work, action)):
            return False
        self._take(work, action)
        return True

    def _stale(self, work: Work, action: Action) -> frozenset[Side]:
        """The sides that must be read before it is done. A list's word is taken for an agreement, and for a value that
        is written to the other side; whatever else it says is seen by a read."""
        stale = {side for side in Side if action.writes.get(side)}
        if work.twin_listed and action.kind not in (*_QUIET, ActionKind.UPDATE):
            stale.add(work.side.other)
        hidden = {side for side in Side if (one := work.listed_row(side)) is not None and one.modified_at is None}
        if hidden and self._time_decides(work, hidden):
            stale |= hidden
        return frozenset(stale - work.fresh)

    def _time_decides(self, work: Work, hidden: set[Side]) -> bool:
        """A conflict, or a first match, goes to the later modified time, and not every vendor's list shows it."""
        tried = []
        for left, right in ((_EARLY, _LATE), (_LATE, _EARLY)):
            times = {Side.LEFT: left, Side.RIGHT: right}
            as_if = {
                side: record and (replace(record, modified_at=times[side]) if side in hidden else record)
                for side in Side
                for record in [work.record(side)]
            }
            action = self._planned(work, as_if[Side.LEFT], as_if[Side.RIGHT])
            tried.append((action.kind, action.writes, action.conflicts))
        return tried[0] != tried[1]

    def _plan(self, work: Work, twin: Record | None) -> Action:
        return self._planned(work, *work.sides(twin))

    def _planned(self, work: Work, left: Record | None, right: Record | None) -> Action:
        bound = work.binding.bound if work.binding else None
        if bound is None and left and right and work.drafted is not None:
            bound = Bound(left.id, right.id, work.drafted, unread=frozenset({work.made_side}))
        action = plan(work.pair, self._context.policy, work.side, left, right, bound, work.family)
        if work.binding is None and action.kind in _QUIET:
            return replace(action, kind=ActionKind.BIND)
        return action

    def _take(self, work: Work, action: Action) -> None:
        work.action = action
        if not work.action.writes and not self._moved(work, work.side.other):
            self._settler.done(work, work.action)


def _as_one_of(work: Work, pair: str, side: Side, record_id: RecordId) -> ChangeEvent:
    newest = work.folded.newest
    return replace(
        newest,
        event_id=uuid.uuid4().hex,
        folded=(),
        pair=pair,
        side=side,
        record_id=record_id,
        staged=False,
        run_id=None,
        attempt=0,
        origin=newest.origin if work.folded.run_id is None else Origin.RETRY,
    )


def _by_pair_and_side(works: Sequence[Work]) -> list[list[Work]]:
    parts: dict[tuple[str, Side], list[Work]] = {}
    for work in works:
        parts.setdefault((work.pair.name, work.side), []).append(work)
    return list(parts.values())


def _own_side(work: Work) -> Side:
    return work.side


def _other_side(work: Work) -> Side:
    return work.side.other


def _listed_twin(work: Work, binding: BindingRow) -> StagedRow | None:
    """The twin as listed by the same run: one event speaks for both ends. None: it was not, or lacks what is asked of
    it, or was settled since (P5)."""
    side = work.side.other
    if binding.bound.deactivated or work.staged is None or work.staged.verdict != "both":
        return None
    listed = work.staged.twin
    if listed is None or not listed.usable(work.pair, side) or binding.updated_at >= listed.read_at:
        return None
    return None if unreadable_fields(work.pair, side, listed.record) else listed


def _twin_as_agreed(work: Work, binding: BindingRow) -> Record | None:
    """The twin as it was last agreed, where it has not changed since as far as lists tell. None: it must be read.

    Where a run's list is not at hand (a second try, a record that failed before) the change may be the twin's alone.
    """
    side = work.side.other
    if binding.bound.deactivated or (work.staged is None and work.folded.run_id is not None):
        return None
    if work.staged is not None and work.staged.verdict != "pair":
        return None
    if binding.hash(side) is None or not all_agreed(work.pair, binding.bound.base):  # it was seen to differ
        return None
    return from_base(work.pair, binding.bound.base, side, binding.id(side))
