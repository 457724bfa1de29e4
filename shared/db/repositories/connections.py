"""Rows of orgs, connections and sign-ins: every SQL that writes them. Secrets pass through sealed.

Times are Postgres' own (`clock_timestamp()`): several machines share the claims.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from shared.db.models.orgs import Connection, Org, PendingSignIn
from shared.errors import NotFound


@dataclass(frozen=True, slots=True)
class SealedGrant:
    """What a refresh stores, sealed. `previous` is what the refresh token was, where another took its place."""

    access_token: str
    access_expires_at: datetime
    refresh_token: str
    previous_refresh_token: str | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A connection's row as read. `seen_at` is the database's clock; `claimed` tells that somebody refreshes now."""

    row: Connection
    claimed: bool
    seen_at: datetime


def save_org(session: Session, *, workspace_id: int, vendor: str, external_id: str, name: str, data_centre: str) -> int:
    """Inserts, or renames the one that is there: an org is the same one however often it is connected (DU-1)."""
    values = {
        "workspace_id": workspace_id,
        "vendor": vendor,
        "external_id": external_id,
        "name": name,
        "data_centre": data_centre,
    }
    statement = (
        insert(Org)
        .values(values)
        .on_conflict_do_update(
            index_elements=["workspace_id", "vendor", "external_id"], set_={"name": name, "data_centre": data_centre}
        )
        .returning(Org.id)
    )
    return session.execute(statement).scalar_one()


def connection_of_org(session: Session, *, org_id: int, workspace_id: int, vendor: str) -> Connection:
    """The org's connection, locked; a new row without secrets where there is none."""
    found = session.scalar(select(Connection).where(Connection.org_id == org_id).with_for_update())
    if found is not None:
        return found
    made = Connection(
        workspace_id=workspace_id,
        org_id=org_id,
        vendor=vendor,
        data_centre="",
        accounts_server="",
        api_domain="",
        client_id="",
        version=1,
        status="live",
        scopes=[],
        capabilities={},
    )
    session.add(made)
    session.flush()
    return made


def load(session: Session, connection_id: int) -> Connection:
    """Raises NotFound."""
    found = session.get(Connection, connection_id, populate_existing=True)
    if found is None:
        raise _unknown(connection_id)
    return found


def _unknown(connection_id: int) -> NotFound:
    return NotFound(f"There is no connection {connection_id}.", code="UNKNOWN_CONNECTION")


def load_own(session: Session, workspace_id: int, connection_id: int) -> Connection:
    """Raises NotFound; another workspace's connection is not found either."""
    found = load(session, connection_id)
    if found.workspace_id != workspace_id:
        raise _unknown(connection_id)
    return found


def load_org(session: Session, org_id: int) -> Org:
    """Raises NotFound."""
    found = session.get(Org, org_id, populate_existing=True)
    if found is None:
        raise NotFound(f"There is no org {org_id}.", code="UNKNOWN_ORG")
    return found


def of_workspace(session: Session, workspace_id: int) -> Sequence[tuple[Connection, Org]]:
    statement = (
        select(Connection, Org)
        .join(Org, Org.id == Connection.org_id)
        .where(Connection.workspace_id == workspace_id)
        .order_by(Connection.id)
    )
    return [(connection, org) for connection, org in session.execute(statement)]


def path_hashes(session: Session) -> Sequence[str]:
    """Of every webhook path there is."""
    query = select(Connection.webhook_path_hash).where(Connection.webhook_path_hash.is_not(None))
    return [found for found in session.scalars(query) if found is not None]


def by_path_hash(session: Session, path_hash: str) -> Connection | None:
    return session.scalar(select(Connection).where(Connection.webhook_path_hash == path_hash))


# The refresh of an access token (reliability section 4).


def look(session: Session, connection_id: int, *, claim_s: float) -> Claim:
    """The row, and whether a claim of the last `claim_s` seconds is on it; an older one was left by a crash."""
    row = load(session, connection_id)
    now = _clock(session)
    return Claim(row, _is_claimed(row, now, claim_s), now)


def claim(session: Session, connection_id: int, *, version: int, claim_s: float) -> Claim | None:
    """Marks that the caller refreshes; the caller commits before it calls the vendor.

    None where another holds the row's lock or a claim, or where the version is no longer `version`. While the
    vendor is known to grant no more tokens, nothing is claimed: `refresh_not_before` of the row tells.
    """
    statement = select(Connection).where(Connection.id == connection_id, Connection.version == version)
    row = session.scalar(statement.with_for_update(skip_locked=True).execution_options(populate_existing=True))
    if row is None:
        return None
    now = _clock(session)
    if row.refresh_not_before is not None and row.refresh_not_before > now:
        return Claim(row, False, now)
    if _is_claimed(row, now, claim_s):
        return None
    row.refresh_started_at = now
    row.refresh_not_before = None
    session.flush()
    return Claim(row, True, now)


