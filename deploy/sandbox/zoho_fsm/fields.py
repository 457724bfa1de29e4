"""What a module of Zoho FSM takes and shows. A module is one file under `modules/` with a `MODULE`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.zoho_fsm import errors, wire


@dataclass(frozen=True, slots=True)
class Field:
    """`kind`: text, email, number, lookup, address, tax or any. `choices` maps what is written to what is kept. What is
    `read_only` is dropped from a write [I]."""

    kind: str = "text"
    length: int | None = None
    choices: Mapping[str, str] | None = None
    module: str | None = None
    read_only: bool = False


# Street 255 is [T]; the other lengths of an address are [I].
ADDRESS_LENGTHS = {
    "Address_Name": 100,
    "Street_1": 255,
    "Street_2": 255,
    "City": 100,
    "State": 100,
    "Zip_Code": 30,
    "Country": 100,
}


@dataclass(frozen=True, slots=True)
class Module:
    """`write_paths` are the names under which PUT and DELETE find a record. `constant` is shown in every row.

    `scope` is the module's name in a scope, by default its own; one that is not `in_all` needs more than `modules.all`.
    A lookup shows `name_field`, by default the first that is required. `inner` are modules that its lines name."""

    name: str
    fields: Mapping[str, Field]
    required: tuple[str, ...]
    searchable: tuple[str, ...]
    first_id: int
    tab_name: str
    constant: JsonObject = field(default_factory=dict)
    defaults: JsonObject = field(default_factory=dict)
    write_paths: tuple[str, ...] = ()
    seed_rank: int = 0
    scope: str = ""
    in_all: bool = True
    name_field: str = ""
    inner: tuple[str, ...] = ()


def check_value(name: str, rule: Field, value: Any) -> Any:
    """The value as it is kept; raises INVALID_DATA."""
    if value is None or rule.kind == "any":
        return value
    if rule.kind in ("text", "email"):
        return _check_text(name, rule, value)
    if rule.kind == "number":
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise errors.invalid_data(name, expected_data_type="double")
        return value
    if rule.kind == "lookup" and isinstance(value, str):
        return {"id": value}
    if not isinstance(value, dict):
        raise errors.invalid_data(name, expected_data_type="jsonobject")
    if rule.kind == "address":
        check_address(name, value)
    return value


def _check_text(name: str, rule: Field, value: Any) -> str:
    if not isinstance(value, str):
        raise errors.invalid_data(name, expected_data_type="text")
    if rule.choices is not None:
        if value not in rule.choices:
            raise errors.invalid_data(name, expected_values=sorted(rule.choices))
        return rule.choices[value]
    if rule.length is not None and len(value) > rule.length:
        raise errors.invalid_data(name, maximum_length=rule.length)
    if rule.kind == "email" and value and ("@" not in value or " " in value):
        raise errors.invalid_data(name, expected_data_type="email")
    return value


def check_address(group: str, value: JsonObject) -> None:
    for key, length in ADDRESS_LENGTHS.items():
        text = value.get(key)
        if text is None:
            continue
        if not isinstance(text, str):
            raise errors.invalid_data(key, group, expected_data_type="text")
        if len(text) > length:
            raise errors.invalid_data(key, group, maximum_length=length)


def spread_tax(given: JsonObject, held: JsonObject | None) -> JsonObject:
    """Tax keys come nested in `Tax`, or at the top of the record [I]; kept verbatim, together."""
    nested = given.get("Tax") if isinstance(given.get("Tax"), dict) else {}
    top = {key: given[key] for key in wire.TAX_KEYS if key in given}
    return {**(held or {}), **(nested or {}), **top}
