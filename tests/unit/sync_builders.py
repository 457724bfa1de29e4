"""Small pairs and records for the tests of the core, and the values that hypothesis draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import msgspec.structs
from hypothesis import strategies as st

from shared.sync.model import (
    Bound,
    FieldDef,
    FieldFlow,
    FieldKind,
    FieldPair,
    ModuleName,
    Pair,
    Parent,
    Presence,
    Record,
    RecordId,
    Side,
    Value,
)

T = TypeVar("T")

T0 = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


def replace(value: T, **changes: Any) -> T:
    """A declaration (a dataclass) or a record (a struct) with other fields."""
    known: Any = value
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(known, **changes)  # type: ignore[no-any-return]
    return dataclasses.replace(known, **changes)  # type: ignore[no-any-return]


def at(seconds: int) -> datetime:
    return T0 + timedelta(seconds=seconds)


def defs(*definitions: FieldDef) -> dict[str, FieldDef]:
    return {definition.name: definition for definition in definitions}


NUMBER, PICK, FLAG = FieldKind.NUMBER, FieldKind.PICKLIST, FieldKind.BOOLEAN

LEFT = defs(
    FieldDef("Name", label="Company name", required=True),
    FieldDef("Note", bmp_only=True),
    FieldDef("Price", NUMBER, "Unit price"),
    FieldDef("Kind", PICK),
    FieldDef("Code"),
    FieldDef("Main"),
    FieldDef("Trade", label="Trade"),
    FieldDef("Term"),
    FieldDef("Type", PICK),
)
RIGHT = defs(
    FieldDef("name", label="Display name", required=True),
    FieldDef("note", max_length=6),
    FieldDef("rate", NUMBER, "Rate", decimals=2),
    FieldDef("kind", PICK),
    FieldDef("code"),
    FieldDef("main", required=True),
    FieldDef("copy"),
    FieldDef("trade", label="Trade name"),
    FieldDef("term"),
    FieldDef("type", PICK, "Product type"),
    FieldDef("sub_type", PICK),
)
MAPPING = (
    FieldPair("Name", "name"),
    FieldPair("Note", "note"),
    FieldPair("Price", "rate"),
    FieldPair("Kind", "kind", table=(("Service", "service"), ("Goods", "goods"), ("Part", "goods"))),
    FieldPair("Code", "code", transforms=("trim",)),
    FieldPair("Main", "copy"),
    FieldPair("Main", "main"),
    FieldPair("Trade", "trade", flow=FieldFlow.TO_RIGHT),
    FieldPair("Term", "term", default_right="net 15"),
    FieldPair("Type", "type", table=(("Service", "service"), ("Goods", "goods")), on_create=True),
)
"""One of each: plain, cut, rounded, table, transform, shared field (FM-3), one way, default, on create."""

RICH = Pair(
    name="rich",
    left_module=ModuleName("Lefts"),
    right_module=ModuleName("rights"),
    key_left="Name",
    key_right="name",
    mapping=MAPPING,
    tie_side=Side.RIGHT,
    left_fields=LEFT,
    right_fields=RIGHT,
    scope={Side.RIGHT: {"sub_type": frozenset({"business"})}},
    constants={Side.RIGHT: {"sub_type": "business"}},
)


PEOPLE = Pair(
    name="people",
    left_module=ModuleName("People"),
    right_module=ModuleName("persons"),
    key_left="Mail",
    key_right="mail",
    mapping=(
        FieldPair("Mail", "mail"),
        FieldPair("First", "first"),
        FieldPair("Last", "last"),
        FieldPair("Phone", "phone"),
    ),
    tie_side=Side.RIGHT,
    left_fields=defs(
        FieldDef("Mail", label="E-mail"),
        FieldDef("First"),
        FieldDef("Last", label="Last name", required=True),
        FieldDef("Phone"),
        FieldDef("Home.id", read_only=True),
        FieldDef("Home.name", read_only=True),
    ),
    right_fields=defs(
        FieldDef("mail", label="E-mail"),
        FieldDef("first", label="First name", required=True),
        FieldDef("last"),
        FieldDef("phone", max_length=6),
        FieldDef("home_id", read_only=True),
    ),
    scope={Side.LEFT: {"Home.id": Presence.FILLED}},
    parent=Parent("rich", "Home.id", "home_id"),
    names={Side.LEFT: ("First", "Last"), Side.RIGHT: ("first", "last")},
)
"""Records that belong to others, as contacts to their company."""

SINGLES = replace(
    PEOPLE,
    name="singles",
    right_module=ModuleName("rights"),
    right_fields={**PEOPLE.right_fields, **defs(FieldDef("home"), FieldDef("sub_type", PICK))},
    scope={Side.LEFT: {"Home.id": Presence.BLANK}, Side.RIGHT: {"sub_type": frozenset({"individual"})}},
    constants={Side.RIGHT: {"sub_type": "individual"}},
    parent=None,
    names={},
    breaks_ties={Side.LEFT: "Home.name", Side.RIGHT: "home"},
)
"""Those of the same left module that belong to none."""


def simple(*lines: FieldPair, left: Iterable[FieldDef] = (), right: Iterable[FieldDef] = ()) -> Pair:
    """A pair of a mapping of its own: Name and name as key, and text fields for what has no definition given."""
    mapping = (FieldPair("Name", "name"), *lines)
    lefts = {fp.left: FieldDef(fp.left) for fp in mapping} | defs(*left)
    rights = {fp.right: FieldDef(fp.right) for fp in mapping} | defs(*right)
    return replace(RICH, mapping=mapping, left_fields=lefts, right_fields=rights, scope={}, constants={})


def lefty(modified: int | None = 0, **fields: Value) -> Record:
    return Record(RecordId("L1"), fields, None if modified is None else at(modified))


def righty(modified: int | None = 0, **fields: Value) -> Record:
    return Record(RecordId("R1"), fields, None if modified is None else at(modified))


def bound(base: Mapping[str, tuple[Value, Value]], **more: object) -> Bound:
    return replace(Bound(RecordId("L1"), RecordId("R1"), base), **more)


texts = st.text(st.characters(), max_size=12)
numbers = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=4)
strange_numbers = st.decimals() | st.sampled_from([Decimal("1E+999999"), Decimal("1E-999999"), Decimal("-0.00")])
values = st.none() | st.booleans() | texts | numbers | strange_numbers
