"""What would be done to records that belong to others, and to those that gain or lose what they belonged to."""

from __future__ import annotations

from typing import Any

import pytest

from shared.sync.model import (
    Action,
    ActionKind,
    BindingState,
    Bound,
    Family,
    Pair,
    Policy,
    Record,
    RecordId,
    Side,
    Value,
)
from shared.sync.plan import apply_writes, in_scope, plan
from tests.unit.sync_builders import PEOPLE, SINGLES, at, bound, lefty, replace, righty

L, R = Side.LEFT, Side.RIGHT
OVERWRITE = Policy.OVERWRITE
ACME = Family(RecordId("c1"), RecordId("b1"))
BASE: dict[str, tuple[Value, Value]] = {
    "Mail|mail": ("ann@x.test", "ann@x.test"),
    "First|first": ("Ann", "Ann"),
    "Last|last": ("Lee", "Lee"),
    "Phone|phone": ("1", "1"),
}
BOUND = bound(BASE)


def left(modified: int | None = 0, **changed: Value) -> Record:
    fields: dict[str, Value] = {key.split("|")[0]: value[0] for key, value in BASE.items()}
    return lefty(modified, **{**fields, "Home.id": "c1", "Home.name": "Acme", **changed})


def right(modified: int | None = 0, **changed: Value) -> Record:
    fields: dict[str, Value] = {key.split("|")[1]: value[1] for key, value in BASE.items()}
    return righty(modified, **{**fields, "home_id": "b1", **changed})


def home(company: str | None) -> dict[str, Any]:
    return {"Home.id": company, "Home.name": company}


def alone(source: Side) -> tuple[Record | None, Record | None]:
    return (left(), None) if source is L else (None, right())


def single(modified: int | None = 0, **changed: Value) -> Record:
    return left(modified, **{**home(None), **changed})


def customer(modified: int | None = 0, **changed: Value) -> Record:
    return right(modified, **{"home_id": None, "sub_type": "individual", **changed})


def written(action: Action) -> dict[Side, dict[str, Value]]:
    return {side: {change.field: change.new for change in changes} for side, changes in action.writes.items()}


# Which pair a record belongs to


@pytest.mark.rule("SU-5")
@pytest.mark.parametrize(
    ("pair", "company", "fits", "fits_bound"),
    [
        (PEOPLE, "c1", True, True),
        (PEOPLE, None, False, True),
        (PEOPLE, " ", False, True),
        (SINGLES, "c1", False, False),
        (SINGLES, None, True, True),
        (SINGLES, " ", True, True),
    ],
)
def test_a_type_may_ask_for_a_parent_or_for_none(pair: Pair, company: str | None, fits: bool, fits_bound: bool) -> None:
    """Whoever is bound as one of a family stays that when it loses its parent (TR-11)."""
    record = left(**home(company))
    assert (in_scope(pair, L, record), in_scope(pair, L, record, bound=True)) == (fits, fits_bound)


@pytest.mark.rule("SU-5", "TR-12")
@pytest.mark.parametrize("pair", [PEOPLE, SINGLES], ids=lambda pair: pair.name)
def test_a_thin_row_that_does_not_tell_the_parent_is_not_ruled_out(pair: Pair) -> None:
    row = replace(lefty(Last="Lee"), complete=False)
    assert in_scope(pair, L, row)
    assert in_scope(SINGLES, R, replace(righty(), complete=False))
    assert not in_scope(SINGLES, R, righty(sub_type="business"))


@pytest.mark.rule("SU-5")
@pytest.mark.parametrize(("pair", "record"), [(PEOPLE, single()), (SINGLES, left())], ids=["of none", "of a company"])
def test_a_record_of_the_other_type_is_excluded(pair: Pair, record: Record) -> None:
    action = plan(pair, OVERWRITE, L, record, None, None, ACME)
    assert (action.kind, action.reason) == (ActionKind.SKIP, "WRONG_TYPE")


# Creating


