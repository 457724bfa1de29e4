"""Ids and small values of the core. No clock, no I/O, no vendor.

A record is its vendor's own field names mapped to scalars. Nested groups are flat and dotted, in the
vendor's *writing* names: ``billing_address.city``. There is no third, canonical model: a mapping is
between the fields of two vendors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, NewType

import msgspec

ModuleName = NewType("ModuleName", str)
RecordId = NewType("RecordId", str)
VendorName = NewType("VendorName", str)

Value = str | Decimal | bool | None
"""A field's value. Money and numbers are Decimal; dates and times are ISO text; None is blank."""

Fields = Mapping[str, Value]


class Side(StrEnum):
    """The two sides of an integration, fixed by its declaration (FB: left = FSM, right = Books)."""

    LEFT = "left"
    RIGHT = "right"

    @property
    def other(self) -> Side:
        return Side.RIGHT if self is Side.LEFT else Side.LEFT


class FieldKind(StrEnum):
    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    PICKLIST = "picklist"
    DATE = "date"
    DATETIME = "datetime"


@dataclass(frozen=True, slots=True)
class FieldDef:
    """What a vendor says of one field; `max_length` counts characters, `decimals` digits after the point.

    `bmp_only`: the vendor cuts text from the first character above U+FFFF on. `custom`: made by the organisation;
    `wire_id`: the vendor's own id of it, where it is written by that. `currency`: in which the amounts of a price are,
    "" where it is no price, or where that is not known. `tax`: it names a tax.
    """

    name: str
    kind: FieldKind = FieldKind.TEXT
    label: str = ""
    required: bool = False
    read_only: bool = False
    pii: bool = False
    max_length: int | None = None
    decimals: int | None = None
    bmp_only: bool = False
    picklist: tuple[str, ...] = ()
    custom: bool = False
    wire_id: str = ""
    currency: str = ""
    tax: bool = False


class Record(msgspec.Struct, frozen=True):
    """A vendor's record as read.

    `complete` False: a thin list row; a field that is not in `fields` is then unknown, not blank.
    In a complete record a missing field is blank. `modified_at` is aware UTC by the vendor's clock,
    None where the vendor did not say. `children` are records that live inside this one (a customer's contact
    persons), by their module: all of them where their module is a key, else nothing is known of them.
    """

    id: RecordId
    fields: Fields
    modified_at: datetime | None = None
    inactive: bool = False
    complete: bool = True
    children: Mapping[ModuleName, tuple[Record, ...]] = msgspec.field(default_factory=dict)

    def get(self, name: str) -> Value:
        return self.fields.get(name)


@dataclass(frozen=True, slots=True)
class RecordRef:
    vendor: VendorName
    org_id: int
    module: ModuleName
    id: RecordId


class Policy(StrEnum):
    """What happens where a match is found (DU-3)."""

    OVERWRITE = "overwrite"
    CLONE = "clone"
    SKIP = "skip"


class FieldFlow(StrEnum):
    """Which way a field pair carries values."""

    BOTH = "both"
    TO_RIGHT = "to_right"
    TO_LEFT = "to_left"


@dataclass(frozen=True, slots=True)
class FieldPair:
    """One line of a mapping: a left field and a right field, with what happens to the value between.

    `transforms` are names in `transforms.TRANSFORMS`, applied left to right; the inverse runs the other way.
    `table` is a picklist table of (left, right) values; the first line that fits wins, both ways.
    `on_create` True: the pair is written when a record is created and is not compared afterwards.
    """

    left: str
    right: str
    flow: FieldFlow = FieldFlow.BOTH
    transforms: tuple[str, ...] = ()
    table: tuple[tuple[str, str], ...] = ()
    default_left: Value = None
    default_right: Value = None
    on_create: bool = False

    @property
    def key(self) -> str:
        """Names the pair in a base and in the sync log."""
        return f"{self.left}|{self.right}"

    def field(self, side: Side) -> str:
        return self.left if side is Side.LEFT else self.right


class Presence(StrEnum):
    """What a scope may ask of a field beside "one of these"."""

    BLANK = "blank"
    FILLED = "filled"


Scope = Mapping[str, frozenset[str] | Presence]
"""Field name -> the values that it may have, or whether it must be filled."""


