"""Zoho Books' wire: envelopes, and records from and to it. Unknown fields are accepted everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict, field_validator

from shared.connectors import wire
from shared.connectors.zoho_books.modules import ADDRESS_GROUPS, CONTACTS, PERSON_FIELDS, Module
from shared.sync.model import Change, FieldDef, FieldKind, Fields, Record, RecordId, Value

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
    )


def _primary_person(row: Row) -> Row:
    """The persons' own answer shows the primary one in a list; list rows have it at the top."""
    persons = row.get("contact_persons")
    for person in persons if isinstance(persons, list) else []:
        if isinstance(person, Mapping) and person.get("is_primary_contact") is True:
            return {name: person[name] for name in PERSON_FIELDS if name in person}
    return {}


def _value(field: FieldDef, row: Mapping[str, object]) -> Value:
    group, dot, inner = field.name.partition(".")
    value = row.get(group)
    if not dot:
        return wire.decode(field.kind, value)
    return wire.decode(field.kind, value.get(inner)) if isinstance(value, Mapping) else None


def create_body(module: Module, fields: Fields) -> Row:
    """Blank fields are left out: the vendor's own defaults apply."""
    return wire.nested((name, value) for name, value in fields.items() if value is not None)


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
