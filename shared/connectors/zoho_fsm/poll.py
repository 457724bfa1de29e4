"""Queries of the search call: by one field, and by modified time where the vendor takes it."""

from __future__ import annotations

from datetime import UTC, datetime

Query = list[tuple[str, str]]

_FAR = "2100-01-01T00:00:00+00:00"


def equal_query(field: str, value: str) -> Query:
    """Commas are escaped with a backslash; the rest of the encoding is the address's own (search-records page)."""
    return [("api_name", field), ("value", value.replace(",", "\\,")), ("comparator", "equal")]


def since_query(since: datetime) -> Query:
    """Closed range: greater_equal. `since` is rounded down to the second, which the vendor's times have."""
    at = since.astimezone(UTC).replace(microsecond=0).isoformat()
    return [("api_name", "Modified_Time"), ("value", at), ("comparator", "greater_equal")]


def far_query(comparator: str) -> Query:
    return [("api_name", "Modified_Time"), ("value", _FAR), ("comparator", comparator)]
