"""Records that belong to others: their bound parents, and what lives inside a record that was read (DU-10)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from shared.connectors.base import ModuleFacts
from shared.engine.agreed import listed_hash
from shared.engine.context import Context
from shared.engine.known import LIST_TRUST_S, BindingRow, Known
from shared.engine.settle import Settler
from shared.engine.work import Work, still_open
from shared.sync.events import ChangeEvent, Hint, Origin
from shared.sync.inside import parent_of
from shared.sync.model import BindingState, Family, Pair, Parent, Record, RecordId, Side
from shared.sync.plan import in_scope
from shared.sync.reasons import Code

TRIES_AT_A_PARENT = 2
"""A parent of which nothing is known is asked for once; then its child fails."""


class Families:
    def __init__(self, context: Context, known: Known, settler: Settler) -> None:
        self._context = context
        self._known = known
        self._settler = settler

    def find(self, works: Sequence[Work]) -> None:
        """Sets the bound parents of records that have any, all of one pair and one side. Where the parent is not bound
        yet the record waits for it, or fails."""
        parent = works[0].pair.parent if works else None
        if parent is None:
            return
        self._of_bound([work for work in works if work.binding is not None], parent)
        unbound = [work for work in works if work.binding is None and work.source is not None]
        self._of_unbound([work for work in unbound if _wanted(work)], parent)

    def _of_bound(self, works: Sequence[Work], parent: Parent) -> None:
        """The id of a record inside another names its parent."""
        inner = next((side for side in Side if works and self._facts(works[0].pair, side).inside), None)
        if inner is None:
            return
        ids = {id(work): parent_of(work.binding.id(inner)) for work in works if work.binding}
        rows = self._known.bindings(parent.pair, inner, sorted(set(ids.values())))
        for work in works:
            work.family = _family(rows.get(ids[id(work)]))

    def _of_unbound(self, works: Sequence[Work], parent: Parent) -> None:
        if not works:
            return
        side = works[0].side
        ids = {id(work): _parent_id(work, parent) for work in works}
        alone = self._with_parents(works, parent, ids)
        if not alone:
            return
        busy, failed = self._known.parents_under_way(parent.pair, side, [ids[id(work)] for work in alone])
        unheard = [work for work in alone if ids[id(work)] not in busy and ids[id(work)] not in failed]
        # Or it has ended between the two looks: then it is bound by now.
        still = {id(work) for work in self._with_parents(unheard, parent, ids)}
        for work in alone:
            parent_id = ids[id(work)]
            if work.family is None:
                self._wait(work, parent, parent_id, unheard=id(work) in still, failed=parent_id in failed)

    def _with_parents(self, works: Sequence[Work], parent: Parent, ids: Mapping[int, RecordId]) -> list[Work]:
        """Sets the parents that are bound; returns the works without."""
        if not works:
            return []
        side = works[0].side
        rows = self._known.bindings(parent.pair, side, sorted({ids[id(work)] for work in works}))
        alone: list[Work] = []
        for work in works:
            row = rows.get(ids[id(work)])
            work.family = _family(row)
            if work.family is None:
                alone.append(work)
            elif row is not None:
                work.bare = _is_bare(row, side.other, work.folded.run_id)
        return alone

    def _wait(self, work: Work, parent: Parent, parent_id: RecordId, *, unheard: bool, failed: bool) -> None:
        """Behind a parent that is on its way; one that nobody has heard of is sent for, once. Less and less often, and
        not for ever: when the parent is bound, what waits or has failed for want of it is due at once."""
        if failed or (unheard and work.attempt >= TRIES_AT_A_PARENT):
            self._settler.fail(work, Code.PARENT_NOT_SYNCED, parent_id)
            return
        if unheard:
            work.follow.append(event_about(self._context, work, parent.pair, parent_id, Hint.UPSERT))
        self._settler.wait(work, Code.PARENT_NOT_SYNCED, why="blocked", detail=parent_id, counts=True)

    # Inside

    def tell(self, works: Sequence[Work]) -> None:
        """Of records that were read now: an event for each record inside them that is not as it was, or is gone. They
        are sent once the record itself has ended."""
        name = self._context.inside(works[0].pair.name, works[0].side) if works else None
        if name is None:
            return
        pair, side = self._context.pairs[name], works[0].side
        module = pair.module(side)
        read = [
            work for work in still_open(works) if work.source and not work.listed and module in work.source.children
        ]
        if not read:
            return
        bound = self._known.bindings_inside(name, side, [work.id for work in read])
        for work in read:
            if work.source is not None:
                shown = work.source.children[module]
                changed, gone = changed_inside(pair, side, shown, bound.get(work.id, {}), self._facts(pair, side))
                work.follow += [event_about(self._context, work, name, one.id, Hint.UPSERT) for one in changed]
                work.follow += [event_about(self._context, work, name, one, Hint.DELETE) for one in gone]

    def _facts(self, pair: Pair, side: Side) -> ModuleFacts:
        return self._context.facts[pair.name, side]


def event_about(context: Context, work: Work, pair: str, record_id: RecordId, hint: Hint) -> ChangeEvent:
    """Of a record at the same side, that this one is inside of, waits for, or holds."""
    return ChangeEvent(
        event_id=uuid.uuid4().hex,
        correlation_id=work.folded.correlation_id,
        integration_id=context.id,
        pair=pair,
        side=work.side,
        record_id=record_id,
        hint=hint,
        origin=work.folded.origin if work.folded.run_id is None else Origin.RETRY,
        received_at=int(time.time() * 1000),
    )


def changed_inside(
    pair: Pair, side: Side, shown: Sequence[Record], bound: Mapping[RecordId, BindingRow], facts: ModuleFacts
) -> tuple[list[Record], list[RecordId]]:
    """(the records that are new, or not as they were agreed, the ids of bound ones that are not there any more)."""
    changed = [one for one in shown if not _as_it_was(pair, side, one, bound.get(one.id), facts)]
    there = {one.id for one in shown}
    gone = [i for i, row in bound.items() if i not in there and row.state == BindingState.LIVE]
    return changed, gone


def _as_it_was(pair: Pair, side: Side, record: Record, row: BindingRow | None, facts: ModuleFacts) -> bool:
    if row is None or not row.bound.base or row.bound.pending or row.state != BindingState.LIVE:
        return False
    return listed_hash(pair, side, record, facts.list_fields) == row.hash(side)


def _wanted(work: Work) -> bool:
    return work.source is not None and not work.source.inactive and in_scope(work.pair, work.side, work.source)


def _parent_id(work: Work, parent: Parent) -> RecordId:
    return RecordId(str(work.source.get(parent.field(work.side)) or "") if work.source else "")


def _family(row: BindingRow | None) -> Family | None:
    if row is None or row.state != BindingState.LIVE:
        return None
    return Family(row.left_id, row.bound.right_id)


def _is_bare(row: BindingRow, side: Side, run_id: int | None) -> bool:
    """The same run made the parent a moment ago, and nothing was in it: as good as a list of that age."""
    made: datetime | None = row.raw[f"{side}_bare_at"]
    if made is None or run_id is None or row.raw["bound_by_run"] != run_id:
        return False
    return datetime.now(UTC) - made < timedelta(seconds=LIST_TRUST_S)
