"""Mapping editor: which fields of two modules are kept in step, looked at, checked and saved (FM-1 to FM-4)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from shared.connectors.registry import get_vendor
from shared.db.models import Connection, Integration
from shared.db.repositories import audit
from shared.db.repositories import connections as repository
from shared.db.repositories.integrations import load_own
from shared.db.session import Database
from shared.errors import ConfigError, Refused
from shared.integrations.base import Integration as Declaration
from shared.integrations.defaults import Line
from shared.integrations.registry import integration as declared
from shared.services.connections import capabilities_of
from shared.services.contested_fields import ContestedField, contested_fields, must_be_agreed
from shared.sync.access import Actor, Permission
from shared.sync.audit import Action
from shared.sync.mapping import MappingProblem, label
from shared.sync.model import FieldDef, FieldKind, Pair, Side

MOST_LINES = 500


@dataclass(frozen=True, slots=True)
class FieldView:
    """A field that may be mapped. What is marked as personal or health data is never among them (FM-2)."""

    name: str
    label: str
    kind: FieldKind
    required: bool
    read_only: bool
    max_length: int | None
    picklist: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MappingView:
    """`default`: nobody has changed it. `problems` are warnings, and what a vendor's change has broken since.
    `contested`: fields that other integrations write too (FM-11)."""

    integration_id: int
    pair: str
    label: str
    default: bool
    lines: tuple[Line, ...]
    problems: tuple[MappingProblem, ...]
    contested: tuple[ContestedField, ...]
    left_module: str
    left_fields: tuple[FieldView, ...]
    right_module: str
    right_fields: tuple[FieldView, ...]


class MappingService:
    """`pair` is the name of a pair of modules that the integration's kind declares, such as companies.

    Everything raises NotFound (integration, pair), ConfigError (an org is not connected), NotAllowed.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def get(self, actor: Actor, integration_id: int, pair: str) -> MappingView:
        actor.must(Permission.VIEW)
        with self._db.transaction() as session:
            row = load_own(session, actor.workspace, integration_id)
            return _view(session, row, pair)

    def check(self, actor: Actor, integration_id: int, pair: str, lines: Sequence[Line]) -> tuple[MappingProblem, ...]:
        """All that is wrong with these lines, warnings included; nothing is saved."""
        actor.must(Permission.CONFIGURE)
        with self._db.transaction() as session:
            row = load_own(session, actor.workspace, integration_id)
            return _checked(session, row, pair, lines)[1]

    def save(
        self,
        actor: Actor,
        integration_id: int,
        pair: str,
        lines: Sequence[Line] | None,
        *,
        last_change_wins: bool = False,
        agreed: Collection[str] = (),
    ) -> MappingView:
        """`lines` None: the defaults again. All bound records of the pair are due in the next sync (FM-4).

        `last_change_wins`: it is agreed that other integrations write some of these fields too (FM-11); it need not be
        said again for the same ones. `agreed`: so of these alone, by `ContestedField.key`. Raises Refused, naming all
        that is wrong, and saves nothing then.
        """
        actor.must(Permission.CONFIGURE)
        with self._db.transaction() as session:
            row = load_own(session, actor.workspace, integration_id, lock=True)
            declaration = declared(row.kind)
            wanted = tuple(lines) if lines is not None else _lines(declaration.declaration(pair).defaults)
            made, problems = _checked(session, row, pair, wanted)
            if wrong := [one.sentence for one in problems if not one.warning]:
                raise Refused("The mapping was not saved. " + " ".join(wrong), code="MAPPING_REFUSED")
            known = row.contested_agreed.get(pair, [])
            contested = contested_fields(session, row, made)
            must_be_agreed(row, pair, contested, last_change_wins=last_change_wins, also=agreed)
            before = row.mapping.get(pair)
            after = None if lines is None else [_plain(line) for line in wanted]
            if before != after:
                _store(session, row, pair, after)
            if before != after or known != row.contested_agreed.get(pair, []):
                audit.record(
                    session,
                    actor,
                    Action.MAPPING_SAVED,
                    row.id,
                    before={"pair": pair, "lines": before or "default", "contested": known},
                    after={"pair": pair, "lines": after or "default", "contested": row.contested_agreed.get(pair, [])},
                )
            return _view(session, row, pair)

    def agree(self, session: Session, row: Integration, pair: str, *, last_change_wins: bool) -> None:
        """As `save` does, for the mapping in force. Raises Refused."""
        made, _ = _checked(session, row, pair, _in_force(row, pair))
        must_be_agreed(row, pair, contested_fields(session, row, made), last_change_wins=last_change_wins)


