"""Zoho Books' wire: envelopes, and records from and to it. Unknown fields are accepted everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, field_validator

from shared.connectors import wire
from shared.connectors._zoho.taxes import TAX, tax_text
from shared.connectors.zoho_books.modules import (
    ADDRESS_GROUPS,
    CONTACT_PERSONS,
    CONTACTS,
    MODULES,
    PERSON_FIELDS,
    PRIMARY_ID,
    TAX_ID,
    Module,
)
from shared.sync.inside import inner_id
from shared.sync.model import Change, FieldDef, FieldKind, Fields, ModuleName, Record, RecordId, Value
from shared.sync.values import convert

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
    time_zone: str = ""


class Organizations(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    organizations: list[Organization]


class FieldRow(BaseModel):
    """One of `fields` of GET /settings/fields [T]; max_length, is_active and pii_type as with custom modules [V]."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True, coerce_numbers_to_str=True)

    api_name: str
    customfield_id: str = ""
    label: str = ""
    data_type: str = "string"
    is_mandatory: bool = False
    is_read_only: bool = False
    is_active: bool = True
    is_unique: bool = False
    is_custom_field: bool = True
    pii_type: str = "non_pii"
    max_length: int | None = None
    values: list[dict[str, object]] = []

    def definition(self) -> FieldDef:
        return FieldDef(
            self.api_name,
            _KINDS.get(self.data_type, FieldKind.TEXT),
            self.label,
            required=self.is_mandatory,
            read_only=self.is_read_only,
            pii=self.pii_type != "non_pii",
            max_length=self.max_length,
            picklist=tuple(name for one in self.values if (name := wire.text(one.get("name"))) is not None),
            custom=True,
            wire_id=self.customfield_id,
        )


