"""SQL as text, parsed once."""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import TextClause, text


@lru_cache(maxsize=2048)
def sql(query: str) -> TextClause:
    """As `sqlalchemy.text`, which looks for parameters anew each time it is called: a statement that stands where it is
    used, as most here do, would cost more to look through than to run."""
    return text(query)