def save_grant(session: Session, connection_id: int, *, version: int, started_at: datetime, grant: SealedGrant) -> bool:
    """Stores a refreshed grant under the caller's own claim and raises the version. False: the claim was lost."""
    statement = (
        update(Connection)
        .where(Connection.id == connection_id, Connection.version == version)
        .where(Connection.refresh_started_at == started_at)
        .values(
            sealed_access_token=grant.access_token,
            access_expires_at=grant.access_expires_at,
            sealed_refresh_token=grant.refresh_token,
            sealed_previous_refresh_token=grant.previous_refresh_token,
            version=version + 1,
            refresh_started_at=None,
            refresh_not_before=None,
        )
    )
    return _rows(session.execute(statement)) == 1


def release(
    session: Session, connection_id: int, *, version: int, started_at: datetime, not_before_s: float | None
) -> None:
    """Ends the caller's claim without a grant; another's claim stays."""
    pause = None if not_before_s is None else func.clock_timestamp() + timedelta(seconds=not_before_s)
    session.execute(
        update(Connection)
        .where(Connection.id == connection_id, Connection.version == version)
        .where(Connection.refresh_started_at == started_at)
        .values(refresh_started_at=None, refresh_not_before=pause)
    )


def mark_broken(session: Session, connection_id: int, *, version: int, reason: str) -> bool:
    """False where a newer grant is there already: then it is not the one that was refused."""
    statement = (
        update(Connection)
        .where(Connection.id == connection_id, Connection.version == version)
        .values(status="broken", broken_reason=reason, refresh_started_at=None)
    )
    return _rows(session.execute(statement)) == 1


# Signing in.


def save_sign_in(session: Session, row: PendingSignIn) -> None:
    """Old ones go by the way: nothing else needs them."""
    session.execute(text("DELETE FROM pending_sign_in WHERE expires_at < clock_timestamp() - interval '1 hour'"))
    session.add(row)
    session.flush()


def use_sign_in(session: Session, workspace_id: int, state_hash: str) -> PendingSignIn | None:
    """Takes a state for its one use; None where it is unknown, another workspace's, used or too old."""
    statement = (
        update(PendingSignIn)
        .where(PendingSignIn.state_hash == state_hash, PendingSignIn.used_at.is_(None))
        .where(PendingSignIn.workspace_id == workspace_id)
        .where(PendingSignIn.expires_at > func.clock_timestamp())
        .values(used_at=func.clock_timestamp())
        .returning(PendingSignIn)
    )
    return session.execute(statement).scalar_one_or_none()


def waiting_choice(session: Session, workspace_id: int, state_hash: str) -> PendingSignIn | None:
    """A sign-in that has its grant and waits for a person to choose the org, locked."""
    statement = select(PendingSignIn).where(
        PendingSignIn.state_hash == state_hash,
        PendingSignIn.workspace_id == workspace_id,
        PendingSignIn.sealed_grant.is_not(None),
        PendingSignIn.expires_at > func.clock_timestamp(),
    )
    return session.scalar(statement.with_for_update())


def end_sign_in(session: Session, sign_in_id: int) -> None:
    session.execute(text("DELETE FROM pending_sign_in WHERE id = :id"), {"id": sign_in_id})


def sign_in_expiry(session: Session, seconds: float) -> datetime:
    return _clock(session) + timedelta(seconds=seconds)


# Keys.

SEALED_COLUMNS: Mapping[str, str] = {
    "client_secret": "sealed_client_secret",
    "refresh_token": "sealed_refresh_token",
    "previous_refresh_token": "sealed_previous_refresh_token",
    "access_token": "sealed_access_token",
    "webhook_secret": "sealed_webhook_secret",
    "previous_webhook_secret": "sealed_previous_webhook_secret",
    "webhook_path_token": "sealed_webhook_path_token",
}
"""The vault's field name -> column."""


def sealed_under_other_keys(session: Session, current: str, limit: int) -> Sequence[Connection]:
    """Up to `limit` connections, locked, that hold a secret under another key than `current`."""
    prefix = f"v1:{current}:"
    other = [func.starts_with(getattr(Connection, column), prefix).is_(False) for column in SEALED_COLUMNS.values()]
    statement = select(Connection).where(or_(*other)).order_by(Connection.id).limit(limit)
    return session.scalars(statement.with_for_update(skip_locked=True)).all()


def _is_claimed(row: Connection, now: datetime, claim_s: float) -> bool:
    return row.refresh_started_at is not None and now - row.refresh_started_at < timedelta(seconds=claim_s)


def _clock(session: Session) -> datetime:
    return cast(datetime, session.execute(select(func.clock_timestamp())).scalar_one())


def _rows(result: Any) -> int:
    return cast(CursorResult[Any], result).rowcount


def note_webhook(session: Session, connection_id: int, sealed_secret: str) -> None:
    """Without `updated_at`: workers need not open the connection anew for it."""
    session.execute(
        text(
            "UPDATE connection SET webhook_live_at = clock_timestamp() "
            "WHERE id = :id AND webhook_live_at IS NULL AND sealed_webhook_secret = :sealed"
        ),
        {"id": connection_id, "sealed": sealed_secret},
    )