def _store(session: Session, row: Integration, pair: str, lines: list[dict[str, object]] | None) -> None:
    """The bindings' list rows are forgotten, so that a poll finds each changed; their version moves, so that who
    planned by the old mapping plans again. The time makes the next sync read whole lists."""
    others = {name: kept for name, kept in row.mapping.items() if name != pair}
    row.mapping = others if lines is None else {**others, pair: lines}
    session.flush()
    session.execute(
        text(
            "UPDATE integration SET mapping_changed = "
            "mapping_changed || jsonb_build_object(CAST(:pair AS text), clock_timestamp()) WHERE id = :id"
        ),
        {"pair": pair, "id": row.id},
    )
    session.execute(
        text(
            "UPDATE binding SET left_hash = NULL, right_hash = NULL, version = version + 1 "
            "WHERE left_org_id = :left AND right_org_id = :right AND pair = :pair"
        ),
        {"left": row.left_org_id, "right": row.right_org_id, "pair": pair},
    )


def _checked(
    session: Session, row: Integration, pair: str, lines: Sequence[Line]
) -> tuple[Pair, tuple[MappingProblem, ...]]:
    if len(lines) > MOST_LINES:
        raise Refused(f"A mapping has {MOST_LINES} lines at most; this one has {len(lines)}.", code="MAPPING_REFUSED")
    declaration = declared(row.kind)
    fields = {side: _fields(session, row, declaration, pair, side) for side in Side}
    made = declaration.pair(pair, fields[Side.LEFT], fields[Side.RIGHT], [line.field_pair() for line in lines])
    return made, declaration.check(made)


def _fields(
    session: Session, row: Integration, declaration: Declaration, pair: str, side: Side
) -> Mapping[str, FieldDef]:
    org_id = row.left_org_id if side is Side.LEFT else row.right_org_id
    connection = session.scalars(select(Connection).where(Connection.org_id == org_id)).first()
    if connection is None:
        raise ConfigError(f"Org {org_id} is not connected. Connect it first.", code="NOT_CONNECTED")
    capabilities = capabilities_of(connection, repository.load_org(session, org_id))
    facts = get_vendor(connection.vendor).facts(capabilities)
    return facts.modules[declaration.declaration(pair).module(side)].fields


def _view(session: Session, row: Integration, pair: str) -> MappingView:
    declaration = declared(row.kind).declaration(pair)
    lines = _in_force(row, pair)
    made, problems = _checked(session, row, pair, lines)
    return MappingView(
        integration_id=row.id,
        pair=pair,
        label=declaration.label,
        default=row.mapping.get(pair) is None,
        lines=lines,
        problems=problems,
        contested=contested_fields(session, row, made),
        left_module=declaration.left_module,
        left_fields=_offered(made.left_fields),
        right_module=declaration.right_module,
        right_fields=_offered(made.right_fields),
    )


def _in_force(row: Integration, pair: str) -> tuple[Line, ...]:
    chosen = row.mapping.get(pair)
    if chosen is None:
        return _lines(declared(row.kind).declaration(pair).defaults)
    return tuple(Line.model_validate(line) for line in chosen)


def _offered(fields: Mapping[str, FieldDef]) -> tuple[FieldView, ...]:
    return tuple(
        FieldView(one.name, label(one), one.kind, one.required, one.read_only, one.max_length, one.picklist)
        for one in fields.values()
        if not one.pii
    )


def _lines(pairs: Sequence[object]) -> tuple[Line, ...]:
    return tuple(Line.model_validate(one, from_attributes=True) for one in pairs)


def _plain(line: Line) -> dict[str, object]:
    return line.model_dump(mode="json", exclude_defaults=True)
