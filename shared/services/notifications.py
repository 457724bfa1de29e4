"""Whom an integration's notification e-mail goes to, and on what (LG-8). Addresses are personal data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from shared.db.models import Integration
from shared.db.repositories import audit
from shared.db.repositories.integrations import load_own
from shared.db.session import Database
from shared.errors import Refused
from shared.sync.access import Actor, Permission
from shared.sync.audit import Action

MOST_ADDRESSES = 20
_RECENT = text(
    """
    SELECT run_id, kind, state, jsonb_array_length(addresses) AS waiting, sent, refused, attempts, detail, created_at,
        due_at, sent_at
    FROM notification WHERE integration_id = :integration AND workspace_id = :workspace ORDER BY id DESC LIMIT :limit
    """
)


@dataclass(frozen=True, slots=True)
class Notifications:
    """The addresses are told of failed syncs always; of others as `manual` and `automatic` say."""

    addresses: tuple[str, ...]
    manual: bool
    automatic: bool


@dataclass(frozen=True, slots=True)
class NoticeView:
    """One mail, newest first. `kind`: run_ended, run_failed, integration_disabled. `state`: waiting (for `due_at`),
    sent, failed. `waiting` addresses are to be told, `sent` were, `refused` never will be; `detail` says why."""

    run_id: int
    kind: str
    state: str
    waiting: int
    sent: int
    refused: int
    attempts: int
    detail: str
    created_at: datetime
    due_at: datetime
    sent_at: datetime | None


class NotificationService:
    """Everything raises NotFound (integration), NotAllowed."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def get(self, actor: Actor, integration_id: int) -> Notifications:
        actor.must(Permission.CONFIGURE)
        with self._db.transaction() as session:
            return notifications_of(load_own(session, actor.workspace, integration_id))

    def save(
        self, actor: Actor, integration_id: int, addresses: Sequence[str], *, manual: bool, automatic: bool
    ) -> Notifications:
        """Replaces what is there; no address: nobody is told. Raises Refused, which does not repeat an address."""
        actor.must(Permission.CONFIGURE)
        wanted = Notifications(checked(addresses), manual, automatic)
        with self._db.transaction() as session:
            row = load_own(session, actor.workspace, integration_id, lock=True)
            before = notifications_of(row)
            if before != wanted:
                row.notify_addresses = list(wanted.addresses)
                row.notify_manual, row.notify_automatic = wanted.manual, wanted.automatic
                told = _told(before, wanted), _told(wanted, before)
                audit.record(session, actor, Action.NOTIFICATIONS_SET, row.id, before=told[0], after=told[1])
        return wanted

    def recent(self, actor: Actor, integration_id: int, limit: int = 20) -> list[NoticeView]:
        actor.must(Permission.CONFIGURE)
        with self._db.transaction() as session:
            load_own(session, actor.workspace, integration_id)
            values = {"integration": integration_id, "workspace": actor.workspace, "limit": limit}
            rows = session.execute(_RECENT, values).mappings().all()
        return [NoticeView(**row) for row in rows]


def notifications_of(row: Integration) -> Notifications:
    return Notifications(tuple(row.notify_addresses), row.notify_manual, row.notify_automatic)


def checked(addresses: Sequence[str]) -> tuple[str, ...]:
    """In their usual spelling, each once. Syntax alone: a host of the own network is no mistake, and no DNS is asked.
    Raises Refused."""
    if len(addresses) > MOST_ADDRESSES:
        raise Refused(f"At most {MOST_ADDRESSES} addresses can be told.", code="TOO_MANY_ADDRESSES")
    from email_validator import EmailNotValidError, validate_email  # takes a tenth of a second, of each command

    found: dict[str, str] = {}
    for number, address in enumerate(addresses, 1):
        try:
            known = validate_email(
                address, check_deliverability=False, globally_deliverable=False, allow_smtputf8=False, strict=True
            )
        except EmailNotValidError:
            raise Refused(f"Address {number} is no e-mail address.", code="BAD_ADDRESS") from None
        spelled = f"{known.local_part}@{known.ascii_domain}"
        found.setdefault(spelled.casefold(), spelled)
    return tuple(found.values())


def _told(one: Notifications, other: Notifications) -> dict[str, object]:
    """For the audit log: how many, and that they are others where only their number is the same."""
    same_number = len(one.addresses) == len(other.addresses) and one.addresses != other.addresses
    number: object = f"{len(one.addresses)}, others" if same_number else len(one.addresses)
    return {"addresses": number, "manual": one.manual, "automatic": one.automatic}
