"""LK-1: who has an org, and the refusal of whoever wants it meanwhile. It names the holder, since when, and what to do.

Each asks inside the transaction that makes the new run or import, and locks the orgs first: of two that are asked for
at the same moment one sees the other. All raise OrgHeld.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.db.queries.imports import import_on, lock_orgs, run_on
from shared.errors import OrgHeld


def no_import(session: Session, orgs: Sequence[int]) -> None:
    """No sync during an import into one of its orgs; one that gave its org back is in nobody's way. A scheduled
    sync waits instead."""
    lock_orgs(session, orgs)
    busy = import_on(session, orgs, parked=False)
    if busy is not None:
        raise _import_is_on(busy.id, busy.since)


def no_other_sync(session: Session, orgs: Sequence[int], *, but: int) -> None:
    """No sync while one of another integration than `but` holds one of the orgs."""
    row = session.execute(
        text(
            """
            SELECT l.holder, l.taken_at, o.name AS org, i.name AS integration
            FROM org_lease l JOIN org o ON o.id = l.org_id JOIN integration i ON i.id = l.integration_id
            WHERE l.org_id = ANY(:orgs) AND l.kind = 'run' AND l.expires_at > clock_timestamp() AND i.id <> :but
            ORDER BY l.org_id LIMIT 1
            """
        ),
        {"orgs": list(orgs), "but": but},
    ).first()
    if row is not None:
        number = row.holder.partition(":")[2]
        raise _held(
            f"\u201c{row.org}\u201d is held by sync {number} of \u201c{row.integration}\u201d",
            row.holder,
            row.taken_at,
            "Wait until that has ended; webhooks and the automatic sync wait by themselves.",
        )


def no_sync_nor_import(session: Session, org_id: int) -> None:
    """No import during a sync, nor during another import, even one that waits. Behind webhook work it waits."""
    lock_orgs(session, [org_id])
    run = run_on(session, org_id)
    if run is not None:
        raise _held(f"Sync {run.id} has this organisation", f"run:{run.id}", run.since, "Wait until it ends.")
    busy = import_on(session, [org_id], parked=True)
    if busy is not None:
        raise _import_is_on(busy.id, busy.since)


def own_sync_is_on(session: Session, integration_id: int) -> OrgHeld:
    """For the one whom the database refused a second open run of an integration."""
    row = session.execute(
        text(
            "SELECT id, created_at FROM run WHERE integration_id = :i AND kind <> 'webhook' "
            "AND state NOT IN ('completed', 'completed_with_failures', 'failed', 'cancelled')"
        ),
        {"i": integration_id},
    ).first()
    if row is None:
        return OrgHeld("Another sync has just ended; try again.", holder="", since=datetime.now(UTC))
    what = f"Sync {row.id} of this integration is on"
    return _held(what, f"run:{row.id}", row.created_at, "Wait until it ends.")


def _import_is_on(number: int, since: datetime) -> OrgHeld:
    what = f"Import {number} into one of the organisations is on"
    return _held(what, f"import:{number}", since, "Wait until it ends, or cancel it.")


def _held(what: str, holder: str, since: datetime, advice: str) -> OrgHeld:
    return OrgHeld(f"{what} since {since:%Y-%m-%d %H:%M:%S} UTC. {advice}", holder=holder, since=since)
