"""Lists of Zoho Books: filters, sort, pages. What is not documented is ignored, not refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.store import Record
from deploy.sandbox.zoho_books import errors, wire

PER_PAGE_MAX = 200
Test = Callable[[Record], bool]
SortKey = Callable[[Record], Any]
Row = TypeVar("Row")
COMPARE_RATE: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "": lambda held, wanted: held == wanted,
    "_less_than": lambda held, wanted: held < wanted,
    "_less_equals": lambda held, wanted: held <= wanted,
    "_greater_than": lambda held, wanted: held > wanted,
    "_greater_equals": lambda held, wanted: held >= wanted,
}


@dataclass(frozen=True, slots=True)
class Sorting:
    column: str
    order: str

    @property
    def descending(self) -> bool:
        return self.order == "D"


def sorting_of(query: Mapping[str, str], allowed: Mapping[str, SortKey], default: str) -> Sorting:
    """An unknown column is ignored [I], its order too."""
    column = query.get("sort_column", default)
    if column not in allowed:
        return Sorting(default, "A")
    order = query.get("sort_order", "A")
    if order not in ("A", "D"):
        raise errors.bad_value("sort_order")
    return Sorting(column, order)


def text_tests(query: Mapping[str, str], texts: Mapping[str, Callable[[Record], str]]) -> list[Test]:
    """`name`, `name_startswith`, `name_contains`. Case does not matter [I]."""
    tests: list[Test] = []
    for name, text_of in texts.items():
        for suffix, test in (("", _equals), ("_startswith", _starts), ("_contains", _contains)):
            wanted = query.get(f"{name}{suffix}")
            if wanted:
                tests.append(test(text_of, wanted.casefold()))
    return tests


def _equals(text_of: Callable[[Record], str], wanted: str) -> Test:
    return lambda record: text_of(record).casefold() == wanted


def _starts(text_of: Callable[[Record], str], wanted: str) -> Test:
    return lambda record: text_of(record).casefold().startswith(wanted)


def _contains(text_of: Callable[[Record], str], wanted: str) -> Test:
    return lambda record: wanted in text_of(record).casefold()


def rate_tests(query: Mapping[str, str]) -> list[Test]:
    tests: list[Test] = []
    for suffix, compare in COMPARE_RATE.items():
        if query.get(f"rate{suffix}"):
            tests.append(_rate_test(compare, Decimal(wire.number_of(f"rate{suffix}", query[f"rate{suffix}"]))))
    return tests


def _rate_test(compare: Callable[[Decimal, Decimal], bool], wanted: Decimal) -> Test:
    return lambda record: compare(Decimal(record.data["rate"]), wanted)


def modified_test(query: Mapping[str, str]) -> list[Test]:
    """ "modified after": later than the second given."""
    text = query.get("last_modified_time")
    if not text:
        return []
    try:
        since = wire.parse_time(text)
    except ValueError as error:
        raise errors.bad_value("last_modified_time") from error
    return [lambda record: record.modified_at.replace(microsecond=0) > since]


def paged(query: Mapping[str, str], found: list[Row], rows: int = PER_PAGE_MAX) -> tuple[list[Row], JsonObject]:
    """`rows` a page unless the call says otherwise; more than 200 are cut to 200 [I]."""
    page = _number(query, "page", 1)
    per_page = min(_number(query, "per_page", rows), PER_PAGE_MAX)
    start = (page - 1) * per_page
    context = {"page": page, "per_page": per_page, "has_more_page": start + per_page < len(found)}
    return found[start : start + per_page], context


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdigit() or int(text) < 1:
        raise errors.bad_value(name)
    return int(text)
