"""Zoho FSM's wire: envelopes, and records from and to it. Unknown fields are accepted everywhere.

A record's nested groups become dotted writing names: read keys of an address are prefixed (`Service_Street_1`), in
`fields` they are `Service_Address.Street_1`, as they are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

from shared.connectors import wire
from shared.connectors._zoho.taxes import TAX, tax_name, tax_text
from shared.connectors.zoho_fsm.modules import ADDRESS_GROUPS, FULL_NAME, STAMP, Module
from shared.sync.model import Change, FieldDef, FieldKind, Fields, Record, RecordId, Value

Row = dict[str, object]


class Info(BaseModel):
    """Shape: {page, per_page, count, more_records}."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    page: int = 1
    per_page: int = 200
    more_records: bool


class ListAnswer(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    data: list[Row]
    info: Info


class OneAnswer(BaseModel):
    """Shape of one record: {data: [{…}]}."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    data: list[Row] = Field(min_length=1)


class FieldRow(BaseModel):
    """One of `fields` of GET /settings/fields, in the shape of the family's CRM [I]."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    api_name: str
    field_label: str = ""
    data_type: str = "text"
    length: int | None = None
    system_mandatory: bool = False
    read_only: bool = False
    custom_field: bool = False
    private: dict[str, object] | None = None
    pick_list_values: list[dict[str, object]] = []

    def definition(self) -> FieldDef:
        values = (wire.text(one.get("actual_value")) for one in self.pick_list_values)
        return FieldDef(
            self.api_name,
            _KINDS.get(self.data_type, FieldKind.TEXT),
            self.field_label,
            required=self.system_mandatory,
            read_only=self.read_only,
            pii=self.private is not None,
            max_length=self.length,
            picklist=tuple(value for value in values if value is not None),
            custom=True,
        )


class FieldRows(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    fields: list[FieldRow]


_KINDS = {
    "integer": FieldKind.NUMBER,
    "double": FieldKind.NUMBER,
    "boolean": FieldKind.BOOLEAN,
    "date": FieldKind.DATE,
    "datetime": FieldKind.DATETIME,
    "picklist": FieldKind.PICKLIST,
}


def record_of(module: Module, row: Row) -> Record:
    """Raises ValueError where the row has no id. A row whose address is only an id and a name is thin, and so is one
    that does not speak of a lookup: no company, and a company that is not told, are two things."""
    record_id = wire.text(row.get("id"))
    if record_id is None:
        raise ValueError("a record without id")
    unsaid = {name for name in module.lookups if name not in row}
    fields = {
        field.name: _MADE[field.name](row) if field.name in _MADE else _value(field, row)
        for field in (*module.fields, *((FieldDef(STAMP),) if module.linked else ()))
        if ("Tax" if field.name == TAX else field.name.partition(".")[0]) not in unsaid
    }
    # Custom fields are scalars at the top whose names end in __C; they are written as they are read.
    fields |= {name: wire.decode(_kind_of(value), value) for name, value in row.items() if name.endswith("__C")}
    return Record(
        id=RecordId(record_id),
        fields=fields,
        modified_at=wire.utc(row.get("Modified_Time")),
        inactive=row.get("$inactive") is True,
        complete=not unsaid
        and not any(_is_reference(row.get(group), prefix) for group, prefix in ADDRESS_GROUPS.items()),
    )


def _full_name(row: Row) -> str | None:
    parts = (wire.text(row.get(name)) for name in ("First_Name", "Last_Name"))
    return " ".join(part.strip() for part in parts if part) or None


def _tax(row: Row) -> str | None:
    group = row.get("Tax")
    if not isinstance(group, Mapping):
        return None
    rate = wire.decode(FieldKind.NUMBER, group.get("Tax_Percentage"))
    return tax_text(wire.text(group.get("Tax_Name")), rate if isinstance(rate, Decimal) else None)


_MADE = {FULL_NAME: _full_name, TAX: _tax}


def with_tax_group(fields: Fields) -> Fields:
    """The vendor takes a tax by its name; its id and its rate follow [I]."""
    if TAX not in fields:
        return fields
    given = {name: value for name, value in fields.items() if name != TAX}
    text = fields[TAX]
    named = {"Tax.Tax_Name": None, "Tax.Tax_Id": None} if text is None else _named(str(text))
    return {**given, **named}


def _named(text: str) -> dict[str, Value]:
    return {"Tax.Taxable": True, "Tax.Tax_Name": tax_name(text), "Tax.Tax_Id": None}


def _kind_of(value: object) -> FieldKind:
    if isinstance(value, bool):
        return FieldKind.BOOLEAN
    return FieldKind.TEXT if value is None or isinstance(value, str) else FieldKind.NUMBER


def _is_reference(address: object, prefix: str) -> bool:
    """An address that shows none of its lines: that says nothing of them."""
    return isinstance(address, Mapping) and bool(address) and not any(str(key).startswith(prefix) for key in address)


def _value(field: FieldDef, row: Row) -> Value:
    group, dot, inner = field.name.partition(".")
    value = row.get(group)
    if not dot:
        return wire.decode(field.kind, value)
    return wire.decode(field.kind, value.get(_read_key(group, inner))) if isinstance(value, Mapping) else None


def _read_key(group: str, inner: str) -> str:
    if group not in ADDRESS_GROUPS or inner == "id":
        return inner
    return "name" if inner == "Address_Name" else f"{ADDRESS_GROUPS[group]}{inner}"


def create_body(fields: Fields) -> Row:
    """Blank fields are left out: the vendor's own defaults apply."""
    return wire.nested((name, value) for name, value in with_tax_group(fields).items() if value is not None)


def update_body(current: Record, changes: Iterable[Change]) -> Row:
    """What changed; where a line of an address or of the tax changed, its whole group (the vendor replaces groups).

    A group that was not there has no id and is sent without one.
    """
    changed = dict(with_tax_group({change.field: change.new for change in changes}))
    groups = {name.partition(".")[0] for name in changed if "." in name}
    kept = {
        name: value
        for name, value in current.fields.items()
        if name.partition(".")[0] in groups and "." in name and _kept_in_group(name, value)
    }
    return wire.nested((kept | changed).items())


def _kept_in_group(name: str, value: Value) -> bool:
    # The percentage follows from the tax; an id that is not there must not be sent as null.
    return name != "Tax.Tax_Percentage" and not (name.endswith(".id") and value is None)


class Currency(BaseModel):
    """In the shape of the CRM's [I]."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    iso_code: str
    is_active: bool = True
    is_base: bool = False


class Currencies(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    currencies: list[Currency]


class Written(BaseModel):
    """One element of a write's answer. Shapes: {id, Modified_Time, …} and {code, details: {id, …}, message, status}."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    id: str
    modified_at: datetime | None = None


def written_of(element: Row) -> Written:
    """Raises ValueError where the element names no id."""
    details = element.get("details")
    shown = details if isinstance(details, Mapping) and "id" in details else element
    record_id = wire.text(shown.get("id"))
    if record_id is None:
        raise ValueError("a write's answer without id")
    return Written(id=record_id, modified_at=wire.utc(shown.get("Modified_Time")))


def elements_of(body: Row) -> list[Row]:
    """A write's elements in the order of the request.

    Shapes: {data: {Module: [{UID: "Module_0", …}]}} (create) and {data: [{…}]} (update). Raises ValueError.
    """
    data = body.get("data")
    if isinstance(data, Mapping) and len(data) == 1:
        data = next(iter(data.values()))
    if not isinstance(data, list) or not all(isinstance(element, dict) for element in data):
        raise ValueError("a write's answer without elements")
    return sorted(data, key=_index_of)


def _index_of(element: Row) -> int:
    """`UID` counts the request's elements: Service_And_Parts_0. The sort is stable for those without."""
    last = str(element.get("UID", "")).rpartition("_")[2]
    return int(last) if last.isascii() and last.isdigit() else 0
