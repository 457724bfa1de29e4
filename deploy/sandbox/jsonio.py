"""JSON in and out with money exact: a number with a point is a Decimal here and a plain JSON number outside."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import orjson

JsonObject = dict[str, Any]


class BadJson(ValueError):
    """The body is not JSON, or not the object that every call of these vendors takes."""


def _plain(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    raise TypeError(f"not JSON: {type(value).__name__}")


def dumps(value: object) -> bytes:
    return orjson.dumps(value, default=_plain)


def loads_object(body: bytes) -> JsonObject:
    try:
        value = json.loads(body, parse_float=Decimal)
    except (ValueError, UnicodeDecodeError) as error:
        raise BadJson(str(error)) from error
    if not isinstance(value, dict):
        raise BadJson("an object is expected")
    return value


def loads_any(body: bytes) -> Any:
    """For the control, where a list is as good as an object; an empty body is an empty object."""
    if not body.strip():
        return {}
    try:
        return json.loads(body, parse_float=Decimal)
    except (ValueError, UnicodeDecodeError) as error:
        raise BadJson(str(error)) from error
