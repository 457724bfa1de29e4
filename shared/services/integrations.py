"""Integrations: making one of two connected orgs, and looking at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from shared.db.models import Integration, Org
from shared.db.repositories import audit
from shared.db.session import Database
from shared.errors import NotFound, Refused
from shared.integrations.base import Integration as Declaration
from shared.integrations.registry import integration as declared
from shared.integrations.registry import integrations as all_declared
from shared.settings import Settings
from shared.sync.access import Actor, Permission
from shared.sync.audit import Action
from shared.sync.model import Policy, Side


@dataclass(frozen=True, slots=True)
class IntegrationView:
    """For people. Times are aware UTC; `next_run_at` None: nothing is planned. `held_back`: what vanished at once,
    {"companies/left": {"missing": 12, "of": 40}}, and is not believed until a person says so (TR-13)."""

    id: int
    kind: str
    label: str
    name: str
    state: str
    left_vendor: str
    left_org: str
    right_vendor: str
    right_org: str
    sync_type: str
    policy: str
    pairs: tuple[str, ...]
    fetched_at: datetime | None
    next_run_at: datetime | None
    schedule_on: bool
    schedule_interval_s: int
    compared_at: datetime | None
    held_back: Mapping[str, Mapping[str, int]]


class IntegrationService:
    def __init__(self, database: Database, settings: Settings) -> None:
        self._db = database
        self._settings = settings

    def create(
        self,
        actor: Actor,
        kind: str,
        left_org_id: int,
        right_org_id: int,
        name: str | None = None,
        policy: Policy = Policy.OVERWRITE,
        *,
        sync_type: str | None = None,
        draft: bool = False,
    ) -> int:
        """Enabled at once with its defaults, or a `draft` to be set up; Fetch must run before the first sync (SU-4).

        `sync_type` None: the kind's default (SU-5). Raises NotFound (kind, org), Refused (wrong vendors, a policy or a
        sync type it does not have, or there is one already).
        """
        actor.must(Permission.CONFIGURE)
        if kind not in self.kinds():
            known = ", ".join(self.kinds())
            raise NotFound(f"There is no kind of integration {kind!r}; known are {known}.", code="UNKNOWN_KIND")
        declaration = declared(kind)
        must_offer(declaration, policy)
        chosen = sync_type or declaration.default_type
        must_offer_type(declaration, chosen)
        with self._db.transaction() as session:
            orgs = {
                Side.LEFT: _org(session, actor.workspace, left_org_id),
                Side.RIGHT: _org(session, actor.workspace, right_org_id),
            }
            for side, org in orgs.items():
                if org.vendor != declaration.vendor(side):
                    raise Refused(
                        f"{declaration.label} needs an org of {declaration.vendor(side)} on the {side.value} side, "
                        f"org {org.id} is of {org.vendor}.",
                        code="WRONG_VENDOR",
                    )
            title = name or f"{orgs[Side.LEFT].name} - {orgs[Side.RIGHT].name}"
            row = Integration(
                workspace_id=actor.workspace,
                kind=kind,
                name=title,
                left_org_id=left_org_id,
                right_org_id=right_org_id,
                state="draft" if draft else "enabled",
                policy=policy.value,
                sync_type=chosen,
                schedule_interval_s=round(self._settings.schedule_interval_h * 3600),
                mapping={},
            )
            session.add(row)
            try:
                session.flush()
            except IntegrityError:
                raise Refused("There is an integration of these two orgs already.", code="EXISTS") from None
            audit.record(session, actor, Action.INTEGRATION_CREATED, row.id, after=_told(row))
            return row.id

    def of_workspace(self, actor: Actor) -> list[IntegrationView]:
        actor.must(Permission.VIEW)
        with self._db.transaction() as session:
            return [
                _view(row[0], row[1], row[2])
                for row in session.execute(_query().where(Integration.workspace_id == actor.workspace))
            ]

    def get(self, actor: Actor, integration_id: int) -> IntegrationView:
        """Raises NotFound; another workspace's integration is not found either."""
        actor.must(Permission.VIEW)
        with self._db.transaction() as session:
            row = session.execute(
                _query().where(Integration.workspace_id == actor.workspace, Integration.id == integration_id)
            ).first()
        if row is None:
            raise NotFound(
                f"There is no integration {integration_id}. See `bothways integrations`.", code="UNKNOWN_INTEGRATION"
            )
        return _view(row[0], row[1], row[2])

    def kinds(self) -> list[str]:
        return list(all_declared())


def must_offer(declaration: Declaration, policy: Policy) -> None:
    """Raises Refused where the kind of integration has no such duplicates policy (DU-3)."""
    if policy not in declaration.policies:
        raise Refused(
            f"{declaration.label} has no duplicates policy {policy.value}; it has "
            f"{', '.join(one.value for one in declaration.policies)}.",
            code="POLICY_NOT_AVAILABLE",
        )


def must_offer_type(declaration: Declaration, sync_type: str) -> None:
    """Raises Refused where the kind of integration has no such sync type, or none to choose (SU-5)."""
    offered = [one.key for one in declaration.sync_types if one.offered]
    if sync_type not in offered:
        raise Refused(
            f"There is no sync type {sync_type} to choose; there is {', '.join(offered)}.",
            code="SYNC_TYPE_NOT_AVAILABLE",
        )


_left, _right = aliased(Org), aliased(Org)


def _query() -> Select[Integration, Org, Org]:
    return (
        select(Integration, _left, _right)
        .join(_left, _left.id == Integration.left_org_id)
        .join(_right, _right.id == Integration.right_org_id)
        .order_by(Integration.id)
    )


def _org(session: Session, workspace_id: int, org_id: int) -> Org:
    org = session.get(Org, org_id)
    if org is None or org.workspace_id != workspace_id:
        raise NotFound(f"There is no org {org_id}.", code="UNKNOWN_ORG")
    return org


def _told(row: Integration) -> dict[str, object]:
    """For the audit log."""
    return {
        "kind": row.kind,
        "name": row.name,
        "left_org_id": row.left_org_id,
        "right_org_id": row.right_org_id,
        "state": row.state,
        "policy": row.policy,
        "sync_type": row.sync_type,
        "schedule_interval_s": row.schedule_interval_s,
    }


def _view(row: Integration, left: Org, right: Org) -> IntegrationView:
    declaration = declared(row.kind)
    synced = declaration.sync_type(row.sync_type).pairs
    return IntegrationView(
        id=row.id,
        kind=row.kind,
        label=declaration.label,
        name=row.name,
        state=row.state,
        left_vendor=left.vendor,
        left_org=left.name,
        right_vendor=right.vendor,
        right_org=right.name,
        sync_type=row.sync_type,
        policy=row.policy,
        pairs=tuple(one.name for one in declaration.pairs if one.name in synced),
        fetched_at=row.fetched_at,
        next_run_at=row.next_run_at,
        schedule_on=row.schedule_on,
        schedule_interval_s=row.schedule_interval_s,
        compared_at=row.compared_at,
        held_back=row.held_back,
    )