@dataclass(frozen=True, slots=True)
class Parent:
    """Of a pair whose records belong to those of another (DU-10): that pair's name, and the field that holds the
    parent's id, per side."""

    pair: str
    left_field: str
    right_field: str

    def field(self, side: Side) -> str:
        return self.left_field if side is Side.LEFT else self.right_field


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair of modules of an integration, with the mapping in force: all that `plan` needs to know.

    `key_left`/`key_right` are the match key's fields (DU-2). `names` are, per side, the fields that match two
    records of which one has no key. `breaks_ties` names, per side, the field that tells several records of one key
    apart. `scope` holds, per side, what makes a record one of this pair, else it is WRONG_TYPE. `stranger` is, per
    side, why no record is made there beside one of its key that is out of scope. `constants` are written on create,
    per side. `tie_side` wins a conflict whose times are equal or unknown (DU-3, DU-6). `follows`: the side whose record
    is made inactive when the other one is (TR-9), by the field that `state_fields` names, where there is a way to.
    `makes` False: its records are made otherwise, and the mapping fills fields of those that are there (FM-6).
    """

    name: str
    left_module: ModuleName
    right_module: ModuleName
    key_left: str
    key_right: str
    mapping: tuple[FieldPair, ...]
    tie_side: Side
    left_fields: Mapping[str, FieldDef]
    right_fields: Mapping[str, FieldDef]
    scope: Mapping[Side, Scope] = field(default_factory=dict)
    constants: Mapping[Side, Mapping[str, Value]] = field(default_factory=dict)
    parent: Parent | None = None
    names: Mapping[Side, tuple[str, ...]] = field(default_factory=dict)
    breaks_ties: Mapping[Side, str] = field(default_factory=dict)
    stranger: Mapping[Side, str] = field(default_factory=dict)
    follows: Side | None = None
    state_fields: Mapping[Side, str] = field(default_factory=dict)
    makes: bool = True
    memo: dict[object, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What was worked out from the rest, which does not change: each record of the pair needs it."""

    def module(self, side: Side) -> ModuleName:
        return self.left_module if side is Side.LEFT else self.right_module

    def key(self, side: Side) -> str:
        return self.key_left if side is Side.LEFT else self.key_right

    def fields(self, side: Side) -> Mapping[str, FieldDef]:
        return self.left_fields if side is Side.LEFT else self.right_fields


BaseValue = tuple[Value, Value]
"""(left value, right value) of one field pair as last agreed, each in its own vendor's terms."""

Base = Mapping[str, BaseValue]
"""Keyed by `FieldPair.key`. A pair that is missing was never synced (newly mapped): FM-9 applies to it."""


class BindingState(StrEnum):
    LIVE = "live"
    LEFT_DELETED = "left_deleted"
    RIGHT_DELETED = "right_deleted"
    MOVED = "moved"
    """The record belongs to another pair now; its twin of this one stays as it is (DU-10)."""


class Sent(msgspec.Struct, frozen=True):
    """A write to one side of which nobody knows whether it was applied. By field pair key: `base` as it is once it was,
    `old` what that side held before."""

    base: Base
    old: Mapping[str, Value]


class Bound(msgspec.Struct, frozen=True):
    """What the core must know of a binding.

    `base` is empty for a binding that Fetch made and no sync has merged yet. `written` holds, per side, the
    modified time that our last write there produced (the vendor's clock); a record still at that version is
    ours: an echo. `unread` are the sides whose base is what we sent, not yet read back (FM-10). `pending` holds,
    per side, what was sent there and of which nobody knows whether it was applied. `deactivated`: the side that follows
    is inactive by us.
    """

    left_id: RecordId
    right_id: RecordId
    base: Base
    state: BindingState = BindingState.LIVE
    written: Mapping[Side, datetime | None] = msgspec.field(default_factory=dict)
    unread: frozenset[Side] = frozenset()
    pending: Mapping[Side, Sent] = msgspec.field(default_factory=dict)
    deactivated: bool = False

    def id(self, side: Side) -> RecordId:
        return self.left_id if side is Side.LEFT else self.right_id


class Family(msgspec.Struct, frozen=True):
    """The bound parents of a record that has one: their ids at both sides."""

    left_id: RecordId
    right_id: RecordId

    def id(self, side: Side) -> RecordId:
        return self.left_id if side is Side.LEFT else self.right_id


class ActionKind(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    DEACTIVATE = "deactivate"
    BIND = "bind"
    UNCHANGED = "unchanged"
    ECHO = "echo"
    SKIP = "skip"
    FAIL = "fail"


class OutcomeKind(StrEnum):
    """How an event ended: the whole list (design). A conflict is a flag beside it."""

    CREATED = "created"
    UPDATED = "updated"
    BOUND = "bound"
    DEACTIVATED = "deactivated"
    UNCHANGED = "unchanged"
    ECHO = "echo"
    SKIPPED = "skipped"
    FAILED = "failed"


class Change(msgspec.Struct, frozen=True):
    """One field that a write replaces, at the side that is written."""

    field: str
    old: Value
    new: Value


class Conflict(msgspec.Struct, frozen=True):
    """One field pair that both sides changed; `winner` is the side whose value stays (DU-6)."""

    left_field: str
    right_field: str
    left: Value
    right: Value
    winner: Side


class Action(msgspec.Struct, frozen=True):
    """What would be done to a pair of records; a run applies it, a preview will show it.

    `writes` holds, per side, the changes to push (a create has every field in it, `old` None). `base` is the
    agreed state once those writes are accepted. `warnings` are sentences for the log (FM-10: a cut value).
    `reason` is set for SKIP and FAIL; `detail` fills its sentence (field names, never values). An UPDATE with a
    `reason` fails for one field after all the others are written (TR-11).
    """

    kind: ActionKind
    base: Base = msgspec.field(default_factory=dict)
    writes: Mapping[Side, tuple[Change, ...]] = msgspec.field(default_factory=dict)
    conflicts: tuple[Conflict, ...] = ()
    warnings: tuple[str, ...] = ()
    reason: str | None = None
    detail: str = ""
