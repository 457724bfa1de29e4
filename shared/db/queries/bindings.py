"""Bindings as people look through them: a page at a time, and what was set aside."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

from shared.sync.model import Side


def list_bindings(
    session: Session,
    integration_id: int,
    workspace_id: int,
    keys: dict[str, str],
    *,
    pair: str | None,
    state: str | None,
    search: str | None,
    after_id: int,
    limit: int,
) -> list[RowMapping]:
    """By id, so that a page begins where the last one ended. `keys`: pair -> the match key's place in a base."""
    query = text(
        """
        SELECT b.id, b.pair, b.left_id, b.right_id, b.state, b.bound_at, b.bound_by_run, b.base = '{}' AS untouched,
            b.base -> k.place ->> 0 AS left_name, b.base -> k.place ->> 1 AS right_name
        FROM binding b JOIN integration i ON b.left_org_id = i.left_org_id AND b.right_org_id = i.right_org_id
        JOIN unnest(CAST(:pairs AS text[]), CAST(:places AS text[])) AS k(pair, place) ON k.pair = b.pair
        WHERE i.id = :integration AND b.workspace_id = :workspace AND b.id > :after
          AND (CAST(:pair AS text) IS NULL OR b.pair = :pair) AND (CAST(:state AS text) IS NULL OR b.state = :state)
          AND (CAST(:search AS text) IS NULL OR b.left_id = :search OR b.right_id = :search
               OR b.base -> k.place ->> 0 ILIKE :like OR b.base -> k.place ->> 1 ILIKE :like)
        ORDER BY b.id LIMIT :limit
        """
    )
    values = {
        "integration": integration_id, "workspace": workspace_id, "pairs": list(keys), "places": list(keys.values()),
        "pair": pair, "state": state, "search": search, "like": None if search is None else f"%{_literal(search)}%",
        "after": after_id, "limit": limit,
    }  # fmt: skip
    return list(session.execute(query, values).mappings())


def _literal(text_: str) -> str:
    """For LIKE, whose own characters people search for as well."""
    return text_.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")


def list_aside(session: Session, integration_id: int, workspace_id: int, pairs: Sequence[str]) -> list[RowMapping]:
    query = text(
        """
        SELECT a.pair, a.side, a.record_id, a.why, a.other_id, a.by_name, a.at
        FROM aside a JOIN integration i ON a.left_org_id = i.left_org_id AND a.right_org_id = i.right_org_id
        WHERE i.id = :integration AND a.workspace_id = :workspace AND a.pair = ANY(:pairs) ORDER BY a.id
        """
    )
    values = {"integration": integration_id, "workspace": workspace_id, "pairs": list(pairs)}
    return list(session.execute(query, values).mappings())


def get_aside(
    session: Session, integration_id: int, workspace_id: int, pair: str, side: Side, record_id: str
) -> RowMapping | None:
    query = text(
        """
        SELECT a.why, a.other_id, a.by_name, a.at
        FROM aside a JOIN integration i ON a.left_org_id = i.left_org_id AND a.right_org_id = i.right_org_id
        WHERE i.id = :integration AND a.workspace_id = :workspace AND a.pair = :pair AND a.side = :side
          AND a.record_id = :record
        """
    )
    values = {
        "integration": integration_id, "workspace": workspace_id, "pair": pair, "side": side.value, "record": record_id,
    }  # fmt: skip
    return session.execute(query, values).mappings().first()
