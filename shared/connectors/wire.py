"""JSON as vendors send it and as we send it: numbers are Decimal on both ways, never float."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from json.encoder import encode_basestring

from shared.sync.model import FieldKind, Value
from shared.sync.values import UNREADABLE

JsonObject = dict[str, object]

# Postgres stores neither NUL nor a lone surrogate; one such character must not stop a page of records.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_MOST_DIGITS = 60


def _unreadable(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError):
        return UNREADABLE, error.end
    raise error


codecs.register_error("bothways-unreadable", _unreadable)


def loads(body: bytes) -> object:
    """Parsed JSON with Decimal for every number that has a point or an exponent. Raises ValueError.

    Bytes that are no UTF-8 become UNREADABLE: the value that holds them is known for it, its neighbours are whole.
    """
    try:
        return _DECODER.decode(body.decode("utf-8", errors="bothways-unreadable"))
    except RecursionError:
        raise ValueError("nested too deep") from None


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant)


def dumps(value: object) -> bytes:
    """JSON that keeps a Decimal's digits as a number: Decimal("18.10") is written 18.10. TypeError on a float."""
    return _text_of(value).encode("utf-8", errors="replace")


def _text_of(value: object) -> str:
    match value:
        case str():
            return encode_basestring(value)
        case None | bool() | int():
            return json.dumps(value)
        case Decimal():
            return _number_text(value)
        case Mapping():
            return "{" + ",".join(f"{encode_basestring(str(k))}:{_text_of(v)}" for k, v in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_text_of, value)) + "]"
        case _:
            raise TypeError(f"{type(value).__name__} has no place in a request")


def _number_text(value: Decimal) -> str:
    if not value.is_finite():
        raise TypeError("a number that is not finite has no place in a request")
    # An exponent of thousands would be written out digit by digit.
    return f"{value:f}" if abs(value.adjusted()) <= _MOST_DIGITS else str(value)


def text(value: object) -> str | None:
    """Text of a scalar; blank, null and anything nested are None. Ids may come as numbers and are text here."""
    match value:
        case str():
            return _UNSTORABLE.sub("\ufffd", value) if value.strip() else None
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal():
            return _number_text(value)
        case _:
            return None


def number(value: object) -> Decimal | str | None:
    """Decimal of a number or of its text. Text that is no number stays text: the record fails, not its page."""
    match value:
        case bool():
            return None
        case Decimal():
            return value
        case int():
            return Decimal(value)
        case str() if value.strip():
            try:
                parsed = Decimal(value.strip())
            except InvalidOperation:
                return text(value)
            return parsed if parsed.is_finite() else text(value)
        case _:
            return None


def truth(value: object) -> bool | None:
    match value:
        case bool():
            return value
        case str() if value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        case _:
            return None


def decode(kind: FieldKind, value: object) -> Value:
    match kind:
        case FieldKind.NUMBER:
            return number(value)
        case FieldKind.BOOLEAN:
            return truth(value)
        case _:
            return text(value)


def utc(value: object) -> datetime | None:
    """Aware UTC of an ISO time with offset (`-08:00` and `-0800`); None where there is none or it has no offset."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value.strip())
        return parsed.astimezone(UTC) if parsed.tzinfo is not None else None
    except (ValueError, OverflowError):  # the second at the edges of the calendar
        return None


_QUOTED = re.compile(r'"[^\n]*"|“[^\n]*”|(?<!\w)\'[^\n]*\'(?!\w)')
_EMAIL = re.compile(r"\S+@\S+")
_MOST_MESSAGE_CHARS = 200


def scrub(message: str | None, sent: Iterable[object] = ()) -> str:
    """A vendor's sentence without values: quoted text, e-mail addresses and every value that we sent become "…".

    Quotes are cut greedily, since a quoted name may itself hold a quote.
    """
    cleaned = message or ""
    values = {value.strip() for value in sent if isinstance(value, str) and len(value.strip()) > 1}
    for value in sorted(values, key=len, reverse=True):
        cleaned = re.sub(re.escape(value), "…", cleaned, flags=re.IGNORECASE)
    cleaned = _UNSTORABLE.sub("\ufffd", _EMAIL.sub("…", _QUOTED.sub("…", cleaned)))
    return cleaned[:_MOST_MESSAGE_CHARS]


def leaves(value: object) -> Iterable[object]:
    """Every scalar in a body, for `scrub`."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def nested(pairs: Iterable[tuple[str, object]]) -> JsonObject:
    """A body from dotted names: `billing_address.city` goes into the group `billing_address`."""
    body: JsonObject = {}
    groups: dict[str, JsonObject] = {}
    for name, value in pairs:
        group, dot, inner = name.partition(".")
        if not dot:
            body[name] = value
            continue
        if group not in groups:
            groups[group] = {}
            body[group] = groups[group]
        groups[group][inner] = value
    return body