@pytest.mark.rule("DU-10")
@pytest.mark.parametrize(
    ("source", "parent", "value"), [(L, "home_id", "b1"), (R, "Home.id", "c1")], ids=["right", "left"]
)
def test_a_new_record_is_made_in_the_family_that_is_there(source: Side, parent: str, value: str) -> None:
    action = plan(PEOPLE, OVERWRITE, source, *alone(source), None, ACME)
    assert action.kind is ActionKind.CREATE
    fields = written(action)[source.other]
    names = ("mail", "first", "last", "phone") if source is L else ("Mail", "First", "Last", "Phone")
    assert fields == {parent: value, **dict(zip(names, ("ann@x.test", "Ann", "Lee", "1"), strict=True))}
    assert set(action.base) == set(BASE), "a parent is no mapped field"


@pytest.mark.rule("DU-10")
def test_nothing_is_made_before_its_parent() -> None:
    for source in Side:
        action = plan(PEOPLE, OVERWRITE, source, *alone(source), None)
        assert (action.kind, action.reason, action.writes) == (ActionKind.FAIL, "PARENT_NOT_SYNCED", {})


@pytest.mark.rule("DU-10", "DU-2")
@pytest.mark.parametrize(
    ("changed", "kind", "reason"),
    [
        ({"Mail": None}, ActionKind.CREATE, None),
        ({"Mail": None, "First": None}, ActionKind.FAIL, "MANDATORY_FIELD_EMPTY"),
        ({"Mail": None, "First": None, "Last": None}, ActionKind.FAIL, "NO_KEY"),
    ],
)
def test_a_person_without_e_mail_has_a_name(changed: dict[str, Any], kind: ActionKind, reason: str | None) -> None:
    action = plan(PEOPLE, OVERWRITE, L, left(**changed), None, None, ACME)
    assert (action.kind, action.reason) == (kind, reason)


@pytest.mark.rule("DU-10")
def test_a_pair_without_parents_asks_for_none() -> None:
    assert plan(SINGLES, OVERWRITE, L, single(), None, None).kind is ActionKind.CREATE


@pytest.mark.rule("P6", "DU-7")
@pytest.mark.parametrize("source", [L, R])
def test_planning_again_on_what_was_made_writes_nothing(source: Side) -> None:
    made = plan(PEOPLE, OVERWRITE, source, *alone(source), None, ACME)
    there = apply_writes(Record(RecordId("new"), {}, at(9)), made.writes[source.other])
    records = (left(), there) if source is L else (there, right())
    ours = bound(made.base, written={source.other: at(9)}, unread=frozenset({source.other}))
    for seen in Side:
        again = plan(PEOPLE, OVERWRITE, seen, *records, ours, ACME)
        assert (again.kind, again.reason) == (ActionKind.UNCHANGED if seen is source else ActionKind.ECHO, None)


# A twin that was found


@pytest.mark.rule("DU-3", "DU-10")
def test_a_match_inside_a_family_is_bound_whatever_the_policy_makes_of_others() -> None:
    a, b = left(5, Phone="2"), right(1)
    merged = plan(PEOPLE, Policy.CLONE, L, a, b, None, ACME)
    assert (merged.kind, written(merged)) == (ActionKind.UPDATE, {R: {"phone": "2"}})
    assert merged == plan(PEOPLE, OVERWRITE, L, a, b, None, ACME)
    for source in Side:
        assert plan(PEOPLE, Policy.CLONE, source, left(), right(), None, ACME).kind is ActionKind.BIND
        assert plan(PEOPLE, Policy.SKIP, source, left(), right(), None, ACME).reason == "POLICY_SKIP"
    assert plan(SINGLES, Policy.CLONE, L, single(), customer(), None).kind is ActionKind.CREATE
    assert plan(SINGLES, Policy.CLONE, R, single(), customer(), None).reason == "KEPT_BY_CLONE"


# A company that changes


@pytest.mark.rule("TR-11")
@pytest.mark.parametrize("company", ["c2", None], ids=["another", "none"])
@pytest.mark.parametrize("ours", [BOUND, bound(BASE, written={L: at(0)})], ids=["an edit", "an echo"])
def test_a_changed_company_fails_and_the_other_fields_follow(company: str | None, ours: Bound) -> None:
    action = plan(PEOPLE, OVERWRITE, L, left(Phone="2", **home(company)), right(), ours, ACME)
    assert (action.kind, action.reason) == (ActionKind.UPDATE, "COMPANY_CANNOT_CHANGE")
    assert written(action) == {R: {"phone": "2"}}
    assert action.base == {**BASE, "Phone|phone": ("2", "2")}
    bare = plan(PEOPLE, OVERWRITE, L, left(**home(company)), right(), ours, ACME)
    assert (bare.kind, bare.reason, bare.writes) == (ActionKind.FAIL, "COMPANY_CANNOT_CHANGE", {})
    assert bare.base == BASE


