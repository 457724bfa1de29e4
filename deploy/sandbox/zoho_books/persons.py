"""Contact persons: they live inside their contact, and the primary one gives the list row its name and email."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.zoho_books import errors, wire

# Lengths [V], skype included.
LENGTHS = {
    "salutation": 25, "first_name": 100, "last_name": 100, "email": 100, "phone": 50, "mobile": 50,
    "designation": 100, "department": 50, "skype": 50,
}  # fmt: skip
FLAGS = ("is_primary_contact", "enable_portal")


def changed_person(held: JsonObject | None, given: JsonObject, new_id: Callable[[], str]) -> JsonObject:
    person: JsonObject = dict(held) if held else {"contact_person_id": new_id(), **dict.fromkeys(LENGTHS, "")}
    person.update(wire.check_texts(given, LENGTHS))
    email = person["email"]
    if email and ("@" not in email or " " in email):
        raise errors.bad_value("email")
    for flag in FLAGS:
        person[flag] = bool(given.get(flag, person.get(flag, False)))
    return person


def replaced_list(held: Iterable[JsonObject], given: Any, new_id: Callable[[], str]) -> list[JsonObject]:
    """The list of a write replaces the one held: who is not named by contact_person_id goes [T]."""
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise errors.bad_value("contact_persons")
    known = {person["contact_person_id"]: person for person in held}
    after: list[JsonObject] = []
    for one in given:
        wanted = str(one.get("contact_person_id") or "")
        if wanted and wanted not in known:
            raise errors.not_found("Contact person")
        after.append(changed_person(known.get(wanted), one, new_id))
    return with_one_primary(after, next((one for one in given if one.get("is_primary_contact")), None), given)


def with_one_primary(persons: list[JsonObject], asked: JsonObject | None, given: list[JsonObject]) -> list[JsonObject]:
    """Exactly one is primary: the first that the write marks, else the one held so far, else the first."""
    if not persons:
        return persons
    place = given.index(asked) if asked is not None else None
    if place is None:
        place = next((number for number, one in enumerate(persons) if one["is_primary_contact"]), 0)
    return make_primary(persons, persons[place]["contact_person_id"])


def make_primary(persons: list[JsonObject], person_id: str) -> list[JsonObject]:
    return [{**one, "is_primary_contact": one["contact_person_id"] == person_id} for one in persons]


def primary_of(data: JsonObject) -> JsonObject:
    persons: list[JsonObject] = data.get("contact_persons") or []
    return next((one for one in persons if one["is_primary_contact"]), {})
