"""A company's contacts live inside a customer in Books; an individual customer's fields are those of their person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.auditor.builders import (
    T0,
    World,
    binding,
    call,
    contact,
    delivery,
    edit,
    individual,
    lone_contact,
    person,
)
from tests.auditor.fields import BOOKS, FSM, PAIRS
from tests.auditor.seen import Binding, Integration, Record

LEE, LEE_THERE = "301", "46.7"
RAY, RAY_THERE = "302", "47"


def bound(left: Record, right: Record) -> Binding:
    fields = PAIRS[left.pair].fields
    agreed = {f"{one.left}|{one.right}": (left.values[one.name], right.values[one.name]) for one in fields}
    return replace(binding(left.id, right.id), pair=left.pair, base=agreed)


def world_of_people() -> World:
    """Type IV: the company and its customer, a contact of theirs, and one without a company."""
    world = World()
    lee, there = contact(LEE), person(LEE_THERE)
    ray, alone = lone_contact(RAY), individual(RAY_THERE)
    world.records += [lee, there, ray, alone]
    world.first += [lee, there, ray, alone]
    world.bindings += [bound(lee, there), bound(ray, alone)]
    world.tables["integrations"] = (Integration(1, "enabled", 1, 2, "IV"),)
    return world


def found(world: World) -> list[tuple[str, str, str]]:
    return [(one.promise, one.what, one.subject) for one in world.audit().findings]


def shown(world: World, record: Record) -> None:
    world.records = [one for one in world.records if one.key != record.key] + [record]


def lone_person(world: World) -> None:
    world.records.append(person("46.8", email="new@a.test"))
    world.first.append(world.records[-1])


def test_people_in_step_are_silent() -> None:
    assert found(world_of_people()) == []


def differing(world: World) -> None:
    shown(world, person(LEE_THERE, phone="2"))


def edit_lost(world: World) -> None:
    world.edits.append(edit({"mobile": "5"}, BOOKS, module="contact_persons", record_id=LEE_THERE))


def made_for_nothing(world: World) -> None:
    lone_person(world)
    world.calls.append(call(1, write=True, method="POST", inner="8"))


def written_for_nothing(world: World) -> None:
    """What happened to its customer is no cause."""
    world.edits.append(edit({"website": "https://a"}, BOOKS))
    world.calls.append(call(1, write=True, inner="7"))


def individual_written_for_nothing(world: World) -> None:
    """By the call of a person: it is the customer's all the same."""
    world.calls.append(call(1, write=True, record=RAY_THERE, inner="9"))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (differing, ("P5", "the sides differ in phone", f"contact_persons {LEE}/{LEE_THERE}")),
        (lone_person, ("P5", "a record has no twin, and no reason says why", f"{BOOKS} 46.8")),
        (edit_lost, ("P5", "an unclashed edit of mobile is lost", f"contact_persons {LEE}/{LEE_THERE}")),
        (made_for_nothing, ("P3", "the product made a record that belongs to nothing", f"{BOOKS} 46.8")),
        (written_for_nothing, ("P6", "1 updates, where 0 had a cause", f"{BOOKS} {LEE_THERE}")),
        (individual_written_for_nothing, ("P6", "1 updates, where 0 had a cause", f"{BOOKS} {RAY_THERE}")),
    ],
)
def test_people_out_of_step(spoil: Callable[[World], None], expected: tuple[str, str, str]) -> None:
    world = world_of_people()
    spoil(world)
    assert expected in found(world)


def test_an_edit_of_a_person_is_a_cause() -> None:
    world = world_of_people()
    world.edits.append(edit({"Phone": "2"}, FSM, module="Contacts", record_id=LEE))
    world.edits.append(edit({"Phone": "3"}, FSM, module="Contacts", record_id=RAY))
    for left, right in ((contact(LEE, phone="2"), person(LEE_THERE, phone="2")),
                        (lone_contact(RAY, phone="3"), individual(RAY_THERE, phone="3"))):  # fmt: skip
        shown(world, left)
        shown(world, right)
        world.bindings = [one for one in world.bindings if one.left_id != left.id] + [bound(left, right)]
    world.calls += [call(1, write=True, inner="7"), call(2, write=True, record=RAY_THERE, inner="9")]
    assert found(world) == []


def test_a_person_of_whose_customer_nobody_was_told_yet() -> None:
    world = world_of_people()
    differing(world)
    world.deliveries.append(delivery(1, BOOKS, accepted=False, lost=True, status=None, at_ms=T0 + 1_999))
    world.may(synced=False)
    assert found(world) == []


def test_a_person_is_read_with_their_customer() -> None:
    """So an edit between that read and a write of them may be undone: the write carries the first name as it was."""
    world = world_of_people()
    world.edits.append(edit({"first_name": "B"}, BOOKS, at=2_012, module="contact_persons", record_id=LEE_THERE))
    assert [one[1] for one in found(world)] == ["an unclashed edit of first_name is lost"]
    world.edits.append(edit({"Phone": "2"}, FSM, module="Contacts", record_id=LEE))
    left, right = contact(LEE, phone="2"), person(LEE_THERE, phone="2")
    shown(world, left)
    shown(world, right)
    world.bindings = [one for one in world.bindings if one.left_id != LEE] + [bound(left, right)]
    world.calls += [call(1), call(10, write=True, inner="7")]
    assert found(world) == []


def test_contacts_of_an_integration_without_them() -> None:
    world = world_of_people()
    world.tables["integrations"] = (Integration(1, "enabled", 1, 2, "I"),)
    world.bindings = world.bindings[:1]
    lone_person(world)
    assert found(world) == []
