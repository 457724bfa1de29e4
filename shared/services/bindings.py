"""Bindings as people see and change them (DU-1): search, bind, unbind, release, create again, CSV out and in."""

from __future__ import annotations

import csv
import io
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import RowMapping
from sqlalchemy.orm import Session

from shared.db.models import Integration
from shared.db.queries import bindings as queries
from shared.db.repositories import audit
from shared.db.repositories import bindings as repository
from shared.db.repositories.bindings import Place, Wanted
from shared.db.repositories.integrations import load_own
from shared.db.session import Database
from shared.errors import NotFound, Refused
from shared.integrations.base import PairDeclaration
from shared.integrations.registry import integration as declared
from shared.lease import Leases
from shared.sync.access import Actor, Permission
from shared.sync.audit import Action
from shared.sync.cells import neutral
from shared.sync.events import ChangeEvent, Hint, Origin, encode
from shared.sync.model import RecordId, Side

HEADER = ("modules", "left_record", "right_record", "left_name", "right_name", "state", "bound_at", "bound_by_sync")
MOST_LINES = 20_000
_CHUNK = 500
_MOST_ID_CHARS = 200


@dataclass(frozen=True, slots=True)
class BindingView:
    """`state`: live, left_deleted, right_deleted. Names are the match keys as last agreed; empty where no sync has
    merged the two yet (`untouched`). `bound_by_sync` None: a person bound them."""

    id: int
    pair: str
    left_id: str
    right_id: str
    left_name: str
    right_name: str
    state: str
    untouched: bool
    bound_at: datetime
    bound_by_sync: int | None


@dataclass(frozen=True, slots=True)
class AsideView:
    """A record that is left alone until somebody binds or releases it. `why`: unbound (from `other_id`, by whom), or
    kept_by_clone (`other_id` got a record of its own)."""

    pair: str
    side: Side
    record_id: str
    why: str
    other_id: str
    by_name: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """`line` counts the file's lines from 1, the header included."""

    line: int
    code: str
    sentence: str


@dataclass(slots=True)
class Imported:
    """`same`: they were bound to each other already."""

    bound: int = 0
    same: int = 0
    refused: list[RefusedLine] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    pair: str
    wanted: Wanted


