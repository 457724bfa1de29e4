"""Custom fields of a module: their names end in `__C` [V]. Types, checks and how they are described are those of the
family's CRM [I]."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.zoho_fsm import errors, wire

SUFFIX = "__C"
LENGTHS = {"text": 255, "textarea": 2000, "email": 100, "phone": 30, "website": 255}
DATA_TYPES = (*LENGTHS, "integer", "double", "date", "datetime", "picklist", "boolean")


@dataclass(frozen=True, slots=True)
class CustomField:
    """`personal` marks what the organisation holds as personal data."""

    id: str
    api_name: str
    label: str
    data_type: str
    length: int | None
    mandatory: bool
    personal: bool
    values: tuple[str, ...]

    def check(self, value: Any) -> Any:
        """The value as it is kept; raises INVALID_DATA."""
        if value in (None, ""):
            return None
        if not self._fits(value):
            raise errors.invalid_data(self.api_name, expected_data_type=self.data_type)
        if self.length is not None and len(value) > self.length:
            raise errors.invalid_data(self.api_name, maximum_length=self.length)
        return value

    def _fits(self, value: Any) -> bool:
        if self.data_type == "boolean":
            return isinstance(value, bool)
        if self.data_type in ("integer", "double"):
            kinds = int if self.data_type == "integer" else int | Decimal
            return isinstance(value, kinds) and not isinstance(value, bool)
        if not isinstance(value, str):
            return False
        if self.data_type == "picklist":
            return value in self.values
        return _is_moment(self.data_type, value)


class CustomFields:
    """While a module has none defined, every `…__C` is kept as given; once it has some, only those [I]."""

    def __init__(self) -> None:
        self._fields: dict[str, dict[str, CustomField]] = {}
        self._next_id = 1011000000900001

    def of(self, module: str) -> list[CustomField]:
        return list(self._fields.get(module, {}).values())

    def define(self, module: str, given: JsonObject) -> CustomField:
        """{label, api_name, data_type, length, mandatory, personal, values}. One that exists is replaced."""
        label = str(given.get("label") or given.get("api_name") or "").removesuffix(SUFFIX)
        api_name = str(given.get("api_name") or re.sub(r"\W+", "_", label) + SUFFIX)
        data_type = str(given.get("data_type") or "text")
        if not label or not api_name.endswith(SUFFIX) or data_type not in DATA_TYPES:
            raise ValueError(f"no custom field: {given}; types are {DATA_TYPES}, names end in {SUFFIX}")
        held = self._fields.setdefault(module, {}).get(api_name)
        self._next_id += 1
        made = CustomField(
            id=held.id if held else str(self._next_id), api_name=api_name, label=label, data_type=data_type,
            length=int(given["length"]) if given.get("length") else LENGTHS.get(data_type),
            mandatory=bool(given.get("mandatory")), personal=bool(given.get("personal")),
            values=tuple(given.get("values") or ()),
        )  # fmt: skip
        self._fields[module][api_name] = made
        return made

    def clear(self) -> None:
        self._fields.clear()

    def checked(self, module: str, given: JsonObject, held: JsonObject | None) -> JsonObject:
        """What a write changes. A create must fill the mandatory ones, an update must not empty them [I]."""
        fields = self._fields.get(module, {})
        if not fields:
            return {name: value for name, value in given.items() if name.endswith(SUFFIX)}
        changes = {name: field.check(given[name]) for name, field in fields.items() if name in given}
        for name, field in fields.items():
            if field.mandatory and changes.get(name) is None and (held is None or name in changes):
                raise errors.missing(name)
        return changes

    def shown(self, module: str) -> JsonObject:
        """Every field is in every row, null while it is empty [V]."""
        return dict.fromkeys(self._fields.get(module, {}))


def _is_moment(data_type: str, text: str) -> bool:
    """Whether a text is the date or time it has to be; true of every other text."""
    try:
        if data_type == "date":
            datetime.strptime(text, "%Y-%m-%d")  # noqa: DTZ007
        elif data_type == "datetime":
            wire.parse_time(text)
    except ValueError:
        return False
    return True
