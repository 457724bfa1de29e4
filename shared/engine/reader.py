"""What a batch reads: what Postgres knows, the roots' locks, and the vendors' records in as few calls as they allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from shared.bus import Bus
from shared.engine.context import Context
from shared.engine.known import Known, StagedRow
from shared.engine.settle import Settler
from shared.engine.work import Work, chunks, still_open
from shared.errors import RecordRejected, RetryableError
from shared.sync.events import root_of
from shared.sync.mapping import label
from shared.sync.model import BindingState, FieldDef, Pair, Record, RecordId, Side
from shared.sync.plan import in_scope
from shared.sync.values import is_unreadable, same


class Reader:
    """`roots` are the locks that this batch holds, until its results are committed."""

    def __init__(self, context: Context, bus: Bus, known: Known, settler: Settler, token: str) -> None:
        self._context = context
        self._bus = bus
        self._known = known
        self._settler = settler
        self._token = token
        self.roots: list[str] = []

    def choose_pairs(self, works: Sequence[Work]) -> None:
        """Of several pairs that share the module: the one that a record is bound in, or is being given a twin in; else
        the first whose type it is, which takes a read that serves for what follows. All are of one pair and side.

        What a run listed is of the pair that its row shows, unless it was bound in another one since: that row is of
        before that, and is not planned from."""
        if not works:
            return
        side, ids = works[0].side, [work.id for work in works]
        names = self._context.sharing(works[0].pair.name, side)
        if len(names) == 1:
            return
        live, begun, held = self._taken_for(names, side, ids)
        for work in works:
            if not work.folded.staged:
                chosen = live.get(work.id) or begun.get(work.id) or held.get(work.id)
            elif work.pair.name in (live.get(work.id), begun.get(work.id)):
                continue
            else:
                chosen = live.get(work.id) or begun.get(work.id)
            if chosen is not None:
                work.pair = self._context.pairs[chosen]
        known = live.keys() | begun.keys() | held.keys()
        unknown = [work for work in works if work.id not in known and not work.folded.staged]
        self.fetch_sources([work for work in unknown if work.earlier is None])
        for work in still_open(unknown):
            record = work.source or work.earlier
            pairs = [self._context.pairs[name] for name in names]
            if record is not None:
                work.pair = next((pair for pair in pairs if in_scope(pair, side, record)), work.pair)

    def _taken_for(
        self, names: Sequence[str], side: Side, ids: Sequence[RecordId]
    ) -> tuple[dict[RecordId, str], dict[RecordId, str], dict[RecordId, str]]:
        """By record the pair in which it is bound; in which it is being given a twin; in which it was bound."""
        live: dict[RecordId, str] = {}
        begun: dict[RecordId, str] = {}
        held: dict[RecordId, str] = {}
        for name in reversed(names):  # the first pair goes first
            rows = self._known.bindings(name, side, ids)
            live |= {i: name for i, row in rows.items() if row.state == BindingState.LIVE}
            held |= {i: name for i, row in rows.items() if row.state not in (BindingState.LIVE, BindingState.MOVED)}
            begun |= dict.fromkeys(self._known.intents(name, side, ids), name)
        return live, begun, held

    def load(self, works: Sequence[Work]) -> None:
        """What is known of the records, all of one pair and one side.

        One that a run has just matched with nothing is taken for unbound: what else it may be by now is asked once its
        root is locked, and if it is, it comes again and is asked for first."""
        pair, side = works[0].pair.name, works[0].side
        staged = self._known.staged(pair, side, [work.folded for work in works if work.folded.staged])
        for work in works:
            work.staged = staged.get(work.id)
        ids = [work.id for work in works if work.again or not _matched_with_none(work)]
        bindings = self._known.bindings(pair, side, ids)
        # One that turns out to be unbound after all comes again.
        intents = self._known.intents(pair, side, [one for one in ids if one not in bindings])
        for work in works:
            work.binding = bindings.get(work.id)
            work.intent = intents.get(work.id)

    # Roots

    def lock_bound(self, works: Sequence[Work]) -> None:
        """The root of a binding is its left record; what was known before the lock is asked again after it."""
        bound = [work for work in works if work.binding is not None]
        for work in bound:
            work.roots = (self._root(work, bound_left=work.binding.left_id if work.binding else None),)
        self._lock(bound)
        if got := still_open(bound):
            again = self._known.bindings(got[0].pair.name, got[0].side, [work.id for work in got])
            for work in got:
                work.binding = again.get(work.id)
                work.deferred = work.binding is None  # a person unbound it just now: it needs other locks

    def lock_unbound(self, works: Sequence[Work]) -> None:
        """Unbound records of either side with the same match key meet at one lock; and each is locked itself, whichever
        pair it is taken for, or two events of it, read before and after it was renamed, or was given a company, would
        both make its twin."""
        unbound = [work for work in still_open(works) if work.binding is None and not work.roots]
        for work in unbound:
            names = (work.pair.name, self._context.sharing(work.pair.name, work.side)[0])
            itself = [f"{self._context.id}:{root_of(name, work.side, work.id)}" for name in names]
            work.roots = tuple(dict.fromkeys((self._root(work), *itself)))
        self._lock(unbound)
        if got := still_open(unbound):
            side, ids = got[0].side, [work.id for work in got]
            # Bound, or an intent committed or closed, between the first look and the lock.
            bound = set(self._known.bindings(got[0].pair.name, side, ids))
            intents = self._known.intents(got[0].pair.name, side, ids)
            others = [name for name in self._context.sharing(got[0].pair.name, side) if name != got[0].pair.name]
            live, begun, _ = self._taken_for(others, side, ids)
            for work in got:
                work.deferred = work.id in bound or work.id in live or work.id in begun
                work.intent = intents.get(work.id)

    def lock_alone(self, works: Sequence[Work]) -> None:
        """Each by itself: what has no twin that an event could come from."""
        for work in works:
            work.roots = (f"{self._context.id}:{root_of(work.pair.name, work.side, work.id)}",)
        self._lock(works)

    def lock_twins(self, works: Sequence[Work]) -> None:
        """A match is locked at both of its records before anything is written: from then on it may be bound, and events
        of either end lock the binding."""
        matched = [work for work in still_open(works) if work.twin_id is not None]
        if not matched:
            return
        before = {id(work): work.roots for work in matched}
        for work in matched:
            twin = root_of(work.pair.name, work.side.other, work.twin_id or work.id)
            work.roots = (f"{self._context.id}:{twin}",)
        self._lock(matched)
        for work in matched:
            work.roots = (*before[id(work)], *work.roots)
        if got := still_open(matched):
            bound = self._known.bindings(got[0].pair.name, got[0].side, [work.id for work in got])
            taken = self._known.bindings(got[0].pair.name, got[0].side.other, [work.twin_id or work.id for work in got])
            for work in got:
                work.deferred = work.id in bound or work.twin_id in taken

    def _root(self, work: Work, *, bound_left: RecordId | None = None) -> str:
        root = root_of(work.pair.name, work.side, work.id, bound_left=bound_left, folded_key=work.key)
        return f"{self._context.id}:{root}"

    def _lock(self, works: Sequence[Work]) -> None:
        """A root that another batch has, or that another record of this batch took, comes again later."""
        wanted: dict[str, Work] = {}
        for work in works:
            if any(root in wanted or root in self.roots for root in work.roots):
                work.roots, work.deferred = (), True
            else:
                wanted.update(dict.fromkeys(work.roots, work))
        got = dict(zip(wanted, self._bus.lock_roots(list(wanted), self._token), strict=True))
        spare: list[str] = []
        for work in dict.fromkeys(wanted.values()):
            mine = [root for root in work.roots if got[root]]
            if len(mine) == len(work.roots):
                self.roots += mine
            else:
                spare += mine
                work.roots, work.deferred = (), True
        self._bus.unlock_roots(spare, self._token)

    # Records

    def read_sources(self, works: Sequence[Work], *, late: bool = False) -> None:
        """`late`: bound ones that would have to be read are left for when they are merged."""
        fetch: list[Work] = []
        for work in works:
            if work.source is not None and work.binding is None:
                continue  # read to see what it is
            if (earlier := _earlier(work)) is not None:
                work.source = earlier
            elif (row := _listed(work)) is not None:
                work.source, work.listed = row.record, True
                work.read_at[work.side] = row.read_at
            elif late and work.binding is not None:
                work.late = True
            else:
                fetch.append(work)
        self.fetch_sources(fetch)

    def fetch_sources(self, works: Sequence[Work]) -> None:
        """Afresh, whatever was listed."""

        def take(work: Work, record: Record | None) -> None:
            work.source, work.listed, work.late = record, False, False

        self._fetch(works, lambda work: work.side, lambda work: work.id, take)

    def fetch_twins(self, works: Sequence[Work]) -> None:
        def take(work: Work, record: Record | None) -> None:
            work.twin, work.twin_listed = record, False

        known = [work for work in works if work.twin_id is not None]
        self._fetch(known, lambda work: work.side.other, lambda work: work.twin_id or work.id, take)

    def _fetch(
        self,
        works: Sequence[Work],
        side_of: Callable[[Work], Side],
        id_of: Callable[[Work], RecordId],
        take: Callable[[Work, Record | None], None],
    ) -> None:
        if not works:
            return
        side, pair = side_of(works[0]), works[0].pair
        for chunk in chunks(works, self._context.facts[pair.name, side].read_batch):
            began = datetime.now(UTC)
            found = self._call(side, pair, chunk, [id_of(work) for work in chunk])
            spoilt = [work for work in still_open(chunk) if unreadable_fields(pair, side, found.get(id_of(work)))]
            if spoilt:
                found |= self._call(side, pair, spoilt, [id_of(work) for work in spoilt])
            for work in still_open(chunk):
                record = found.get(id_of(work))
                if names := unreadable_fields(pair, side, record):
                    self._settler.unreadable(work, names)
                    continue
                take(work, record)
                work.read_at[side] = began

    def _call(
        self, side: Side, pair: Pair, chunk: Sequence[Work], ids: list[RecordId]
    ) -> dict[RecordId, Record | None]:
        """Trouble ends the chunk's records, not the batch."""
        if self._settler.parked(chunk):
            return {}
        try:
            return dict(self._context.connectors[side].fetch(pair.module(side), list(dict.fromkeys(ids))))
        except RetryableError as error:
            for work in chunk:
                self._settler.wait(work, error.code, in_s=error.retry_after_s)
        except RecordRejected as error:
            for work in chunk:
                self._settler.fail(work, error.code, error.vendor_message or "")
        return {}


