"""SQL of API tokens. Times are of Postgres' clock alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from shared.db.models import ApiToken

USED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Standing:
    """A token as it stands now; `unnoted`: its last use was noted longer ago than `USED_EVERY`."""

    row: ApiToken
    expired: bool
    unnoted: bool


def hashes(session: Session) -> dict[str, int]:
    """Hash -> id, of every token that ever was."""
    return {row.secret_hash: row.id for row in session.execute(select(ApiToken.secret_hash, ApiToken.id))}


def add(session: Session, row: ApiToken, lasts: timedelta | None) -> ApiToken:
    """`lasts` None: for ever."""
    now = cast(datetime, session.execute(select(func.clock_timestamp())).scalar_one())
    row.created_at = now
    row.expires_at = None if lasts is None else now + lasts
    session.add(row)
    session.flush()
    return row


def of_workspace(session: Session, workspace_id: int) -> Sequence[ApiToken]:
    return session.scalars(select(ApiToken).where(ApiToken.workspace_id == workspace_id).order_by(ApiToken.id)).all()


def load_own(session: Session, workspace_id: int, token_id: int) -> ApiToken | None:
    """Locked; None where it is not this workspace's."""
    query = select(ApiToken).where(ApiToken.workspace_id == workspace_id, ApiToken.id == token_id)
    return session.scalar(query.with_for_update())


def revoke(session: Session, row: ApiToken) -> None:
    row.revoked_at = cast(datetime, session.execute(select(func.clock_timestamp())).scalar_one())
    session.flush()


def standing(session: Session, token_id: int) -> Standing | None:
    now = func.clock_timestamp()
    expired = func.coalesce(ApiToken.expires_at <= now, False)
    unnoted = func.coalesce(ApiToken.last_used_at < now - USED_EVERY, True)
    found = session.execute(select(ApiToken, expired, unnoted).where(ApiToken.id == token_id)).first()
    return None if found is None else Standing(found[0], found[1], found[2])


def note_use(session: Session, token_id: int) -> None:
    """Whoever finds the row taken leaves it: somebody else is noting the same minute."""
    free = select(ApiToken.id).where(ApiToken.id == token_id).with_for_update(skip_locked=True).scalar_subquery()
    session.execute(
        update(ApiToken)
        .where(ApiToken.id == free)
        .values(last_used_at=func.clock_timestamp())
        .execution_options(synchronize_session=False)
    )
