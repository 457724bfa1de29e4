"""SQL as text, parsed once."""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import Connection, TextClause, text
from sqlalchemy.orm import Session

Statements = Connection | Session
"""What takes SQL as text, inside a transaction or outside of one."""
MANY_ROWS = 500
"""A table that has just gained so many is analysed before it is joined: what Postgres knows of it is of before, and
what it takes for one row costs too much as each with each."""


@lru_cache(maxsize=2048)
def sql(query: str) -> TextClause:
    """As `sqlalchemy.text`, which looks for parameters anew each time it is called: a statement that stands where it is
    used, as most here do, would cost more to look through than to run."""
    return text(query)