class FieldRows(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    fields: list[FieldRow]


class Currency(BaseModel):
    """Source: currency.yml, list-currencies-response [V]."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, coerce_numbers_to_str=True)

    currency_id: str
    currency_code: str
    is_base_currency: bool = False


class Currencies(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    currencies: list[Currency]


class Tax(BaseModel):
    """Source: taxes.yml, list-taxes-response [V]."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, coerce_numbers_to_str=True)

    tax_id: str
    tax_name: str
    tax_percentage: Decimal


class Taxes(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    taxes: list[Tax]


class HookRow(BaseModel):
    """A webhook, or the workflow that sets it off [I]."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, coerce_numbers_to_str=True)

    webhook_id: str = ""
    webhook_name: str = ""
    workflow_id: str = ""
    workflow_name: str = ""


class Hooks(BaseModel):
    """A list of either kind, or one that was made [I]."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    webhooks: list[HookRow] = []
    workflows: list[HookRow] = []
    webhook: HookRow | None = None


_KINDS = {
    "number": FieldKind.NUMBER,
    "decimal": FieldKind.NUMBER,
    "amount": FieldKind.NUMBER,
    "percent": FieldKind.NUMBER,
    "date": FieldKind.DATE,
    "check_box": FieldKind.BOOLEAN,
    "dropdown": FieldKind.PICKLIST,
}


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


def record_of(module: Module, row: Row, persons: Module = MODULES[CONTACT_PERSONS], *, complete: bool) -> Record:
    """In a thin row only what it holds is known. Raises ValueError where the row has no id."""
    record_id = wire.text(row.get(module.id_key))
    if record_id is None:
        raise ValueError("a record without id")
    source = {**_primary_person(row), **row} if module.name == CONTACTS else row
    custom = _custom_values(row)
    told = custom is not None or not module.custom
    fields = {
        field.name: _tax(source) if field.name == TAX else _value(field, source)
        for field in module.fields
        if not field.custom and (complete or (TAX_ID if field.name == TAX else field.name.partition(".")[0]) in source)
    }
    if complete and custom is not None:
        fields |= {field.name: wire.decode(field.kind, custom.get(field.name)) for field in module.custom}
    return Record(
        id=RecordId(record_id),
        fields=fields,
        modified_at=wire.utc(row.get("last_modified_time")),
        inactive=row.get("status") == "inactive",
        complete=complete and told,
        children=_persons_of(row, record_id, persons) if complete and module.name == CONTACTS else {},
    )


def _tax(row: Mapping[str, object]) -> str | None:
    rate = wire.decode(FieldKind.NUMBER, row.get("tax_percentage"))
    return tax_text(wire.text(row.get("tax_name")), rate if isinstance(rate, Decimal) else None)


def _custom_values(row: Mapping[str, object]) -> Mapping[str, object] | None:
    """By api name; None where the answer does not speak of custom fields: that is not the same as blank."""
    by_name = row.get("custom_field_hash")
    if isinstance(by_name, Mapping):
        return by_name
    listed = row.get("custom_fields")
    if not isinstance(listed, list):
        return None
    return {str(one.get("api_name")): one.get("value") for one in listed if isinstance(one, Mapping)}


def person_of(
    row: Mapping[str, object], contact_id: str, persons: Module = MODULES[CONTACT_PERSONS], *, inactive: bool = False
) -> Record:
    """A contact person, as it stands in its contact or in the answer of its own calls. Raises ValueError without id."""
    own_id = wire.text(row.get("contact_person_id"))
    if own_id is None:
        raise ValueError("a contact person without id")
    source = {**row, "contact_id": contact_id}
    fields = {field.name: _value(field, source) for field in persons.fields if not field.custom}
    custom = _custom_values(row)
    if custom is not None:
        fields |= {field.name: wire.decode(field.kind, custom.get(field.name)) for field in persons.custom}
    told = custom is not None or not persons.custom
    return Record(inner_id(contact_id, own_id), fields, inactive=inactive, complete=told)


def _persons_of(row: Row, contact_id: str, module: Module) -> dict[ModuleName, tuple[Record, ...]]:
    """Empty where the answer does not speak of persons at all."""
    persons = row.get("contact_persons")
    if not isinstance(persons, list):
        return {}
    inactive = row.get("status") == "inactive"
    return {
        CONTACT_PERSONS: tuple(
            person_of(one, contact_id, module, inactive=inactive) for one in persons if isinstance(one, dict)
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
    custom = _custom_body(module, given)
    given = {name: value for name, value in given.items() if name not in {one.name for one in module.custom}}
    if module.name != CONTACTS:
        return {**wire.nested(given.items()), **custom}
    person = {name: given.pop(name) for name in PERSON_FIELDS if name in given}
    body = {**wire.nested(given.items()), **custom}
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
    own = {one.name for one in module.custom}
    # What a list of some of them does to the others is not established: they go together, like the lines of an address.
    custom = {name: current.get(name) for name in own if name in current.fields} if own & changed.keys() else {}
    sent = {name: value for name, value in (kept | changed).items() if name not in own}
    given = {name: value for name, value in (custom | changed).items() if name in own}
    return {**wire.nested(_sent(module, sent.items())), **_custom_body(module, given)}


def custom_rows(module: Module, current: Record, changes: Iterable[Change]) -> list[Row]:
    """All custom fields of a record, with what changed. Raises ValueError for a change of anything else."""
    changed = {change.field: change.new for change in changes}
    own = {one.name for one in module.custom}
    if not changed.keys() <= own:
        raise ValueError(f"of {module.label} custom fields alone are written")
    return _custom_rows(module, {name: current.get(name) for name in own if name in current.fields} | changed)


def stamped_body(module: Module, fields: Fields, stamp_field: str, stamp: str) -> Row:
    """Of an upsert: its own value is in the body too, for whether the header alone sets it is not established."""
    return create_body(module, {**fields, stamp_field: stamp})


def _custom_body(module: Module, fields: Fields) -> Row:
    listed = _custom_rows(module, fields)
    return {"custom_fields": listed} if listed else {}


def _custom_rows(module: Module, fields: Fields) -> list[Row]:
    """[{customfield_id, value}] [V]; by api name where the id is not known [T]. The vendor's files have text for a
    value of whatever kind; a blank is sent as empty text [I]."""
    listed: list[Row] = []
    for one in module.custom:
        if one.name in fields and not one.read_only:
            key = {"customfield_id": one.wire_id} if one.wire_id else {"api_name": one.name}
            listed.append({**key, "value": convert(fields[one.name], FieldKind.TEXT) or ""})
    return listed


def _sent(module: Module, pairs: Iterable[tuple[str, Value]]) -> Iterable[tuple[str, Value]]:
    """A blank is sent as empty text, where the field is text: null is not in the vendor's schemas [I]."""
    kinds = {field.name: field.kind for field in module.fields}
    for name, value in pairs:
        is_text = kinds.get(name) not in (FieldKind.NUMBER, FieldKind.BOOLEAN)
        yield name, "" if value is None and is_text else value
