"""The twin of a record that has no binding: matched by its key, never chosen (DU-2), and looked for before a create."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from shared.engine.agreed import from_base
from shared.engine.context import Context
from shared.engine.known import BindingRow, IntentRow, Known
from shared.engine.settle import Settler
from shared.engine.work import Work
from shared.errors import RecordRejected, RetryableError
from shared.sync import match
from shared.sync.events import Origin
from shared.sync.mapping import label
from shared.sync.match import fold_key
from shared.sync.merge import is_known
from shared.sync.model import (
    Action,
    ActionKind,
    BindingState,
    Family,
    FieldDef,
    Pair,
    Policy,
    Record,
    RecordId,
    Side,
)
from shared.sync.plan import in_scope, plan
from shared.sync.reasons import Code
from shared.sync.values import is_unreadable

CLOCKS_APART_MS = 2000
"""How far the door's clock may be behind that of Postgres."""


KEPT_BY_CLONE = "kept_by_clone"
_ASIDE = {KEPT_BY_CLONE: Code.KEPT_BY_CLONE, "unbound": Code.SET_ASIDE}


class Twins:
    def __init__(self, context: Context, known: Known, settler: Settler) -> None:
        self._context = context
        self._known = known
        self._settler = settler
        self._making: Mapping[str, Sequence[tuple[Side, RecordId]]] = {}

    def find(self, works: Sequence[Work]) -> None:
        """Sets `twin_id` where there is one; ends the records for which no twin is wanted, or not one."""
        if not works:
            return
        self._making = self._known.intents_named(works[0].pair.name, [work.key for work in works])
        aside = self._known.aside(works[0].pair.name, works[0].side, [work.id for work in works])
        for work in works:
            if self._settler.parked([work]):
                continue
            if why := aside.get(work.id):
                self._settler.done(work, Action(ActionKind.SKIP, reason=_ASIDE[why]))
                continue
            try:
                self._find(work)
            except RetryableError as error:
                self._settler.wait(work, error.code, in_s=error.retry_after_s)
            except RecordRejected as error:
                self._settler.fail(work, error.code, error.vendor_message or "")

    def wait_for_makers(self, works: Sequence[Work]) -> None:
        """A record that we are just making shows itself by its webhook before its binding is saved, and if somebody
        renamed it at once, no key tells whose twin it is. So a twin of it waits for what was being made as it came."""
        told = [work for work in works if work.folded.origin is Origin.WEBHOOK]
        if not told:
            return
        since_ms = self._known.making_since_ms(told[0].pair.name, told[0].side.other)
        for work in told:
            work.deferred = since_ms is not None and since_ms < work.folded.received_at + CLOCKS_APART_MS

    def _find(self, work: Work) -> None:
        # A plan without a twin says whether one would be wanted: a record that is gone, of the wrong type, inactive or
        # without a key ends here. An empty mandatory field does not matter before it is known that there is no twin.
        alone = plan(work.pair, self._context.policy, work.side, *work.sides(None), None, work.family)
        work.alone = alone
        stops = alone.kind in (ActionKind.SKIP, ActionKind.FAIL) and alone.reason != Code.MANDATORY_FIELD_EMPTY
        if work.source is None or (stops and work.intent is None):
            self._settler.done(work, alone)
        elif work.intent is not None:
            self._reconcile(work, work.intent)
        elif any(side is work.side for side, _ in self._making.get(work.key, ())):
            # The twin that may be found under this key is being made for another record of this side.
            self._settler.wait(work, Code.IN_DOUBT_UNRESOLVED, why="blocked", in_s=self._settler.soon_s)
        elif work.staged is not None and work.staged.verdict == "ambiguous":
            self._settler.fail(work, Code.AMBIGUOUS_MATCH)
        elif not self._known_absent(work):
            work.twin_id = self._look(work, work.name, bare=work.bare)
            self._note_maker(work)
            clones = self._context.policy is Policy.CLONE and work.pair.parent is None
            if work.twin_id is not None and work.drafted is None and clones:
                self._clone(work, work.twin_id)
            elif work.twin_id is None and work.open and work.key in self._making:
                # It may be the twin that is being made for a record which was renamed meanwhile: that one will know.
                self._settler.wait(work, Code.IN_DOUBT_UNRESOLVED, why="blocked", in_s=self._settler.soon_s)

    def _known_absent(self, work: Work) -> bool:
        """Whole lists show no twin, and that can still be believed (docs/decisions.md)."""
        if work.staged is None or work.staged.verdict != "create" or work.key in self._making:
            return False
        if match.key_of(work.pair, work.side, work.staged.record) != work.key:
            return False  # matched by another name than it has
        return self._refuses_doubles(work) or work.staged.fresh

    def _note_maker(self, work: Work) -> None:
        """Found a record that is just being given a twin: this is that twin, made by us, if its event came first."""
        if work.twin_id is None:
            return
        theirs = self._known.intents(work.pair.name, work.side.other, [work.twin_id]).get(work.twin_id)
        if theirs is not None:
            work.drafted, work.made_side = theirs.draft, work.side

    def _clone(self, work: Work, found: RecordId) -> None:
        """DU-3, Clone: a match is not bound. One side's record gets a new twin, the other's is left alone."""
        there = work.sides(Record(found, {}, complete=False))
        action = plan(work.pair, Policy.CLONE, work.side, *there, None, work.family)
        if action.kind is not ActionKind.CREATE:
            self._settler.done(work, action)
        elif self._context.facts[work.pair.name, work.side.other].unique_key is not None:
            self._settler.fail(work, Code.DUPLICATES_NOT_ALLOWED)
        else:
            work.twin_id, work.original = None, found

    def _refuses_doubles(self, work: Work) -> bool:
        side = work.side.other
        return self._context.facts[work.pair.name, side].unique_key == work.pair.key(side)

    def _look(self, work: Work, name: str, *, bare: bool = False) -> RecordId | None:
        """The one unbound record at the other side with this match key; ends the record where it is not one."""
        side, pair = work.side.other, work.pair
        field, key = pair.key(side), fold_key(name)
        rows = self._there(work, name, bare=bare)
        if any(is_unreadable(row.get(field)) for row in rows):
            # It may be the very record that is looked for: whoever took it for absent would make it twice.
            self._settler.unreadable(work, [label(pair.fields(side).get(field) or FieldDef(field))])
            return None
        found = [row for row in rows if self._fits(work, name, row)]
        # One of another type has the name and is no twin: a create will meet it, and fail with that reason.
        same_key = self._closest(work, [row for row in found if in_scope(pair, side, row)])
        if found and not same_key and side in pair.stranger:  # unless no vendor would refuse it
            self._settler.fail(work, pair.stranger[side])
            return None
        bound = self._known.bindings(pair.name, side, [row.id for row in same_key])
        bound |= self._bound_elsewhere(pair, side, [row.id for row in same_key])
        aside = self._known.aside(pair.name, side, [row.id for row in same_key])
        candidates = [
            match.Candidate(row.id, key, row.id in bound or row.id in aside)
            for row in same_key
            if aside.get(row.id) != KEPT_BY_CLONE and not (row.id in bound and self._of_another(work, row))
        ]
        match twin := match.resolve(key, candidates):
            case match.One():
                return twin.id
            case match.Ambiguous():
                self._settler.fail(work, Code.AMBIGUOUS_MATCH)
            case match.Taken():
                if any(row.id(work.side) == work.id for row in bound.values()):
                    work.deferred = True  # by us, since we looked: it comes again as bound
                elif bound and pair.parent is not None:
                    self._settler.fail(work, Code.EMAIL_IN_COMPANY)
                else:
                    self._settler.fail(work, Code.TWIN_TAKEN if bound else Code.TWIN_SET_ASIDE)
        return None

    def _there(self, work: Work, name: str, *, bare: bool) -> Sequence[Record]:
        """What may be its twin: by the vendor's search, or all that is inside the twin of its parent."""
        side, pair, connector = work.side.other, work.pair, self._context.connectors[work.side.other]
        if pair.parent is None:
            return connector.find(pair.module(side), pair.key(side), name)
        if work.family is None:
            return ()
        if bare:
            return self._ours(work, work.family)
        home = work.family.id(side)
        inside = self._context.facts[pair.name, side].inside
        if inside is None:
            field, value = self._searched(work, name)
            rows = connector.find(pair.module(side), field, value) if value else ()
            return [row for row in self._with_parents(work, rows) if row.get(pair.parent.field(side)) == home]
        parent = connector.fetch(inside, [home]).get(home)
        if parent is not None and pair.module(side) not in parent.children:
            raise RecordRejected("The vendor did not tell what is inside the parent.", code=Code.VENDOR_REJECTED)
        return parent.children[pair.module(side)] if parent else ()

    def _with_parents(self, work: Work, rows: Sequence[Record]) -> list[Record]:
        """A row that does not say whose it is may be the twin: then it is read."""
        pair, side = work.pair, work.side.other
        if pair.parent is None or all(is_known(row, pair.parent.field(side)) for row in rows):
            return list(rows)
        found = self._context.connectors[side].fetch(pair.module(side), [row.id for row in rows])
        return [record for record in found.values() if record is not None]

    def _ours(self, work: Work, family: Family) -> list[Record]:
        """What belongs to a parent that we made a moment ago is what we put there."""
        pair, side = work.pair, work.side.other
        inner = next(one for one in Side if self._context.facts[pair.name, one].inside is not None)
        held = self._known.bindings_inside(pair.name, inner, [family.id(inner)]).get(family.id(inner), {})
        ours = [from_base(pair, row.bound.base, side, row.id(side)) for row in held.values()]
        field = pair.parent.field(side) if pair.parent else ""
        return [replace(one, fields={**one.fields, field: family.id(side)}) for one in ours]

    def _searched(self, work: Work, name: str) -> tuple[str, str]:
        """By its key; one that has none, by the last of its names."""
        pair, side, source = work.pair, work.side, work.source
        names = pair.names.get(side, ())
        if source is None or source.get(pair.key(side)) or not names or name != work.name:
            return pair.key(side.other), name
        return pair.names[side.other][-1], str(source.get(names[-1]) or "").strip()

    def _fits(self, work: Work, name: str, row: Record) -> bool:
        pair, side = work.pair, work.side.other
        if match.key_of(pair, side, row) == fold_key(name):
            return True
        return name == work.name and work.source is not None and match.alike(pair, work.side, work.source, row)

    def _closest(self, work: Work, rows: list[Record]) -> list[Record]:
        """Of several of one key those that belong to the same parent, by its name, if there are any (DU-2)."""
        ties, side = work.pair.breaks_ties, work.side.other
        if len(rows) < 2 or not ties or work.source is None:
            return rows
        mine = fold_key(work.source.get(ties[work.side]))
        return [row for row in rows if mine and fold_key(row.get(ties[side])) == mine] or rows

    def _of_another(self, work: Work, row: Record) -> bool:
        """By its parent's name it is somebody else's, where names of parents break ties."""
        ties, source = work.pair.breaks_ties, work.source
        if not ties or source is None:
            return False
        mine, theirs = fold_key(source.get(ties[work.side])), fold_key(row.get(ties[work.side.other]))
        return bool(mine and theirs) and mine != theirs

    def _bound_elsewhere(self, pair: Pair, side: Side, ids: Sequence[RecordId]) -> dict[RecordId, BindingRow]:
        """As a record of another type of the same module."""
        found: dict[RecordId, BindingRow] = {}
        for name in self._context.sharing(pair.name, side):
            if name != pair.name:
                rows = self._known.bindings(name, side, ids)
                found |= {i: row for i, row in rows.items() if row.state == BindingState.LIVE}
        return found

    def _reconcile(self, work: Work, intent: IntentRow) -> None:
        """An earlier try may have made the twin: look before anything is made again (reliability section 4).

        Where nothing is found and the vendor refuses doubles, trying again is the surest look. Else absence is
        believed only after enough looks over enough time, for lists and searches lag. A record that was renamed since
        is looked for under the name it was to be made with, then under its own; of that no vendor refuses a double.
        What bears our record's id is its twin, whatever anybody called it since.
        """
        if (stamped := self._stamped(work)) is not None:
            work.twin_id, work.drafted, work.made_side = stamped, intent.draft, work.side.other
            return
        renamed = intent.folded_key != work.key
        for name in (intent.name, work.name) if renamed else (work.name,):
            work.twin_id = self._look(work, name) if name else None
            if work.twin_id is not None and name == intent.name:
                # What people changed since, at either side, is a change.
                work.drafted, work.made_side = intent.draft, work.side.other
            if work.twin_id is not None or not work.open:
                return
        again_is_safe = self._context.facts[work.pair.name, work.side.other].upserts
        if not again_is_safe and not (self._refuses_doubles(work) and not renamed):
            self._settler.look_again(work, intent)

    def _stamped(self, work: Work) -> RecordId | None:
        """The unbound record that was made with the id of this one in its stamp, where the vendor has such a field."""
        pair, side = work.pair, work.side.other
        field = self._context.facts[pair.name, side].stamp_field
        if field is None:
            return None
        rows = self._context.connectors[side].find(pair.module(side), field, work.id)
        ids = [row.id for row in rows if row.get(field) == work.id and in_scope(pair, side, row)]
        free = set(ids) - set(self._known.bindings(pair.name, side, ids))
        return free.pop() if len(free) == 1 else None
