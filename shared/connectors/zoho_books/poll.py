"""Queries of the list calls. Inactive rows are in every list: `filter_by=Status.All`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.connectors.zoho_books.modules import PAGE_SIZE

Query = list[tuple[str, str]]


def list_query(page: int, *, newest_first: bool, order: str = "D", size: int = PAGE_SIZE) -> Query:
    """Newest change first where the module sorts by it; without, the vendor's own order (the whole list is read)."""
    query = [("filter_by", "Status.All"), ("page", str(page)), ("per_page", str(size))]
    if newest_first:
        query += [("sort_column", "last_modified_time"), ("sort_order", order)]
    return query


def since_query(page: int, since: datetime | None) -> Query:
    """Those modified at or after `since`: the vendor's filter is "modified after" [V], so it is asked for the second
    before. In the order in which they were made, which a change does not move, so that no page shifts."""
    query = [*list_query(page, newest_first=False), ("sort_column", "created_time"), ("sort_order", "A")]
    if since is not None:
        # A trailing Z is refused [T].
        before = since.astimezone(UTC).replace(microsecond=0) - timedelta(seconds=1)
        query.append(("last_modified_time", before.strftime("%Y-%m-%dT%H:%M:%S%z")))
    return query


def find_query(field: str, value: str, page: int) -> Query:
    """The vendor's filter by a field takes at most 100 characters: a longer value is looked for by its beginning."""
    name, wanted = (field, value) if len(value) <= 100 else (f"{field}_startswith", value[:100])
    return [(name, wanted), *list_query(page, newest_first=False)]
