"""What would be done: one row per rule of the plan."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from shared.sync.model import (
    Action,
    ActionKind,
    BindingState,
    Bound,
    Change,
    Conflict,
    FieldDef,
    FieldPair,
    Policy,
    Record,
    RecordId,
    Side,
    Value,
)
from shared.sync.plan import apply_writes, plan
from shared.sync.reasons import REASONS
from tests.unit.sync_builders import LEFT, RICH, RIGHT, at, bound, lefty, replace, righty

D = Decimal
L, R = Side.LEFT, Side.RIGHT
OVERWRITE = Policy.OVERWRITE
BASE: dict[str, tuple[Value, Value]] = {
    "Name|name": ("Acme", "Acme"),
    "Note|note": ("hello", "hello"),
    "Price|rate": (D("1.5"), D("1.50")),
    "Kind|kind": ("Goods", "goods"),
    "Code|code": (" c1 ", "c1"),
    "Main|copy": ("m", "m"),
    "Main|main": ("m", "m"),
    "Trade|trade": ("t", "t"),
    "Term|term": (None, "net 15"),
}


def left(modified: int | None = 0, **changed: Value) -> Record:
    fields: dict[str, Value] = {key.split("|")[0]: value[0] for key, value in BASE.items()}
    return lefty(modified, **{**fields, "Type": "Goods", **changed})


def right(modified: int | None = 0, **changed: Value) -> Record:
    fields: dict[str, Value] = {key.split("|")[1]: value[1] for key, value in BASE.items()}
    return righty(modified, **{**fields, "type": "goods", "sub_type": "business", **changed})


def outcome(action: Action) -> tuple[ActionKind, str | None, str]:
    return action.kind, action.reason, action.detail


def written(action: Action) -> dict[Side, dict[str, Value]]:
    return {side: {change.field: change.new for change in changes} for side, changes in action.writes.items()}


def off(record: Record) -> Record:
    return replace(record, inactive=True)


BOUND = bound(BASE)
SKIPPED = ActionKind.SKIP

ROWS: list[tuple[str, Side, Record | None, Record | None, Bound | None, ActionKind, str | None]] = [
    # Gone.
    ("gone, never bound", L, None, None, None, SKIPPED, "RECORD_GONE"),
    ("gone, bound", L, None, right(), BOUND, SKIPPED, "SOURCE_DELETED"),
    ("gone on the right, bound", R, left(), None, BOUND, SKIPPED, "SOURCE_DELETED"),
    ("both gone", L, None, None, BOUND, SKIPPED, "SOURCE_DELETED"),
    ("twin gone, the survivor edited", L, left(Note="new"), None, BOUND, SKIPPED, "TWIN_DELETED"),
    ("twin gone on the left", R, None, right(note="new"), BOUND, SKIPPED, "TWIN_DELETED"),
    # Outside.
    ("inactive", L, off(left(Note="new")), right(), BOUND, SKIPPED, "INACTIVE"),
    ("inactive, unbound", L, off(left()), None, None, SKIPPED, "INACTIVE"),
    ("inactive twin", L, left(Note="new"), off(right()), BOUND, SKIPPED, "INACTIVE"),
    ("individual", R, None, right(sub_type="individual"), None, SKIPPED, "WRONG_TYPE"),
    ("no type", R, None, right(sub_type=None), None, SKIPPED, "WRONG_TYPE"),
    ("individual, bound", R, left(), right(sub_type="individual", note="new"), BOUND, SKIPPED, "WRONG_TYPE"),
    ("twin became individual", L, left(Note="new"), right(sub_type="individual"), BOUND, SKIPPED, "WRONG_TYPE"),
    ("inactive individual", R, None, off(right(sub_type="individual")), None, SKIPPED, "WRONG_TYPE"),
    # New.
    ("new on the left", L, left(), None, None, ActionKind.CREATE, None),
    ("new on the right", R, None, right(), None, ActionKind.CREATE, None),
    # Matched.
    ("matched, the same", L, left(), right(), None, ActionKind.BIND, None),
    ("matched, different", L, left(5, Note="new"), right(1), None, ActionKind.UPDATE, None),
    # Bound.
    ("nothing changed", L, left(), right(), BOUND, ActionKind.UNCHANGED, None),
    ("left changed", L, left(Note="new"), right(), BOUND, ActionKind.UPDATE, None),
    ("seen from the other side", R, left(Note="new"), right(), BOUND, ActionKind.UPDATE, None),
    ("both moved to the same", L, left(Note="new"), right(note="new"), BOUND, ActionKind.UNCHANGED, None),
    ("fetch bound it", L, left(Note="new"), right(), bound({}), ActionKind.UPDATE, None),
    ("fetch bound it, the same", L, left(), right(), bound({}), ActionKind.UNCHANGED, None),
    ("written on create only", L, left(Type="Service"), right(), BOUND, ActionKind.UNCHANGED, None),
]


@pytest.mark.rule("TR-9", "SU-5", "DU-3", "DU-6", "DU-8")
@pytest.mark.parametrize(("source", "a", "b", "tie", "kind", "reason"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_plan(
    source: Side, a: Record | None, b: Record | None, tie: Bound | None, kind: ActionKind, reason: str | None
) -> None:
    action = plan(RICH, OVERWRITE, source, a, b, tie)
    assert (action.kind, action.reason) == (kind, reason)
    assert bool(action.writes) is (kind in (ActionKind.CREATE, ActionKind.UPDATE))
    if kind is SKIPPED:
        assert action.base == ({} if tie is None else tie.base)


# Creating


@pytest.mark.rule("FM-1", "FM-8", "FM-10")
def test_create_on_the_right_has_all_that_is_mapped() -> None:
    action = plan(RICH, OVERWRITE, L, left(Note="hello world", Price=D("1.005"), Trade=None), None, None)
    assert written(action) == {
        R: {
            "sub_type": "business",
            "type": "goods",
            "name": "Acme",
            "note": "hello ",
            "rate": D("1.01"),
            "kind": "goods",
            "code": "c1",
            "copy": "m",
            "main": "m",
            "term": "net 15",
        }
    }
    assert all(change.old is None for change in action.writes[R])
    assert action.base == {
        **BASE,
        "Note|note": ("hello world", "hello "),
        "Price|rate": (D("1.005"), D("1.01")),
        "Trade|trade": (None, None),
    }
    assert action.warnings == (
        "note holds less than the source: the value was cut or rounded.",
        "Rate holds less than the source: the value was cut or rounded.",
    )


@pytest.mark.rule("FM-1", "FM-3")
def test_create_on_the_left_takes_what_flows_there() -> None:
    action = plan(RICH, OVERWRITE, R, None, right(main="x", copy="y"), None)
    assert written(action) == {
        L: {
            "Type": "Goods",
            "Name": "Acme",
            "Note": "hello",
            "Price": D("1.50"),
            "Kind": "Goods",
            "Code": "c1",
            "Main": "x",
            "Term": "net 15",
        }
    }
    assert "Trade|trade" not in action.base
    assert "Main|copy" not in action.base


@pytest.mark.rule("LG-4", "FM-1")
@pytest.mark.parametrize(
    ("changed", "reason", "detail"),
    [
        ({"Main": None}, "MANDATORY_FIELD_EMPTY", "main"),
        ({"Main": "  "}, "MANDATORY_FIELD_EMPTY", "main"),
        ({"Name": None}, "NO_KEY", "Company name"),
        ({"Name": " "}, "NO_KEY", "Company name"),
        ({"Kind": "Odd"}, "VALUE_NOT_MAPPED", "kind"),
        ({"Type": "Odd", "Kind": "Odd"}, "VALUE_NOT_MAPPED", "Product type, kind"),
        ({"Kind": "Odd", "Main": None}, "VALUE_NOT_MAPPED", "kind"),
        ({"Name": "A" * 41}, "KEY_CUT", "Display name"),
        ({"Name": "A" * 41, "Main": None, "Kind": "Odd"}, "KEY_CUT", "Display name"),
    ],
)
def test_a_record_that_cannot_be_created(changed: dict[str, Any], reason: str, detail: str) -> None:
    fields = {**RIGHT, "name": replace(RIGHT["name"], max_length=40)}
    action = plan(replace(RICH, right_fields=fields), OVERWRITE, L, left(**changed), None, None)
    assert outcome(action) == (ActionKind.FAIL, reason, detail)
    assert action.writes == {}


@pytest.mark.rule("LG-4")
def test_several_empty_fields_are_all_named() -> None:
    due, given_by_vendor = (
        FieldDef("due", label="Due day", required=True),
        FieldDef("id", required=True, read_only=True),
    )
    fields = {**RIGHT, "due": due, "id": given_by_vendor}
    action = plan(replace(RICH, right_fields=fields), OVERWRITE, L, left(Main=None), None, None)
    assert outcome(action) == (ActionKind.FAIL, "MANDATORY_FIELD_EMPTY", "main, Due day")


@pytest.mark.rule("FM-1")
def test_a_constant_or_a_default_fills_a_mandatory_field_and_a_mapped_value_outdoes_it() -> None:
    fields = {**RIGHT, "term": replace(RIGHT["term"], required=True)}
    pair = replace(RICH, right_fields=fields, constants={R: {"main": "const", "sub_type": "business"}})
    assert written(plan(pair, OVERWRITE, L, left(Main=None), None, None))[R]["main"] == "const"
    assert written(plan(pair, OVERWRITE, L, left(Main="x"), None, None))[R]["main"] == "x"
    assert written(plan(pair, OVERWRITE, L, left(Term=None), None, None))[R]["term"] == "net 15"


@pytest.mark.rule("FM-3")
def test_a_lasting_pair_outdoes_one_for_creation_only() -> None:
    mapping = (*RICH.mapping, FieldPair("Trade", "note", on_create=True))
    pair = replace(RICH, mapping=mapping)
    assert written(plan(pair, OVERWRITE, L, left(), None, None))[R]["note"] == "hello"
    assert written(plan(pair, OVERWRITE, L, left(Note=None), None, None))[R]["note"] == "t"


# A twin that was found


@pytest.mark.rule("DU-3")
def test_policies_where_a_match_is_found() -> None:
    a, b = left(5, Note="new"), right(1)
    assert plan(RICH, Policy.OVERWRITE, L, a, b, None).kind is ActionKind.UPDATE
    assert outcome(plan(RICH, Policy.SKIP, L, a, b, None)) == (ActionKind.SKIP, "POLICY_SKIP", "")
    cloned = plan(RICH, Policy.CLONE, L, a, b, None)
    assert cloned == plan(RICH, Policy.CLONE, L, a, None, None), "what is there plays no part"
    assert (cloned.kind, set(cloned.writes)) == (ActionKind.CREATE, {R})
    assert outcome(plan(RICH, Policy.CLONE, R, a, b, None)) == (ActionKind.SKIP, "KEPT_BY_CLONE", "")
    assert plan(RICH, Policy.SKIP, L, a, b, BOUND).kind is ActionKind.UPDATE
    assert plan(RICH, Policy.CLONE, L, a, None, None).kind is ActionKind.CREATE


@pytest.mark.rule("DU-3", "FM-9")
@pytest.mark.parametrize("source", [L, R])
@pytest.mark.parametrize(
    ("a", "b", "winner"), [(5, 1, L), (1, 5, R), (3, 3, R), (None, 5, R), (5, None, R), (None, None, R)]
)
def test_overwrite_by_the_later_time_else_by_accounting(
    source: Side, a: int | None, b: int | None, winner: Side
) -> None:
    action = plan(RICH, OVERWRITE, source, left(a, Note="mine", Trade=None), right(b, note="thine", term=None), None)
    notes = {side: fields.get("note", fields.get("Note")) for side, fields in written(action).items()}
    assert notes == ({R: "mine"} if winner is L else {L: "thine"})
    assert action.conflicts == ()
    assert written(action).get(R, {}).get("trade") is None


# Bound


@pytest.mark.rule("DU-7")
@pytest.mark.parametrize(
    ("ours", "changed", "kind"),
    [
        ({L: at(0)}, {}, ActionKind.ECHO),
        ({L: at(1)}, {}, ActionKind.UNCHANGED),
        ({R: at(0)}, {}, ActionKind.UNCHANGED),
        ({L: None}, {}, ActionKind.UNCHANGED),
        ({L: at(0)}, {"Note": "new"}, ActionKind.UPDATE),
    ],
)
def test_our_own_write_coming_back(ours: dict[Side, Any], changed: dict[str, Any], kind: ActionKind) -> None:
    action = plan(RICH, OVERWRITE, L, left(**changed), right(), bound(BASE, written=ours))
    assert action.kind is kind


@pytest.mark.rule("DU-7")
def test_no_time_is_no_echo() -> None:
    action = plan(RICH, OVERWRITE, L, left(None), right(), bound(BASE, written={L: None}))
    assert action.kind is ActionKind.UNCHANGED


@pytest.mark.rule("FM-10", "DU-7")
def test_a_read_back_moves_the_base_and_writes_nothing() -> None:
    sent = bound({**BASE, "Trade|trade": ("Trading House", "Trading House")}, written={R: at(7)}, unread=frozenset({R}))
    action = plan(RICH, OVERWRITE, R, left(Trade="Trading House"), right(7, trade="TRADING"), sent)
    assert action.kind is ActionKind.ECHO
    assert action.base["Trade|trade"] == ("Trading House", "TRADING")


@pytest.mark.rule("DU-6")
def test_one_action_writes_both_sides_and_flags_the_conflict() -> None:
    a, b = left(9, Note="left", Code="c2"), right(3, note="right", rate=D("2"))
    action = plan(RICH, OVERWRITE, L, a, b, BOUND)
    assert action.kind is ActionKind.UPDATE
    assert written(action) == {R: {"note": "left", "code": "c2"}, L: {"Price": D("2")}}
    assert action.writes[R][0] == Change("note", "right", "left")
    assert action.conflicts == (Conflict("Note", "note", "left", "right", L),)


@pytest.mark.rule("LG-4", "FM-9")
@pytest.mark.parametrize(
    ("changed", "reason", "detail"),
    [
        ({"Name": None}, "MANDATORY_FIELD_EMPTY", "Display name"),
        ({"Main": ""}, "MANDATORY_FIELD_EMPTY", "main"),
        ({"Kind": "Odd"}, "VALUE_NOT_MAPPED", "kind"),
        ({"Name": "A" * 41}, "KEY_CUT", "Display name"),
    ],
)
def test_a_write_that_may_not_be(changed: dict[str, Any], reason: str, detail: str) -> None:
    fields = {**RIGHT, "name": replace(RIGHT["name"], max_length=40)}
    action = plan(replace(RICH, right_fields=fields), OVERWRITE, L, left(Note="new", **changed), right(), BOUND)
    assert outcome(action) == (ActionKind.FAIL, reason, detail)
    assert action.writes == {}
    assert action.base == BASE


@pytest.mark.rule("DU-11")
def test_a_bound_record_keeps_its_twin_whatever_becomes_of_its_key() -> None:
    action = plan(RICH, OVERWRITE, L, left(Name="Renamed"), right(), BOUND)
    assert written(action) == {R: {"name": "Renamed"}}


@pytest.mark.rule("TR-9")
def test_a_record_that_is_back_merges_from_its_old_base() -> None:
    marked = bound(BASE, state=BindingState.RIGHT_DELETED)
    action = plan(RICH, OVERWRITE, R, left(Note="new"), right(), marked)
    assert written(action) == {R: {"note": "new"}}


# Thin rows


def thin(record: Record, *gone: str) -> Record:
    fields = {name: value for name, value in record.fields.items() if name not in gone}
    return replace(record, fields=fields, complete=False)


@pytest.mark.rule("DU-6")
def test_nothing_is_written_from_or_to_a_thin_row() -> None:
    changed = left(Note="new")
    with pytest.raises(ValueError, match="thin right record cannot be written from: rate not read"):
        plan(RICH, OVERWRITE, L, changed, thin(right(), "rate"), BOUND)
    with pytest.raises(ValueError, match="thin left record"):
        plan(RICH, OVERWRITE, L, thin(changed, "Code"), right(), BOUND)
    with pytest.raises(ValueError, match="sub_type not read"):
        plan(RICH, OVERWRITE, L, changed, thin(right(), "sub_type"), BOUND)
    with pytest.raises(ValueError, match="Type not read"):
        plan(RICH, OVERWRITE, L, thin(changed, "Type"), None, None)
    assert plan(RICH, OVERWRITE, L, thin(changed, "Type"), right(), BOUND).kind is ActionKind.UPDATE
    assert plan(RICH, OVERWRITE, L, changed, thin(right()), BOUND).kind is ActionKind.UPDATE


@pytest.mark.rule("DU-6")
def test_a_thin_row_without_an_edit_is_unchanged_and_keeps_the_base() -> None:
    action = plan(RICH, OVERWRITE, R, left(), thin(right(), "rate", "sub_type"), BOUND)
    assert action.kind is ActionKind.UNCHANGED
    assert action.base == BASE


# Each action, applied, is the end of it


@pytest.mark.rule("P6", "DU-7")
@pytest.mark.parametrize(
    ("a", "b", "tie"),
    [
        (left(), None, None),
        (None, right(), None),
        (left(5, Note="new", Main="other"), right(1, code=None), None),
        (left(9, Note="left 123456", Price=D("3.999"), Main="y"), right(3, note="x", kind="service", main="z"), BOUND),
    ],
)
def test_planning_again_on_the_result_writes_nothing(a: Record | None, b: Record | None, tie: Bound | None) -> None:
    source = L if a is not None else R
    action = plan(RICH, OVERWRITE, source, a, b, tie)
    blank_left, blank_right = Record(RecordId("L1"), {}), Record(RecordId("R1"), {})
    after_left = replace(apply_writes(a or blank_left, action.writes.get(L, ())), modified_at=at(20))
    after_right = replace(apply_writes(b or blank_right, action.writes.get(R, ())), modified_at=at(21))
    times = {L: at(20), R: at(21)}
    ours = bound(action.base, written={side: times[side] for side in action.writes}, unread=frozenset(action.writes))
    for seen in Side:
        again = plan(RICH, OVERWRITE, seen, after_left, after_right, ours)
        assert again.kind is (ActionKind.ECHO if seen in action.writes else ActionKind.UNCHANGED)
        assert again.writes == {}


def test_every_reason_is_in_the_vocabulary() -> None:
    assert {row[6] for row in ROWS if row[6]} <= set(REASONS)
    assert set(LEFT)
