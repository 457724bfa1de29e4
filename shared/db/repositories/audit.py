"""Writes the audit log. Called inside the transaction of the change that it tells of: both are there, or neither."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.orm import Session

from shared.db.models import AuditLog
from shared.sync.access import Actor
from shared.sync.audit import Action, plain, plain_text


def record(
    session: Session,
    actor: Actor,
    action: Action,
    subject_id: int | str,
    *,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Secrets are given as SecretStr and kept as "changed"; ids, names of settings and codes are what belongs here."""
    row = AuditLog(
        workspace_id=actor.workspace,
        principal=actor.principal,
        actor_kind=actor.kind.value,
        token_id=actor.token_id,
        action=action.value,
        subject_kind=action.subject_kind,
        subject_id=plain_text(str(subject_id)),
        before=plain(before or {}),
        after=plain(after or {}),
    )
    session.add(row)
    session.flush()
