"""The organisation's custom fields. They must be made before they can be written, per module ("contact", "item")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.zoho_books import errors


@dataclass(frozen=True, slots=True)
class CustomField:
    """`unique` is the vendor's "no duplicates"; only such a field can be upserted by."""

    id: str
    index: int
    api_name: str
    label: str
    unique: bool
    data_type: str = "string"

    def describe(self) -> JsonObject:
        return {
            "customfield_id": self.id, "field_id": self.id, "index": self.index, "api_name": self.api_name,
            "label": self.label, "field_name": self.api_name, "is_unique": self.unique, "data_type": self.data_type,
            "is_custom_field": True,
        }  # fmt: skip

    def show(self, value: Any) -> JsonObject:
        return {
            "customfield_id": self.id, "index": self.index, "api_name": self.api_name, "label": self.label,
            "data_type": self.data_type, "value": value, "value_formatted": str(value),
        }  # fmt: skip


class CustomFields:
    def __init__(self) -> None:
        self._fields: dict[str, list[CustomField]] = {}
        self._next_id = 460000000790001

    def of(self, entity: str) -> list[CustomField]:
        return self._fields.get(entity, [])

    def named(self, entity: str, api_name: str) -> CustomField | None:
        return next((field for field in self.of(entity) if field.api_name == api_name), None)

    def define(self, entity: str, given: JsonObject) -> CustomField:
        """{api_name, label, unique | is_unique, data_type}. One that exists is replaced and keeps its id."""
        label = str(given.get("label") or given.get("api_name") or "")
        api_name = str(given.get("api_name") or "cf_" + label.lower().replace(" ", "_"))
        held = self.named(entity, api_name)
        fields = self._fields.setdefault(entity, [])
        self._next_id += 1
        number, index = (held.id, held.index) if held else (str(self._next_id), len(fields) + 1)
        unique = bool(given.get("unique") or given.get("is_unique"))
        made = CustomField(number, index, api_name, label or api_name, unique, str(given.get("data_type") or "string"))
        self._fields[entity] = [*(field for field in fields if field is not held), made]
        return made

    def clear(self) -> None:
        self._fields.clear()

    def values(self, entity: str, given: Any) -> JsonObject:
        """Api name to value of `[{customfield_id | index | api_name | label, value}]`; an unknown one: refused [I]."""
        if given is None:
            return {}
        if not isinstance(given, list):
            raise errors.bad_value("custom_fields")
        values: JsonObject = {}
        for entry in given:
            field = self._pick(entity, entry) if isinstance(entry, dict) else None
            if field is None:
                raise errors.bad_value("custom_fields")
            values[field.api_name] = entry.get("value")
        return values

    def _pick(self, entity: str, entry: JsonObject) -> CustomField | None:
        for field in self.of(entity):
            if str(entry.get("customfield_id", "")) == field.id or entry.get("api_name") == field.api_name:
                return field
            if entry.get("index") == field.index or entry.get("label") == field.label:
                return field
        return None

    def show(self, entity: str, values: JsonObject) -> JsonObject:
        """Both forms of an answer: the list, and the hash by api name."""
        held = [field for field in self.of(entity) if values.get(field.api_name) not in (None, "")]
        return {
            "custom_fields": [field.show(values[field.api_name]) for field in held],
            "custom_field_hash": {field.api_name: values[field.api_name] for field in held},
        }
