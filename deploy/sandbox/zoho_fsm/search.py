"""Search of one field at a time. Fields and comparators: fact sheet of Zoho FSM, section 3."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from operator import eq, ge, gt, le, lt, ne

from deploy.sandbox.store import Record
from deploy.sandbox.zoho_fsm import errors, wire
from deploy.sandbox.zoho_fsm.records import Records, newest_first, search_value

UNESCAPED_COMMA = re.compile(r"(?<!\\),")
COMPARE: dict[str, Callable[[datetime, datetime], bool]] = {
    "equal": eq, "not_equal": ne, "greater_than": gt, "greater_equal": ge, "less_than": lt, "less_equal": le,
}  # fmt: skip


def search(records: Records, query: dict[str, str], by_time: bool) -> list[Record]:
    """Newest created first, as the list. Raises INVALID_DATA for a field that cannot be searched."""
    name, value = query.get("api_name", ""), query.get("value", "")
    comparator = query.get("comparator", "contains")
    if name == "Modified_Time" and by_time:
        found = _by_time(records, value, query.get("comparator", "equal"))
    elif name not in records.module.searchable:
        raise errors.invalid_data("api_name")
    elif not value:
        raise errors.invalid_data("value")
    else:
        found = _by_text(records, name, value, comparator)
    return newest_first(found)


def _by_text(records: Records, name: str, value: str, comparator: str) -> list[Record]:
    """A comma that is not escaped parts the value, and any part may match [I]. Case does not matter [I]."""
    wanted = [part.replace("\\,", ",").casefold() for part in UNESCAPED_COMMA.split(value)]
    if comparator == "equal":
        return [record for part in wanted for record in records.table.find(name, part)]
    if comparator != "contains":
        raise errors.invalid_data("comparator")
    return [
        record
        for record in records.table.records.values()
        if (held := search_value(record, name)) and any(part in str(held).casefold() for part in wanted if part)
    ]


def _by_time(records: Records, value: str, comparator: str) -> list[Record]:
    try:
        moments = [wire.parse_time(part.strip()) for part in value.split(",")]
    except ValueError as error:
        raise errors.invalid_data("value", expected_data_type="datetime") from error
    test = _time_test(comparator, moments)
    return [record for record in records.table.records.values() if test(record.modified_at.replace(microsecond=0))]


def _time_test(comparator: str, moments: list[datetime]) -> Callable[[datetime], bool]:
    if comparator in COMPARE and len(moments) == 1:
        compare = COMPARE[comparator]
        return lambda held: compare(held, moments[0])
    if comparator in ("between", "not_between") and len(moments) == 2:
        inside = comparator == "between"
        return lambda held: (moments[0] <= held <= moments[1]) is inside
    raise errors.invalid_data("comparator")