class BindingService:
    """Everything raises NotFound (integration, pair), NotAllowed. What is changed is synced within seconds, once Fetch
    has run; a batch that is under way meanwhile plans those records again."""

    def __init__(self, database: Database, leases: Leases) -> None:
        self._db = database
        self._leases = leases

    # Looking

    def search(
        self,
        actor: Actor,
        integration_id: int,
        *,
        pair: str | None = None,
        state: str | None = None,
        search: str | None = None,
        after_id: int = 0,
        limit: int = 100,
    ) -> list[BindingView]:
        """By id. `search`: a record's id at either side, or a part of its name."""
        actor.must(Permission.READ_LOGS)
        with self._db.transaction() as session:
            row, pairs = _own(session, actor, integration_id, pair)
            rows = queries.list_bindings(
                session,
                row.id,
                actor.workspace,
                {name: f"{one.key_left}|{one.key_right}" for name, one in pairs.items()},
                pair=pair,
                state=state,
                search=search or None,
                after_id=after_id,
                limit=limit,
            )
        return [_view(one) for one in rows]

    def aside(self, actor: Actor, integration_id: int) -> list[AsideView]:
        """Records that are set aside, and neither bound nor released since."""
        actor.must(Permission.READ_LOGS)
        with self._db.transaction() as session:
            row, pairs = _own(session, actor, integration_id)
            rows = queries.list_aside(session, row.id, actor.workspace, list(pairs))
        return [AsideView(**{**one, "side": Side(one["side"])}) for one in rows]

    def csv(self, actor: Actor, integration_id: int, pair: str | None = None) -> Iterator[str]:
        """All bindings, in pieces: RFC 4180 with a header line; cells cannot be formulas."""
        page = self.search(actor, integration_id, pair=pair, limit=1000)  # refuses before anything is sent
        return _csv_pieces(self, actor, integration_id, pair, page)

    # Changing

    def bind(self, actor: Actor, integration_id: int, pair: str, left_id: str, right_id: str) -> None:
        """These two are the same. Raises Refused: one is bound to another record, or a twin of it is being made."""
        actor.must(Permission.CONFIGURE)
        wanted = Wanted(RecordId(left_id), RecordId(right_id))
        with self._db.transaction() as session:
            row, place = self._still(session, actor, integration_id, pair)
            line = _Line(1, pair, wanted)
            outcome = self._bind(session, row, place, [line])
            if outcome.refused:
                raise Refused(outcome.refused[0].sentence, code=outcome.refused[0].code)
            if outcome.bound:
                subject = f"{row.id}/{pair}/{left_id}"
                audit.record(session, actor, Action.RECORD_BOUND, subject, after={"left": left_id, "right": right_id})

    def unbind(self, actor: Actor, integration_id: int, pair: str, side: Side, record_id: str) -> str:
        """These two are not the same: neither is matched or made anew until it is bound or released. The twin's id.

        Nothing is written to a vendor. Raises Refused: it is not bound.
        """
        actor.must(Permission.CONFIGURE)
        with self._db.transaction() as session:
            row, place = self._still(session, actor, integration_id, pair)
            found = repository.unbind(session, place, pair, side, record_id, actor.principal)
            if found is None:
                raise _not_bound(record_id)
            subject = f"{row.id}/{pair}/{side.value}/{record_id}"
            before = {"left": found.left_id, "right": found.right_id}
            audit.record(session, actor, Action.RECORD_UNBOUND, subject, before=before)
            return found.id(side.other)

    def release(self, actor: Actor, integration_id: int, pair: str, side: Side, record_id: str) -> None:
        """A record that was unbound may be matched and made again. Raises Refused: it is not set aside."""
        actor.must(Permission.CONFIGURE)
        with self._db.transaction() as session:
            row, place = self._still(session, actor, integration_id, pair)
            if not repository.release(session, place, pair, side, [record_id]):
                raise Refused(f"Record {record_id} is not set aside.", code="NOT_SET_ASIDE")
            _due(session, row, place, pair, side, [RecordId(record_id)])
            subject = f"{row.id}/{pair}/{side.value}/{record_id}"
            audit.record(session, actor, Action.RECORD_RELEASED, subject)

    def create_again(self, actor: Actor, integration_id: int, pair: str, side: Side, record_id: str) -> None:
        """TR-9: the twin of this record was deleted and is wanted back. Raises Refused: as far as is known it was not.

        It is looked for before it is made, so one that was made by hand meanwhile is bound instead.
        """
        actor.must(Permission.SYNC)
        with self._db.transaction() as session:
            row, place = self._still(session, actor, integration_id, pair)
            wanted = Wanted(RecordId(record_id), RecordId(record_id))
            if (side, record_id) not in repository.standing(session, place, pair, [wanted]).twins:
                raise _not_bound(record_id)
            found = repository.remove(session, place, pair, side, record_id, state=f"{side.other.value}_deleted")
            if found is None:
                raise Refused(
                    "As far as is known its twin exists. If it was deleted just now, sync the record first.",
                    code="TWIN_EXISTS",
                )
            _due(session, row, place, pair, side, [RecordId(record_id)])
            subject = f"{row.id}/{pair}/{side.value}/{record_id}"
            audit.record(session, actor, Action.TWIN_WANTED_AGAIN, subject, before={"twin": found.id(side.other)})

    def import_csv(self, actor: Actor, integration_id: int, given: str) -> Imported:
        """Binds by the columns modules, left_record and right_record; others are passed over. What is refused is told
        line by line, and keeps no other line from being bound. Raises Refused: it is no such file."""
        actor.must(Permission.CONFIGURE)
        with self._db.transaction() as session:
            _, pairs = _own(session, actor, integration_id)
        told = Imported()
        lines = _read(given, pairs, told)
        for start in range(0, len(lines), _CHUNK):
            chunk = lines[start : start + _CHUNK]
            with self._db.transaction() as session:
                row, place = self._still(session, actor, integration_id)
                done = self._bind(session, row, place, chunk)
                if done.bound:
                    after = {"bound": done.bound, "from_line": chunk[0].number, "to_line": chunk[-1].number}
                    audit.record(session, actor, Action.BINDINGS_IMPORTED, row.id, after=after)
            told.bound += done.bound
            told.same += done.same
            told.refused += done.refused
        told.refused.sort(key=lambda one: one.line)
        return told

    def _still(
        self, session: Session, actor: Actor, integration_id: int, pair: str | None = None
    ) -> tuple[Integration, Place]:
        row, _ = _own(session, actor, integration_id, pair)
        self._leases.stand_still(session, [row.left_org_id, row.right_org_id])
        return row, Place(row.workspace_id, row.id, row.left_org_id, row.right_org_id)

    def _bind(self, session: Session, row: Integration, place: Place, lines: Sequence[_Line]) -> Imported:
        done = Imported()
        for pair in dict.fromkeys(one.pair for one in lines):
            mine = [one for one in lines if one.pair == pair]
            standing = repository.standing(session, place, pair, [one.wanted for one in mine])
            free: list[Wanted] = []
            for one in mine:
                wanted = one.wanted
                twins = {side: standing.twins.get((side, wanted.id(side))) for side in Side}
                if twins[Side.LEFT] == wanted.right_id:
                    done.same += 1
                elif refusal := _refusal(one, twins, standing.in_doubt, free):
                    done.refused.append(refusal)
                else:
                    free.append(wanted)
            repository.bind(session, place, pair, free)
            _due(session, row, place, pair, Side.LEFT, [one.left_id for one in free])
            done.bound += len(free)
        return done