def unreadable_fields(pair: Pair, side: Side, record: Record | None) -> list[str]:
    """Mapped fields with bytes that were no text, as people know them. An answer that was spoilt on its way reads well
    the next time; a record that really holds such bytes does not, and neither must be carried on."""
    if record is None:
        return []
    names = dict.fromkeys(line.field(side) for line in pair.mapping)
    defined = pair.fields(side)
    return [label(defined.get(name) or FieldDef(name)) for name in names if is_unreadable(record.get(name))]


def _matched_with_none(work: Work) -> bool:
    return work.staged is not None and work.staged.verdict == "create"


def _earlier(work: Work) -> Record | None:
    """Good while nothing was settled since, but that we made the record as it was read (P5).

    Its time alone does not tell that: somebody may have changed it within the second.
    """
    row, record = work.binding, work.earlier
    if row is None or record is None:
        return record
    if row.bound.pending:
        return None
    at = 0 if work.side is Side.LEFT else 1
    base = row.bound.base
    lines = [line for line in work.pair.mapping if line.key in base]
    as_made = bool(lines) and all(same(record.get(line.field(work.side)), base[line.key][at]) for line in lines)
    return record if row.version == 1 and as_made else None


def _listed(work: Work) -> StagedRow | None:
    """The listed row, unless it lacks mapped fields, the record was settled since it was listed, or something was sent
    of which no outcome tells: whoever sent it may have read the record later than the list did (P5)."""
    if work.staged is None or not work.staged.usable(work.pair, work.side):
        return None
    if unreadable_fields(work.pair, work.side, work.staged.record):
        return None
    if work.binding is not None and (work.binding.bound.pending or work.binding.updated_at >= work.staged.read_at):
        return None
    return work.staged
