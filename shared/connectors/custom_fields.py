"""Custom fields of an organisation (FM-7): read from the vendor by a probe, or told by a person where no call tells
them; and which fields hold personal data by an admin's word (FM-2). Both are kept as JSON, by module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from shared.errors import ConfigError
from shared.sync.model import FieldDef, FieldKind

MOST_FIELDS = 500
MOST_VALUES = 1_000


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("no control characters")
    return value


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]


class CustomField(BaseModel):
    """One custom field. `max_length` counts characters; `wire_id`: the vendor's id, where it is written by that."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    label: Annotated[str, Field(max_length=200), AfterValidator(_printable)] = ""
    kind: FieldKind = FieldKind.TEXT
    required: bool = False
    read_only: bool = False
    pii: bool = False
    max_length: Annotated[int, Field(ge=1, le=10**6)] | None = None
    picklist: Annotated[tuple[Name, ...], Field(max_length=MOST_VALUES)] = ()
    wire_id: Annotated[str, Field(max_length=100), AfterValidator(_printable)] = ""

    def definition(self) -> FieldDef:
        return FieldDef(**dict(self), custom=True)


CustomFields = Mapping[str, Sequence[CustomField]]
"""By module."""
_STORED = TypeAdapter(dict[str, Annotated[tuple[CustomField, ...], Field(max_length=MOST_FIELDS)]])
_NAMES = TypeAdapter(dict[str, frozenset[str]])


def dumped(fields: Mapping[str, Sequence[FieldDef]]) -> dict[str, list[dict[str, object]]]:
    """As JSON takes it, without what is as usual."""
    names = CustomField.model_fields
    return {
        module: [
            CustomField(**{name: getattr(one, name) for name in names}).model_dump(mode="json", exclude_defaults=True)
            for one in found
        ]
        for module, found in fields.items()
    }


def loaded(*stored: object) -> dict[str, tuple[FieldDef, ...]]:
    """By module; of two of one name the later stands. Raises ConfigError on what is not of this form."""
    found: dict[str, dict[str, FieldDef]] = {}
    for one in stored:
        try:
            parsed = _STORED.validate_python(one or {})
        except ValidationError:
            raise ConfigError("The custom fields that are set for an org cannot be read; set them again.") from None
        for module, fields in parsed.items():
            found.setdefault(module, {}).update({field.name: field.definition() for field in fields})
    return {module: tuple(fields.values()) for module, fields in found.items()}


def private_names(stored: object) -> Mapping[str, frozenset[str]]:
    """Fields that an admin marked as personal, by module. Raises ConfigError."""
    try:
        return _NAMES.validate_python(stored or {})
    except ValidationError:
        raise ConfigError("The private fields that are set for an org cannot be read; set them again.") from None


def with_custom(
    standard: Sequence[FieldDef], custom: Sequence[FieldDef], private: frozenset[str]
) -> dict[str, FieldDef]:
    """All fields of a module by name. What is marked as personal is so, whoever marked it."""
    found = {one.name: one for one in (*standard, *custom)}
    return {name: replace(one, pii=True) if name in private else one for name, one in found.items()}
