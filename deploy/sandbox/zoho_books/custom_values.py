"""What a custom field takes, by its data type. Names of the types as the product shows them [T]; the checks are [I]."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from deploy.sandbox.zoho_books import errors, wire

TEXTS = ("string", "multiline", "email", "phone", "url")
NUMBERS = ("number", "decimal", "amount", "percent")
DATA_TYPES = (*TEXTS, *NUMBERS, "date", "dropdown", "check_box")
ALIASES = {"text": "string", "text_box": "string", "checkbox": "check_box"}
# Text Box (Single Line) 255: by the custom modules' sample [V]; multiline [I].
MAX_LENGTHS = {"string": 255, "email": 255, "phone": 255, "url": 255, "multiline": 2000}


def data_type_of(given: Any) -> str:
    name = str(given or "string")
    name = ALIASES.get(name, name)
    if name not in DATA_TYPES:
        raise errors.bad_value("data_type")
    return name


def checked(label: str, data_type: str, options: tuple[str, ...], value: Any) -> Any:
    """The value as it is kept. Null and "" empty the field, whatever its type."""
    if value in (None, ""):
        return ""
    if data_type in TEXTS:
        return wire.check_texts({label: value}, {label: MAX_LENGTHS[data_type]})[label]
    if data_type in NUMBERS:
        return _number(label, data_type, value)
    if data_type == "date":
        return _date(label, value)
    if data_type == "check_box":
        return _flag(label, value)
    if value not in options:
        raise errors.bad_value(label)
    return value


def _number(label: str, data_type: str, value: Any) -> int | Decimal:
    number = wire.number_of(label, value)
    if data_type == "number" and number != int(number):
        raise errors.bad_value(label)
    return number


def _date(label: str, value: Any) -> str:
    try:
        return datetime.strptime(value, "%Y-%m-%d").date().isoformat()  # noqa: DTZ007
    except (TypeError, ValueError) as error:
        raise errors.bad_value(label) from error


def _flag(label: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise errors.bad_value(label)


def formatted(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
