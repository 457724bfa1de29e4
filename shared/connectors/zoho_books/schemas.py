"""Zoho Books' wire: envelopes, and records from and to it. Unknown fields are accepted everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict, field_validator

from shared.connectors import wire
from shared.connectors.zoho_books.modules import (
    ADDRESS_GROUPS,
    CONTACT_PERSONS,
    CONTACTS,
    MODULES,
    PERSON_FIELDS,
    PRIMARY_ID,
    Module,
)
from shared.sync.inside import inner_id
from shared.sync.model import Change, FieldDef, FieldKind, Fields, ModuleName, Record, RecordId, Value

Row = dict[str, object]

# A code follows from its name; sent beside a changed name it would put the old one back.
_CODE_OF = {"state": "state_code", "country": "country_code"}


class PageContext(BaseModel):
    """Shape: {page, per_page, has_more_page, sort_column, sort_order, …}."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    page: int = 1
    per_page: int = 200
    has_more_page: bool


class ListAnswer(BaseModel):
    """Shape: {code, message, contacts | items: […], page_context}; a few samples show page_context as a list."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    page_context: PageContext

    @field_validator("page_context", mode="before")
    @classmethod
    def _first_of_list(cls, value: object) -> object:
        return value[0] if isinstance(value, list) and value else value


class Organization(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True, coerce_numbers_to_str=True)

    organization_id: str
    name: str


class Organizations(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    organizations: list[Organization]


def rows_of(body: Row, key: str) -> list[Row]:
    """Raises ValueError where the list is missing or holds anything but objects."""
    rows = body.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"no list of {key}")
    return rows


def row_of(body: Row, key: str) -> Row:
    row = body.get(key)
    if not isinstance(row, dict):
        raise ValueError(f"no {key}")  # noqa: TRY004  like every other shape that is not the vendor's
    return row


def record_of(module: Module, row: Row, *, complete: bool) -> Record:
    """In a thin row only what it holds is known. Raises ValueError where the row has no id."""
    record_id = wire.text(row.get(module.id_key))
    if record_id is None:
        raise ValueError("a record without id")
    source = {**_primary_person(row), **row} if module.name == CONTACTS else row
    fields = {
        field.name: _value(field, source)
        for field in module.fields
        if complete or field.name.partition(".")[0] in source
    }
    return Record(
        id=RecordId(record_id),
        fields=fields,
        modified_at=wire.utc(row.get("last_modified_time")),
        inactive=row.get("status") == "inactive",
        complete=complete,
        children=_persons_of(row, record_id) if complete and module.name == CONTACTS else {},
    )


def person_of(row: Mapping[str, object], contact_id: str, *, inactive: bool = False) -> Record:
    """A contact person, as it stands in its contact or in the answer of its own calls. Raises ValueError without id."""
    own_id = wire.text(row.get("contact_person_id"))
    if own_id is None:
        raise ValueError("a contact person without id")
    source = {**row, "contact_id": contact_id}
    fields = {field.name: _value(field, source) for field in MODULES[CONTACT_PERSONS].fields}
    return Record(inner_id(contact_id, own_id), fields, inactive=inactive)


def _persons_of(row: Row, contact_id: str) -> dict[ModuleName, tuple[Record, ...]]:
    """Empty where the answer does not speak of persons at all."""
    persons = row.get("contact_persons")
    if not isinstance(persons, list):
        return {}
    inactive = row.get("status") == "inactive"
    return {
        CONTACT_PERSONS: tuple(
            person_of(one, contact_id, inactive=inactive) for one in persons if isinstance(one, dict)
        )
    }


def _primary_person(row: Row) -> Row:
    """The persons' own answer shows the primary one in a list; list rows have it at the top."""
    persons = row.get("contact_persons")
    for person in persons if isinstance(persons, list) else []:
        if isinstance(person, Mapping) and person.get("is_primary_contact") is True:
            shown = {name: person[name] for name in PERSON_FIELDS if name in person}
            return {**shown, PRIMARY_ID: person.get("contact_person_id")}
    return {}


def _value(field: FieldDef, row: Mapping[str, object]) -> Value:
    group, dot, inner = field.name.partition(".")
    value = row.get(group)
    if not dot:
        return wire.decode(field.kind, value)
    return wire.decode(field.kind, value.get(inner)) if isinstance(value, Mapping) else None


def create_body(module: Module, fields: Fields) -> Row:
    """Blank fields are left out: the vendor's own defaults apply. A new contact brings its primary person with it."""
    given = {name: value for name, value in fields.items() if value is not None}
    if module.name != CONTACTS:
        return wire.nested(given.items())
    person = {name: given.pop(name) for name in PERSON_FIELDS if name in given}
    body = wire.nested(given.items())
    return {**body, "contact_persons": [{**person, "is_primary_contact": True}]} if person else body


def person_body(current: Record, changes: Iterable[Change]) -> Row:
    """Of the primary person of a contact; the schema demands its contact and its first name. One that has none is sent
    without: the contacts' own file demands nothing of a person [V]."""
    changed = {change.field: "" if change.new is None else change.new for change in changes}
    first = {"first_name": current.get("first_name")} if current.get("first_name") else {}
    return {"contact_id": current.id, **first, **changed}


def update_body(module: Module, current: Record, changes: Iterable[Change]) -> Row:
    """What changed, whole groups of it (an address is replaced), and what the schema demands of every PUT."""
    changed = {change.field: change.new for change in changes}
    groups = {name.partition(".")[0] for name in changed if "." in name} & set(ADDRESS_GROUPS)
    stale = {f"{group}.{code}" for group in groups for name, code in _CODE_OF.items() if f"{group}.{name}" in changed}
    kept = {
        name: value
        for name, value in current.fields.items()
        if name in module.must or (name.partition(".")[0] in groups and name not in stale and value is not None)
    }
    return wire.nested(_sent(module, (kept | changed).items()))


def _sent(module: Module, pairs: Iterable[tuple[str, Value]]) -> Iterable[tuple[str, Value]]:
    """A blank is sent as empty text, where the field is text: null is not in the vendor's schemas [I]."""
    kinds = {field.name: field.kind for field in module.fields}
    for name, value in pairs:
        is_text = kinds.get(name) not in (FieldKind.NUMBER, FieldKind.BOOLEAN)
        yield name, "" if value is None and is_text else value
