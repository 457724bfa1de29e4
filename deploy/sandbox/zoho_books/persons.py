"""Contact persons: they live inside their contact, and the primary one gives it its name, email and phones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.zoho_books import errors, wire
from deploy.sandbox.zoho_books.custom_fields import CustomFields

ENTITY = "contact_person"
# Lengths in a contact's list [V], skype included.
LENGTHS = {
    "salutation": 25, "first_name": 100, "last_name": 100, "email": 100, "phone": 50, "mobile": 50,
    "designation": 100, "department": 50, "skype": 50,
}  # fmt: skip
# The single calls allow a designation half of that [V].
SINGLE_LENGTHS = {**LENGTHS, "designation": 50}
# What the contact itself shows of its primary person, and takes for it [T for reading, I for writing].
MIRRORED = ("first_name", "last_name", "email", "phone", "mobile")
FLAGS = ("is_primary_contact", "enable_portal")
PREFERENCES = ("is_sms_enabled", "is_whatsapp_enabled")


class Persons:
    def __init__(self, custom_fields: CustomFields, new_id: Callable[[], str]) -> None:
        self._custom_fields = custom_fields
        self._new_id = new_id

    # Writing. What is not `checked` is a seed or a person's edit, which goes past the rules.

    def changed(
        self, held: JsonObject | None, given: JsonObject, lengths: Mapping[str, int] = LENGTHS, checked: bool = True
    ) -> JsonObject:
        person = dict(held) if held else self._empty(given, checked)
        texts = {name: given[name] for name in LENGTHS if name in given}
        person.update(wire.check_texts(given, lengths) if checked else texts)
        if checked and not _is_email(person["email"]):
            raise errors.bad_value("email")
        for flag in FLAGS:
            person[flag] = bool(given.get(flag, person[flag]))
        person["communication_preference"] = _preferences(person, given.get("communication_preference"))
        return self._with_custom(person, given, checked, is_new=held is None)

    def _empty(self, given: JsonObject, checked: bool) -> JsonObject:
        own_id = None if checked else given.get("contact_person_id")
        return {
            "contact_person_id": str(own_id or self._new_id()), **dict.fromkeys(LENGTHS, ""),
            **dict.fromkeys(FLAGS, False), "custom_field_hash": {},
        }  # fmt: skip

    def _with_custom(self, person: JsonObject, given: JsonObject, checked: bool, is_new: bool) -> JsonObject:
        written = self._custom_fields.values(ENTITY, given.get("custom_fields"))
        if not checked:
            written.update(given.get("custom_field_hash") or {})
        after = {**person["custom_field_hash"], **written}
        if checked:
            self._custom_fields.check_mandatory(ENTITY, after, None if is_new else written)
        return {**person, "custom_field_hash": after}

    def replaced(self, held: Iterable[JsonObject], given: Any, checked: bool = True) -> list[JsonObject]:
        """The list of a write replaces the one held: who is not named by contact_person_id goes [T]."""
        if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
            raise errors.bad_value("contact_persons")
        known = {person["contact_person_id"]: person for person in held}
        after: list[JsonObject] = []
        for one in given:
            wanted = str(one.get("contact_person_id") or "")
            if checked and wanted and wanted not in known:
                raise errors.not_found("Contact person")
            after.append(self.changed(known.get(wanted), one, checked=checked))
        place = next((number for number, one in enumerate(given) if one.get("is_primary_contact")), None)
        return with_one_primary(after, after[place]["contact_person_id"] if place is not None else None)

    def mirrored(self, held: list[JsonObject], given: JsonObject, checked: bool = True) -> list[JsonObject] | None:
        """A contact's own name, email and phones are written to its primary person, who is made where there is none
        [I]. None when the write names none of them, or empties what is not there."""
        names = MIRRORED if checked else tuple(LENGTHS)
        top = {name: given[name] for name in names if name in given}
        if not top or not (held or any(top.values())):
            return None
        primary = next((one for one in held if one["is_primary_contact"]), None)
        changed = self.changed(primary, top, checked=checked)
        after = [changed if one is primary else one for one in held]
        return with_one_primary(after if primary else [changed, *after], changed["contact_person_id"])

    # Reading

    def shown(self, person: JsonObject, contact_id: str | None = None) -> JsonObject:
        """No times: a person has none. Custom fields only where the organisation has some for persons [I]."""
        data = {key: value for key, value in person.items() if key != "custom_field_hash"}
        owner = {"contact_id": contact_id} if contact_id else {}
        custom = self._custom_fields.of(ENTITY) and self._custom_fields.show(ENTITY, person["custom_field_hash"])
        return {**owner, **data, "is_added_in_portal": person["enable_portal"], **(custom or {})}


def with_one_primary(persons: list[JsonObject], asked: str | None) -> list[JsonObject]:
    """Exactly one is primary: the one asked for, else the one held so far, else the first [I]."""
    if not persons:
        return persons
    held = next((one["contact_person_id"] for one in persons if one["is_primary_contact"]), None)
    primary = asked or held or persons[0]["contact_person_id"]
    return [{**one, "is_primary_contact": one["contact_person_id"] == primary} for one in persons]


def primary_of(data: JsonObject) -> JsonObject:
    persons: list[JsonObject] = data.get("contact_persons") or []
    return next((one for one in persons if one["is_primary_contact"]), {})


def _is_email(text: str) -> bool:
    return not text or ("@" in text and " " not in text)


def _preferences(person: JsonObject, given: Any) -> JsonObject:
    held: JsonObject = person.get("communication_preference") or dict.fromkeys(PREFERENCES, False)
    if not isinstance(given, dict):
        return held
    return {name: bool(given.get(name, held[name])) for name in PREFERENCES}
