"""Invoices of work orders: whether they are made, at which statuses, and when they are due (TR-7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from shared.connectors.registry import get_vendor
from shared.db.models import Connection, Integration
from shared.db.repositories import audit
from shared.db.repositories.integrations import load_own
from shared.db.session import Database
from shared.errors import ConfigError, Refused
from shared.integrations.base import Invoicing
from shared.integrations.registry import integration as declared
from shared.sync.access import Actor, Permission
from shared.sync.audit import Action

MOST_STATUSES, MOST_STATUS_CHARS, MOST_TERMS_DAYS = 20, 100, 365


@dataclass(frozen=True, slots=True)
class InvoicingView:
    """`since`: work orders that have not changed since then are invoiced by hand alone. No statuses: all are. `pair` is
    the name of the Invoice Mapping (FM-6). `made`: invoices so far."""

    on: bool
    statuses: tuple[str, ...]
    terms_days: int
    since: datetime | None
    pair: str
    made: int


class InvoicingService:
    """Everything raises NotFound, NotAllowed, Refused (this kind of integration makes none)."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def get(self, actor: Actor, integration_id: int) -> InvoicingView:
        actor.must(Permission.VIEW)
        with self._db.transaction() as session:
            return _view(session, load_own(session, actor.workspace, integration_id))

    def set(
        self,
        actor: Actor,
        integration_id: int,
        *,
        on: bool | None = None,
        statuses: Sequence[str] | None = None,
        terms_days: int | None = None,
    ) -> InvoicingView:
        """None: as it was, at first that of the kind of integration. Switched on, it begins with what changes from then
        on: what was completed before may have been invoiced elsewhere. Raises ConfigError (an org is not connected)."""
        actor.must(Permission.CONFIGURE)
        with self._db.transaction() as session:
            row = load_own(session, actor.workspace, integration_id, lock=True)
            before, offered = row.invoicing, _offered(row)
            now = session.execute(text("SELECT clock_timestamp()")).scalar_one()
            after = {
                "on": bool(before.get("on")) if on is None else on,
                "statuses": list(before.get("statuses", offered.statuses) if statuses is None else _checked(statuses)),
                "terms_days": before.get("terms_days", 0) if terms_days is None else _days(terms_days),
                "since": before["since"] if before.get("on") else now.isoformat(),
            }
            if after["on"]:
                _must_reach(session, row, offered)
            row.invoicing = after
            session.flush()
            audit.record(session, actor, Action.INVOICING_SET, row.id, before=before, after=after)
            return _view(session, row)


def _offered(row: Integration) -> Invoicing:
    found = declared(row.kind).invoicing
    if found is None:
        raise Refused(f"{declared(row.kind).label} makes no invoices of work orders.", code="NO_INVOICES")
    return found


def _checked(statuses: Sequence[str]) -> Sequence[str]:
    if len(statuses) > MOST_STATUSES or not all(one.strip() and len(one) <= MOST_STATUS_CHARS for one in statuses):
        raise Refused(
            f"Name {MOST_STATUSES} statuses at most, each of 1 to {MOST_STATUS_CHARS} characters.", code="BAD_STATUSES"
        )
    return list(dict.fromkeys(statuses))


def _days(terms_days: int) -> int:
    if not 0 <= terms_days <= MOST_TERMS_DAYS:
        raise Refused(f"An invoice is due in 0 to {MOST_TERMS_DAYS} days.", code="BAD_TERMS")
    return terms_days


def _must_reach(session: Session, row: Integration, offered: Invoicing) -> None:
    """A grant of before may lack what invoices need: better said now than by each sync. Raises Refused, ConfigError."""
    for org_id in (row.left_org_id, row.right_org_id):
        connection = session.scalars(select(Connection).where(Connection.org_id == org_id)).first()
        if connection is None:
            raise ConfigError(f"Org {org_id} is not connected. Connect it first.", code="NOT_CONNECTED")
        missing = set(get_vendor(connection.vendor).sign_in.scopes) - set(connection.scopes)
        if connection.scopes and missing:
            raise Refused(
                f"Connection {connection.id} was made without {', '.join(sorted(missing))}. Sign in again: "
                f"`bothways connect {connection.vendor}`.",
                code="SCOPE_MISSING",
            )


def _view(session: Session, row: Integration) -> InvoicingView:
    offered, held = _offered(row), dict[str, Any](row.invoicing)
    made = session.execute(
        text("SELECT count(*) FROM invoice WHERE left_org_id = :left AND right_org_id = :right"),
        {"left": row.left_org_id, "right": row.right_org_id},
    ).scalar_one()
    return InvoicingView(
        on=bool(held.get("on")),
        statuses=tuple(held.get("statuses", offered.statuses)),
        terms_days=held.get("terms_days", 0),
        since=datetime.fromisoformat(held["since"]) if held.get("on") else None,
        pair=offered.pair.name,
        made=made,
    )
