"""Fields that another integration writes too (FM-11): two that share an org may want different things of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from shared.db.models import Integration
from shared.errors import Refused
from shared.integrations.defaults import Line
from shared.integrations.registry import integration as declared
from shared.sync.mapping import label
from shared.sync.model import FieldFlow, FieldPair, ModuleName, Pair, Scope, Side

SHOWN = 5
"""Fields that are named; of more only their number is told."""


@dataclass(frozen=True, slots=True)
class ContestedField:
    """`others`: names of the integrations that write it too."""

    side: Side
    name: str
    label: str
    others: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"{self.side.value}:{self.name}"


def contested_fields(session: Session, row: Integration, pair: Pair) -> tuple[ContestedField, ...]:
    """In the mapping's order. A field that is set as a record is made, and never again, is not contested."""
    found: dict[str, ContestedField] = {}
    for other in _others(session, row):
        for side in Side:
            theirs = _written_there(other, _org(row, side), pair.module(side), pair.scope.get(side, {}))
            for name in _written(pair.mapping, side):
                if name not in theirs:
                    continue
                definition = pair.fields(side).get(name)
                shown = label(definition) if definition is not None else name
                before = found.get(f"{side.value}:{name}")
                names = (*(before.others if before else ()), other.name)
                one = ContestedField(side, name, shown, tuple(dict.fromkeys(names)))
                found[one.key] = one
    return tuple(found.values())


def must_be_agreed(
    row: Integration,
    pair: str,
    contested: Sequence[ContestedField],
    *,
    last_change_wins: bool,
    also: Collection[str] = (),
) -> None:
    """Notes the agreement where it is given: to all, or to the fields `also`. Raises Refused, naming the fields and the
    others, where it is missing."""
    agreed = set(row.contested_agreed.get(pair, ()))
    asked = [one for one in contested if one.key not in agreed and one.key not in also]
    if asked and not last_change_wins:
        raise Refused(_sentence(asked), code="FIELD_CONTESTED")
    kept = sorted(one.key for one in contested)
    if kept != sorted(agreed):
        others = {name: keys for name, keys in row.contested_agreed.items() if name != pair}
        row.contested_agreed = {**others, pair: kept} if kept else others


def _sentence(asked: Sequence[ContestedField]) -> str:
    names = ", ".join(dict.fromkeys(name for one in asked for name in one.others))
    shown = ", ".join(one.label for one in asked[:SHOWN])
    more = f" and {len(asked) - SHOWN} more" if len(asked) > SHOWN else ""
    verb = "writes" if len({name for one in asked for name in one.others}) == 1 else "write"
    return (
        f"{names} {verb} {shown}{more} too. Let one of them write each: here by a line that carries values the other "
        "way only. Or agree that the last change wins."
    )


def _others(session: Session, row: Integration) -> Sequence[Integration]:
    orgs = (row.left_org_id, row.right_org_id)
    return session.scalars(
        select(Integration)
        .where(
            Integration.workspace_id == row.workspace_id,
            Integration.id != row.id,
            Integration.state != "draft",
            or_(Integration.left_org_id.in_(orgs), Integration.right_org_id.in_(orgs)),
        )
        .order_by(Integration.id)
    ).all()


def _org(row: Integration, side: Side) -> int:
    return row.left_org_id if side is Side.LEFT else row.right_org_id


def _written_there(other: Integration, org: int, module: ModuleName, scope: Scope) -> set[str]:
    """What that integration writes to records of this module of this org, of those that may be in `scope` too."""
    declaration = declared(other.kind)
    synced = declaration.sync_type(other.sync_type).pairs
    found: set[str] = set()
    for side in Side:
        if _org(other, side) != org:
            continue
        for one in declaration.pairs:
            if one.name in synced and one.module(side) == module and not _apart(scope, one.scope.get(side, {})):
                chosen = other.mapping.get(one.name)
                lines = one.defaults if chosen is None else [Line.model_validate(line).field_pair() for line in chosen]
                found |= set(_written(lines, side))
    return found


def _apart(one: Scope, other: Scope) -> bool:
    """No record is of both: business customers and individuals, say."""
    both = [(one[name], other[name]) for name in one.keys() & other.keys()]
    return any(isinstance(a, frozenset) and isinstance(b, frozenset) and a.isdisjoint(b) for a, b in both)


def _written(lines: Sequence[FieldPair], side: Side) -> Iterator[str]:
    away = FieldFlow.TO_RIGHT if side is Side.LEFT else FieldFlow.TO_LEFT
    return (line.field(side) for line in lines if line.flow is not away and not line.on_create)
