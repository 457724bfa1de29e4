"""A record's page (LG-5): its binding, what it waits for, and what was done to it, newest first."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

from shared.sync.model import Side


def get_binding(
    session: Session, workspace_id: int, integration_id: int, pair: str, side: Side, record_id: str
) -> RowMapping | None:
    query = text(
        f"""
        SELECT b.left_id, b.right_id, b.state, b.bound_at, b.bound_by_run, b.base = '{{}}' AS untouched
        FROM binding b JOIN integration i ON b.left_org_id = i.left_org_id AND b.right_org_id = i.right_org_id
        WHERE i.id = :integration AND b.workspace_id = :workspace AND b.pair = :pair AND b.{side.value}_id = :record
        """
    )
    values = {"integration": integration_id, "workspace": workspace_id, "pair": pair, "record": record_id}
    return session.execute(query, values).mappings().first()


def get_wait(
    session: Session, workspace_id: int, integration_id: int, pairs: Sequence[str], side: Side, record_id: str
) -> RowMapping | None:
    """`pairs`: all of the record's module. It waits under whichever it was taken for."""
    query = text(
        "SELECT why, reason, detail, attempts, due_at FROM due WHERE workspace_id = :workspace "
        "AND integration_id = :integration AND pair = ANY(:pairs) AND side = :side AND record_id = :record "
        "ORDER BY why = 'failed', id LIMIT 1"
    )
    values = {
        "workspace": workspace_id, "integration": integration_id, "pairs": list(pairs), "side": side.value,
        "record": record_id,
    }  # fmt: skip
    return session.execute(query, values).mappings().first()


def list_history(
    session: Session,
    workspace_id: int,
    integration_id: int,
    pair: str,
    ids: Sequence[str],
    *,
    before_id: int | None,
    limit: int,
) -> list[RowMapping]:
    """Of a record and its twin: an outcome is under the one whose event it was."""
    query = text(
        """
        SELECT o.id, o.at, o.run_id, o.pair, o.direction, o.side, o.record_id, o.twin_id, o.outcome, o.reason,
            o.detail, o.changes, o.conflicts, o.warnings, o.attempt, o.origin, o.received_at, o.written_at
        FROM outcome o
        WHERE o.workspace_id = :workspace AND o.integration_id = :integration AND o.pair = :pair
          AND o.record_id = ANY(:ids) AND (CAST(:before AS bigint) IS NULL OR o.id < :before)
        ORDER BY o.id DESC LIMIT :limit
        """
    )
    values = {
        "workspace": workspace_id, "integration": integration_id, "pair": pair, "ids": list(ids),
        "before": before_id, "limit": limit,
    }  # fmt: skip
    return list(session.execute(query, values).mappings())


def latest_invoice(session: Session, integration_id: int, work_order_id: str) -> str | None:
    """At the accounting side, of those that we made of this work order."""
    query = text(
        "SELECT v.accounting_id FROM invoice v JOIN integration i ON i.left_org_id = v.left_org_id "
        "AND i.right_org_id = v.right_org_id WHERE i.id = :i AND v.work_order_id = :id ORDER BY v.id DESC LIMIT 1"
    )
    found: str | None = session.execute(query, {"i": integration_id, "id": work_order_id}).scalar()
    return found