def _refusal(
    line: _Line,
    twins: dict[Side, RecordId | None],
    in_doubt: frozenset[tuple[Side, RecordId]],
    free: Sequence[Wanted],
) -> RefusedLine | None:
    wanted = line.wanted
    for side in Side:
        mine = wanted.id(side)
        if (twin := twins[side]) is not None:
            return RefusedLine(
                line.number,
                "BOUND_ALREADY",
                f"Record {mine} is bound to {twin}. Unbind it first.",
            )
        if any(other.id(side) == mine for other in free):
            return RefusedLine(line.number, "TWICE", f"Record {mine} stands in an earlier line already.")
        if (side, mine) in in_doubt:
            return RefusedLine(
                line.number,
                "TWIN_IN_DOUBT",
                f"A twin of record {mine} is being made, or may have been. Try again once that is clear.",
            )
    return None


def _own(
    session: Session, actor: Actor, integration_id: int, pair: str | None = None
) -> tuple[Integration, dict[str, PairDeclaration]]:
    row = load_own(session, actor.workspace, integration_id)
    pairs = {one.name: one for one in declared(row.kind).pairs}
    if pair is not None and pair not in pairs:
        raise NotFound(
            f"Integration {integration_id} has no pair of modules called {pair!r}; it has {', '.join(pairs)}.",
            code="UNKNOWN_PAIR",
        )
    return row, pairs


def _not_bound(record_id: str) -> Refused:
    return Refused(f"Record {record_id} is not bound.", code="NOT_BOUND")


def _due(session: Session, row: Integration, place: Place, pair: str, side: Side, ids: Sequence[RecordId]) -> None:
    """Before Fetch nothing is due: the first sync lists everything."""
    if row.fetched_at is None or not ids:
        return
    events = {one: encode(_event(row.id, pair, side, one)) for one in ids}
    repository.make_due(session, place, pair, side, events)


def _event(integration_id: int, pair: str, side: Side, record_id: RecordId) -> ChangeEvent:
    return ChangeEvent(
        event_id=uuid.uuid4().hex,
        correlation_id=uuid.uuid4().hex[:16],
        integration_id=integration_id,
        pair=pair,
        side=side,
        record_id=record_id,
        hint=Hint.UPSERT,
        origin=Origin.MANUAL,
        received_at=int(time.time() * 1000),
    )


# CSV


def _read(given: str, pairs: dict[str, PairDeclaration], told: Imported) -> list[_Line]:
    reader = csv.DictReader(io.StringIO(given.removeprefix("\ufeff"), newline=""), strict=True)
    wanted = HEADER[:3]
    try:
        if missing := [name for name in wanted if name not in (reader.fieldnames or ())]:
            raise Refused(
                f"The file's first line must name the columns {', '.join(wanted)}; missing: {', '.join(missing)}.",
                code="BAD_CSV",
            )
        lines: list[_Line] = []
        for row in reader:
            if len(lines) >= MOST_LINES:
                raise Refused(f"The file has more than {MOST_LINES} lines; split it.", code="BAD_CSV")
            pair, left, right = ((row[name] or "").strip() for name in wanted)
            if pair not in pairs:
                sentence = f"There is no pair of modules called {pair[:50]!r}; there are {', '.join(pairs)}."
                told.refused.append(RefusedLine(reader.line_num, "UNKNOWN_PAIR", sentence))
            elif not all(_is_id(one) for one in (left, right)):
                told.refused.append(RefusedLine(reader.line_num, "BAD_ID", "A record's id is missing, or is none."))
            else:
                lines.append(_Line(reader.line_num, pair, Wanted(RecordId(left), RecordId(right))))
    except csv.Error as error:
        raise Refused(f"Line {reader.line_num} cannot be read as CSV ({error}).", code="BAD_CSV") from None
    return lines


def _is_id(text: str) -> bool:
    return 0 < len(text) <= _MOST_ID_CHARS and text.isprintable()


def _csv_pieces(
    service: BindingService, actor: Actor, integration_id: int, pair: str | None, page: list[BindingView]
) -> Iterator[str]:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(HEADER)
    while True:
        for one in page:
            cells = (
                one.pair,
                one.left_id,
                one.right_id,
                one.left_name,
                one.right_name,
                one.state,
                one.bound_at.isoformat(),
                one.bound_by_sync,
            )
            writer.writerow(neutral(cells))
        yield out.getvalue()
        out.seek(0)
        out.truncate()
        if not page:
            return
        page = service.search(actor, integration_id, pair=pair, after_id=page[-1].id, limit=1000)


def _view(row: RowMapping) -> BindingView:
    return BindingView(
        id=row["id"],
        pair=row["pair"],
        left_id=row["left_id"],
        right_id=row["right_id"],
        left_name=row["left_name"] or "",
        right_name=row["right_name"] or "",
        state=row["state"],
        untouched=row["untouched"],
        bound_at=row["bound_at"],
        bound_by_sync=row["bound_by_run"],
    )
