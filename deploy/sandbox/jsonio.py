"""JSON in and out with money exact: a number with a point is a Decimal here and a plain JSON number outside.

What no orderly vendor holds passes too, for records that are to be trouble: numbers of any size, and texts that are no
UTF-8, whose bytes above 127 stand here as lone surrogates, U+DC80 to U+DCFF, as Python's surrogateescape makes them."""

from __future__ import annotations

import codecs
import json
from dataclasses import asdict, is_dataclass
from decimal import Decimal
from typing import Any

import orjson

JsonObject = dict[str, Any]


class BadJson(ValueError):
    """The body is not JSON, or not the object that every call of these vendors takes."""


RAW = "sandbox.raw"


def _raw(error: UnicodeError) -> tuple[bytes, int]:
    """An escaped byte is that byte again; another lone surrogate the three bytes that a naive writer makes of it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lone = error.object[error.start : error.end]
    return b"".join(map(_raw_byte, lone)), error.end


def _raw_byte(lone: str) -> bytes:
    return bytes([ord(lone) - 0xDC00]) if "\udc80" <= lone <= "\udcff" else lone.encode(errors="surrogatepass")


codecs.register_error(RAW, _raw)

# Beyond this many digits before the point a number keeps its exponent.
PLAIN_DIGITS = 40


def _number(value: Decimal) -> str:
    return format(value, "f") if value.adjusted() < PLAIN_DIGITS else str(value)


def _plain(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(_number(value))
    raise TypeError(f"not JSON: {type(value).__name__}")


def dumps(value: object) -> bytes:
    """Always UTF-8: what is none is written as an escape, `\\udcff`, as the control takes it."""
    return _dumps(value, "backslashreplace")


def dumps_raw(value: object) -> bytes:
    """As the vendor sends a record: with the very bytes that are no UTF-8."""
    return _dumps(value, RAW)


def _dumps(value: object, errors: str) -> bytes:
    try:
        return orjson.dumps(value, default=_plain)
    except orjson.JSONEncodeError:
        return _pieces(value).encode(errors=errors)


def _text(value: object) -> str:
    try:
        return orjson.dumps(value, default=_plain).decode(errors="surrogateescape")
    except orjson.JSONEncodeError:
        return _pieces(value)


def _pieces(value: object) -> str:
    """For integers above 64 bits and texts that are no UTF-8, which the fast writer refuses: the rest is left to it."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(_text(inner) for inner in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_text(key)}:{_text(inner)}" for key, inner in value.items()) + "}"
    if is_dataclass(value) and not isinstance(value, type):
        return _pieces(asdict(value))
    raise TypeError(f"not JSON: {type(value).__name__}")


def loads_object(body: bytes) -> JsonObject:
    try:
        value = json.loads(body, parse_float=Decimal)
    except (ValueError, UnicodeDecodeError) as error:
        raise BadJson(str(error)) from error
    if not isinstance(value, dict):
        raise BadJson("an object is expected")
    return value


def loads_any(body: bytes) -> Any:
    """For the control, where a list is as good as an object; an empty body is an empty object. Bytes that are no UTF-8
    are taken as they are."""
    if not body.strip():
        return {}
    try:
        return json.loads(body.decode(errors="surrogateescape"), parse_float=Decimal)
    except (ValueError, UnicodeDecodeError) as error:
        raise BadJson(str(error)) from error