@pytest.mark.rule("TR-11")
def test_a_change_of_the_other_side_reaches_a_record_with_another_company() -> None:
    """What is told is told where the company is: at the record that changed."""
    moved = left(**home("c2"))
    from_right = plan(PEOPLE, OVERWRITE, R, moved, right(phone="2"), BOUND, ACME)
    assert (from_right.kind, from_right.reason, written(from_right)) == (ActionKind.UPDATE, None, {L: {"Phone": "2"}})
    from_left = plan(PEOPLE, OVERWRITE, L, moved, right(phone="2"), BOUND, ACME)
    assert (from_left.kind, from_left.reason) == (ActionKind.UPDATE, "COMPANY_CANNOT_CHANGE")
    assert written(from_left) == {L: {"Phone": "2"}}


@pytest.mark.rule("TR-11")
def test_a_company_that_is_as_it_was_or_is_not_told_is_no_change() -> None:
    untold = replace(left(), complete=False, fields={k: v for k, v in left().fields.items() if "." not in k})
    for record in (left(), untold):
        action = plan(PEOPLE, OVERWRITE, L, record, right(), BOUND, ACME)
        assert (action.kind, action.reason) == (ActionKind.UNCHANGED, None)
    lost = plan(PEOPLE, OVERWRITE, L, left(**home("c2")), right(), BOUND)
    assert (lost.kind, lost.reason) == (ActionKind.UNCHANGED, None), "its parents are not bound any more"


@pytest.mark.rule("TR-11", "LG-4")
def test_what_forbids_a_write_is_told_before_the_company() -> None:
    action = plan(PEOPLE, OVERWRITE, L, left(First=None, **home("c2")), right(), BOUND, ACME)
    assert (action.kind, action.reason, action.detail) == (ActionKind.FAIL, "MANDATORY_FIELD_EMPTY", "First name")


# A record that has moved to another pair

MOVED = bound(BASE, state=BindingState.MOVED)


@pytest.mark.rule("DU-10")
@pytest.mark.parametrize(
    ("source", "mine", "theirs"),
    [
        (L, left(Phone="2"), customer()),
        (R, left(), customer(phone="2")),
        (R, single(), customer(phone="2")),
    ],
    ids=["in a company", "its customer", "its customer, while it is out again"],
)
def test_a_customer_whose_contact_has_moved_into_a_company_stays_as_it_is(
    source: Side, mine: Record, theirs: Record
) -> None:
    action = plan(SINGLES, OVERWRITE, source, mine, theirs, MOVED)
    assert (action.kind, action.reason) == (ActionKind.SKIP, "MOVED")
    assert (action.writes, action.base) == ({}, BASE)


@pytest.mark.rule("DU-10")
def test_a_contact_that_has_left_its_company_goes_on_with_its_customer() -> None:
    action = plan(SINGLES, OVERWRITE, L, single(Phone="2"), customer(), MOVED)
    assert (action.kind, written(action)) == (ActionKind.UPDATE, {R: {"phone": "2"}}), "from its old base"
    assert plan(SINGLES, OVERWRITE, L, single(), customer(), MOVED).kind is ActionKind.UNCHANGED
    business = plan(SINGLES, OVERWRITE, L, single(), customer(sub_type="business"), MOVED)
    assert business.reason == "WRONG_TYPE"


@pytest.mark.rule("DU-10", "TR-9")
def test_a_moved_record_that_is_gone_is_gone() -> None:
    assert plan(SINGLES, OVERWRITE, L, None, customer(), MOVED).reason == "SOURCE_DELETED"
    assert plan(SINGLES, OVERWRITE, L, left(), None, MOVED).reason == "TWIN_DELETED"


@pytest.mark.rule("DU-10")
def test_one_that_cannot_gain_a_parent_never_comes_back_from_a_move() -> None:
    """Where any contact is an individual, there is nothing to be without."""
    pair = replace(SINGLES, scope={R: SINGLES.scope[R]})
    assert plan(pair, OVERWRITE, L, single(Phone="2"), customer(), MOVED).reason == "MOVED"
