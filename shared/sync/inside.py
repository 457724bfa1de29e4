"""Ids of records that live inside others and are read with them: `<parent's id>.<own id>`.

So the parent of such a record is known wherever its id is, and it is read by one call of the parent.
"""

from __future__ import annotations

from shared.sync.model import RecordId

_DOT = "."


def inner_id(parent_id: str, own_id: str) -> RecordId:
    return RecordId(f"{parent_id}{_DOT}{own_id}")


def parent_of(record_id: str) -> RecordId:
    """Raises ValueError on an id that names no parent."""
    parent, dot, own = record_id.partition(_DOT)
    if not (parent and dot and own):
        raise ValueError("not the id of a record inside another")
    return RecordId(parent)


def own_of(record_id: str) -> str:
    """As the vendor knows it. Raises ValueError."""
    parent_of(record_id)
    return record_id.partition(_DOT)[2]
