"""How Zoho Books writes and checks values: times, texts, addresses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qs

from deploy.sandbox import jsonio
from deploy.sandbox.jsonio import BadJson, JsonObject
from deploy.sandbox.messages import Request
from deploy.sandbox.zoho_books import errors

OFFSET = timezone(timedelta(hours=-8))
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}")
ADDRESS_LENGTHS = {
    "attention": 100, "address": 500, "street2": 255, "city": 100, "state": 100, "state_code": 100, "zip": 50,
    "country": 100, "country_code": 100, "phone": 50, "fax": 50,
}  # fmt: skip


def time_text(moment: datetime) -> str:
    """`2024-06-01T10:00:00-0700`: whole seconds, cut off; the offset has no colon."""
    return moment.astimezone(OFFSET).strftime("%Y-%m-%dT%H:%M:%S%z")


def parse_time(text: str) -> datetime:
    """Aware UTC. A trailing Z, or a `+` that became a space on the way, is refused [T]."""
    if not TIME.fullmatch(text):
        raise ValueError(f"not a time: {text!r}")
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").astimezone(UTC)


def body_of(request: Request) -> JsonObject:
    """Plain JSON [V], or the form field JSONString of the family's older pages [V]."""
    body = request.body
    if "urlencoded" in request.headers.get("content-type", "") and body.startswith(b"JSONString="):
        body = parse_qs(body.decode())["JSONString"][0].encode()
    try:
        return jsonio.loads_object(body)
    except BadJson as error:
        raise errors.bad_value("JSONString") from error


def check_texts(given: JsonObject, lengths: Mapping[str, int]) -> JsonObject:
    """The texts among `given`, each within its length. Numbers are taken as text, null as empty [I]."""
    kept: JsonObject = {}
    for name, length in lengths.items():
        if name not in given:
            continue
        value = given[name]
        if isinstance(value, dict | list | bool):
            raise errors.bad_value(name)
        text = "" if value is None else str(value)
        if len(text) > length:
            raise errors.too_long(name, length)
        kept[name] = text
    return kept


def number_of(name: str, value: Any) -> int | Decimal:
    """A JSON number, or a text that is one [I]."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return value
    try:
        number = Decimal(value)
    except (InvalidOperation, TypeError, ValueError) as error:
        raise errors.bad_value(name) from error
    if not number.is_finite():
        raise errors.bad_value(name)
    return number


def merge_address(held: JsonObject | None, given: Any, name: str, new_id: str, checked: bool = True) -> JsonObject:
    """Only the keys given change [I]; null empties the address [I]. Unchecked for seeds and edits."""
    if given is None:
        given = dict.fromkeys(ADDRESS_LENGTHS, "")
    if not isinstance(given, dict):
        raise errors.bad_value(name)
    empty = {"address_id": new_id, **dict.fromkeys(ADDRESS_LENGTHS, "")}
    return {**(held or empty), **(check_texts(given, ADDRESS_LENGTHS) if checked else given)}
