"""The organisation's custom fields. They must be made before they can be written, per entity."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.zoho_books import custom_values, errors

ENTITIES = ("contact", "item", "contact_person", "invoice")
# `non_pii` and the name `pii_type` are [V] (custom modules); the other values are [I].
PII_TYPES = ("non_pii", "pii", "sensitive_pii")


@dataclass(frozen=True, slots=True)
class CustomField:
    """`unique` is the vendor's "no duplicates"; only such a field can be upserted by. `options` are a dropdown's."""

    id: str
    index: int
    api_name: str
    label: str
    unique: bool = False
    data_type: str = "string"
    mandatory: bool = False
    active: bool = True
    pii_type: str = "non_pii"
    options: tuple[str, ...] = ()

    def describe(self) -> JsonObject:
        """is_active, is_mandatory, pii_type, max_length as in the vendor's file of custom modules [V]; the rest [T]."""
        shown: JsonObject = {
            "customfield_id": self.id, "field_id": self.id, "index": self.index, "api_name": self.api_name,
            "label": self.label, "field_name": self.api_name, "is_unique": self.unique, "data_type": self.data_type,
            "is_custom_field": True, "is_mandatory": self.mandatory, "is_active": self.active,
            "pii_type": self.pii_type, "is_system": False, "is_read_only": False,
        }  # fmt: skip
        if self.data_type in custom_values.MAX_LENGTHS:
            shown["max_length"] = custom_values.MAX_LENGTHS[self.data_type]
        if self.data_type == "dropdown":
            shown["values"] = [
                {"name": name, "order": order, "is_active": True} for order, name in enumerate(self.options)
            ]
        return shown

    def show(self, value: Any) -> JsonObject:
        return {
            "customfield_id": self.id, "index": self.index, "api_name": self.api_name, "label": self.label,
            "data_type": self.data_type, "value": value, "value_formatted": custom_values.formatted(value),
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
        """{label, api_name, data_type, values, is_mandatory, is_unique | unique, is_active, pii_type}. One that exists
        is replaced and keeps its id and index."""
        if entity not in ENTITIES:
            raise errors.bad_value("entity")
        label = str(given.get("label") or given.get("api_name") or "")
        api_name = str(given.get("api_name") or _api_name(label))
        held = self.named(entity, api_name)
        made = self._made(given, label or api_name, api_name, held, entity)
        self._fields[entity] = [*(field for field in self.of(entity) if field is not held), made]
        return made

    def _made(self, given: JsonObject, label: str, api_name: str, held: CustomField | None, entity: str) -> CustomField:
        data_type, options = custom_values.data_type_of(given.get("data_type")), _options(given.get("values"))
        pii_type = str(given.get("pii_type") or "non_pii")
        if pii_type not in PII_TYPES:
            raise errors.bad_value("pii_type")
        if data_type == "dropdown" and not options:
            raise errors.empty("values")
        self._next_id += 1
        free = max((field.index for field in self.of(entity)), default=0) + 1
        return CustomField(
            id=held.id if held else str(self._next_id), index=held.index if held else free, api_name=api_name,
            label=label, unique=bool(given.get("unique") or given.get("is_unique")), data_type=data_type,
            mandatory=bool(given.get("is_mandatory")), active=bool(given.get("is_active", True)), pii_type=pii_type,
            options=options,
        )  # fmt: skip

    def drop(self, entity: str, api_name: str) -> None:
        """Its values stay in the records, unseen [I]. KeyError when there is none."""
        if self.named(entity, api_name) is None:
            raise KeyError(api_name)
        self._fields[entity] = [field for field in self.of(entity) if field.api_name != api_name]

    def clear(self) -> None:
        self._fields.clear()

    def values(self, entity: str, given: Any) -> JsonObject:
        """Api name to checked value of `[{customfield_id | index | api_name | label, value}]`. An unknown or inactive
        field is refused [I]."""
        if given is None:
            return {}
        if not isinstance(given, list):
            raise errors.bad_value("custom_fields")
        values: JsonObject = {}
        for entry in given:
            field = self._pick(entity, entry) if isinstance(entry, dict) else None
            if field is None or not field.active:
                raise errors.bad_value("custom_fields")
            value = entry.get("value")
            values[field.api_name] = custom_values.checked(field.label, field.data_type, field.options, value)
        return values

    def _pick(self, entity: str, entry: JsonObject) -> CustomField | None:
        """By the first of these keys that the entry has, and by no other."""
        for key, name in (("customfield_id", "id"), ("api_name", "api_name"), ("index", "index"), ("label", "label")):
            if entry.get(key) not in (None, ""):
                wanted = str(entry[key])
                return next((field for field in self.of(entity) if str(getattr(field, name)) == wanted), None)
        return None

    def check_mandatory(self, entity: str, after: JsonObject, written: JsonObject | None) -> None:
        """A create must fill them; an update must not empty them, but may leave empty what was so before [I].
        `written` None means a create."""
        for field in self.of(entity):
            looked_at = written is None or field.api_name in written
            if field.mandatory and field.active and looked_at and after.get(field.api_name) in (None, ""):
                raise errors.empty(field.label)

    def show(self, entity: str, values: JsonObject) -> JsonObject:
        """Both forms of an answer: the list, and the hash by api name. Fields without a value are left out."""
        held = [field for field in self.of(entity) if field.active and values.get(field.api_name) not in (None, "")]
        return {
            "custom_fields": [field.show(values[field.api_name]) for field in held],
            "custom_field_hash": {field.api_name: values[field.api_name] for field in held},
        }


def _api_name(label: str) -> str:
    return "cf_" + re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")


def _options(given: Any) -> tuple[str, ...]:
    """A dropdown's values: names, or objects with a name."""
    if not isinstance(given, list):
        return ()
    return tuple(str(one["name"] if isinstance(one, dict) else one) for one in given)
