"""Integrations: making one of two connected orgs, and looking at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from shared.db.models import Connection, Integration, Org
from shared.db.queries import imports
from shared.db.repositories import audit
from shared.db.repositories.integrations import load_own
from shared.db.session import Database
from shared.engine.neighbours import neighbours
from shared.engine.zones import zone_named
from shared.errors import NotFound, Refused
from shared.integrations.base import Integration as Declaration
from shared.integrations.base import PairDeclaration
from shared.integrations.registry import integration as declared
from shared.integrations.registry import integrations as all_declared
from shared.services.notifications import Notifications, notifications_of
from shared.settings import Settings
from shared.sync.access import Actor, Permission
from shared.sync.audit import Action
from shared.sync.calendar import zone_of
from shared.sync.guards import Neighbour, types_agree
from shared.sync.model import Policy, Side
from shared.sync.states import IntegrationState as State
from shared.sync.states import may_become

SHORTEST_S, LONGEST_S = 300, 31 * 86_400
"""Between two syncs by the clock."""


@dataclass(frozen=True, slots=True)
class IntegrationView:
    """For people. Times are aware UTC; `next_run_at` None: nothing is planned. `held_back`: what vanished at once,
    {"companies/left": {"missing": 12, "of": 40}}, and is not believed until a person says so (TR-13). `time_zone` is
    that of its days, whoever named it. `disabled_code`: the rule that disabled it, which support alone can undo (ST-4).
    `notifications` None: whoever asks may not configure."""

    id: int
    kind: str
    label: str
    name: str
    state: str
    left_vendor: str
    left_org_id: int
    left_org: str
    right_vendor: str
    right_org_id: int
    right_org: str
    sync_type: str
    policy: str
    pairs: tuple[str, ...]
    fetched_at: datetime | None
    next_run_at: datetime | None
    schedule_on: bool
    schedule_interval_s: int
    time_zone: str
    disabled_code: str | None
    disabled_detail: str | None
    disabled_at: datetime | None
    compared_at: datetime | None
    held_back: Mapping[str, Mapping[str, int]]
    notifications: Notifications | None


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

        `sync_type` None: that of an integration which shares an org and must have the same, else the kind's default
        (SU-5). Raises NotFound (kind, org), Refused (wrong vendors, a policy or a sync type it does not have or that is
        not its neighbour's, or there is one already).
        """
        actor.must(Permission.CONFIGURE)
        if kind not in self.kinds():
            known = ", ".join(self.kinds())
            raise NotFound(f"There is no kind of integration {kind!r}; known are {known}.", code="UNKNOWN_KIND")
        declaration = declared(kind)
        must_offer(declaration, policy)
        must_offer_type(declaration, sync_type or declaration.default_type)
        with self._db.transaction() as session:
            others = neighbours(session, kind, left_org_id, right_org_id)
            chosen = sync_type or next((one.sync_type for one in others), declaration.default_type)
            must_agree_type(chosen, others)
            orgs = {
                Side.LEFT: _org(session, actor.workspace, left_org_id),
                Side.RIGHT: _org(session, actor.workspace, right_org_id),
            }
            for side, org in orgs.items():
                if org.vendor not in declaration.vendors(side):
                    raise Refused(
                        f"{declaration.label} needs an org of {' or '.join(declaration.vendors(side))} on the "
                        f"{side.value} side, org {org.id} is of {org.vendor}.",
                        code="WRONG_VENDOR",
                    )
            if not draft:
                must_not_import(session, [left_org_id, right_org_id])
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

    def rename(self, actor: Actor, integration_id: int, name: str) -> None:
        """Nothing where it is called so already. Raises NotFound."""
        actor.must(Permission.CONFIGURE)
        with self._db.transaction() as session:
            row = load_own(session, actor.workspace, integration_id, lock=True)
            before, row.name = row.name, name
            if before != name:
                session.flush()
                audit.record(
                    session, actor, Action.INTEGRATION_RENAMED, row.id, before={"name": before}, after={"name": name}
                )

    def of_workspace(self, actor: Actor) -> list[IntegrationView]:
        actor.must(Permission.VIEW)
        with self._db.transaction() as session:
            return [
                _view(actor, *row)
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
        return _view(actor, *row)

    # When it runs, and whether it may.

    def set_schedule(
        self,
        actor: Actor,
        integration_id: int,
        *,
        on: bool | None = None,
        interval_s: int | None = None,
        time_zone: str | None = None,
    ) -> IntegrationView:
        """TR-2: the next sync comes so long after the end of the last one, or none does by itself. None: as it was;
        `time_zone` "": the accounting org's own again. Raises NotFound, Refused (shorter than five minutes, longer than
        31 days, no such zone)."""
        actor.must(Permission.CONFIGURE)
        if interval_s is not None and not SHORTEST_S <= interval_s <= LONGEST_S:
            raise Refused("A sync comes every five minutes at most, and every 31 days at least.", code="BAD_INTERVAL")
        if time_zone:
            zone_of(time_zone)
        with self._db.transaction() as session:
            row = load_own(session, actor.workspace, integration_id, lock=True)
            before = _schedule(row)
            row.schedule_on = row.schedule_on if on is None else on
            row.schedule_interval_s = interval_s or row.schedule_interval_s
            row.time_zone = row.time_zone if time_zone is None else time_zone or None
            session.flush()
            if before != _schedule(row):
                audit.record(session, actor, Action.SCHEDULE_SET, row.id, before=before, after=_schedule(row))
                session.execute(_PLAN, {"id": row.id})
                session.refresh(row)
        return self.get(actor, integration_id)

    def pause(self, actor: Actor, integration_id: int) -> IntegrationView:
        """Events are kept, nothing is written; a sync that is on rests. Raises NotFound, Refused (not enabled)."""
        return self._move(actor, integration_id, State.PAUSED, Action.INTEGRATION_PAUSED)

    def disable(self, actor: Actor, integration_id: int) -> IntegrationView:
        """No syncs, and events are not taken: what they told of, the first sync after it is enabled finds. A sync that
        is on ends. Raises NotFound, Refused (a draft, disabled already)."""
        return self._move(actor, integration_id, State.DISABLED, Action.INTEGRATION_DISABLED)

    def enable(self, actor: Actor, integration_id: int) -> IntegrationView:
        """What a person paused or disabled goes on. Raises NotFound, Refused (a draft, enabled already, disabled by a
        rule: support alone may; an import is on)."""
        return self._move(actor, integration_id, State.ENABLED, Action.INTEGRATION_ENABLED)

    def enable_again(self, actor: Actor, integration_id: int, note: str) -> IntegrationView:
        """ST-4: support lets go on what a rule disabled; `note` is the reason, for the audit log. Where the rule still
        holds the next sync stops it again. Raises NotFound, Refused (no note, no rule disabled it, an import is on)."""
        actor.must(Permission.SUPPORT_ENABLE)
        if not note.strip():
            raise Refused("Say why it may go on: the note is kept in the audit log.", code="NOTE_NEEDED")
        with self._db.transaction() as session:
            row = load_own(session, actor.workspace, integration_id, lock=True)
            if row.disabled_code is None:
                raise Refused(
                    f"Integration {row.id} was not disabled by a rule; whoever configures it may enable it.",
                    code="NOT_STOPPED",
                )
            before = {"state": row.state, "code": row.disabled_code}
            must_not_import(session, (row.left_org_id, row.right_org_id))
            _become(session, row, State.ENABLED)
            audit.record(session, actor, Action.ENABLED_BY_SUPPORT, row.id, before=before, after={"note": note})
        return self.get(actor, integration_id)

    def _move(self, actor: Actor, integration_id: int, wanted: State, action: Action) -> IntegrationView:
        actor.must(Permission.CONFIGURE)
        with self._db.transaction() as session:
            row = load_own(session, actor.workspace, integration_id, lock=True)
            current = State(row.state)
            if current is State.DRAFT:
                raise Refused(f"Integration {row.id} is a draft; its set-up ends by enabling it.", code="DRAFT")
            if not may_become(current, wanted):
                raise Refused(f"Integration {row.id} is {current.value}.", code="WRONG_STATE")
            if row.disabled_code is not None:
                raise Refused(
                    f"A rule disabled integration {row.id}: {row.disabled_detail} Only support can enable it again: "
                    f"`bothways support enable {row.id} --note \u2026` on the installation's host.",
                    code="SUPPORT_NEEDED",
                )
            if wanted is State.ENABLED:
                must_not_import(session, (row.left_org_id, row.right_org_id))
            _become(session, row, wanted)
            audit.record(session, actor, action, row.id, before={"state": current.value}, after={"state": wanted.value})
        return self.get(actor, integration_id)

    def kinds(self) -> list[str]:
        return list(all_declared())


def pairs_of(row: Integration) -> tuple[PairDeclaration, ...]:
    """What it has events of, in the order of a sync."""
    return declared(row.kind).in_force(row.sync_type, invoices=bool(row.invoicing.get("on")))


def must_not_import(session: Session, orgs: Sequence[int]) -> None:
    """SU-2: nothing is enabled while an import is in progress. Raises Refused."""
    imports.lock_orgs(session, orgs)
    busy = imports.import_on(session, orgs, parked=True)
    if busy is not None:
        raise Refused(
            f"Import {busy.id} into one of the two orgs is in progress; wait until it ends.", code="IMPORT_IN_PROGRESS"
        )


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


def must_agree_type(sync_type: str, others: Sequence[Neighbour]) -> None:
    """Raises Refused where an integration that shares an org takes something else of its companies and contacts."""
    refusal = types_agree(sync_type, others)
    if refusal is not None:
        raise Refused(refusal.sentence, code=refusal.code)


def _become(session: Session, row: Integration, wanted: State) -> None:
    """Who comes back from being disabled took no events meanwhile: a sync is due at once, and lists everything, since
    what was deleted shows in no other (TR-13)."""
    missed = row.state == State.DISABLED and wanted is State.ENABLED
    row.state = wanted.value
    row.disabled_code = row.disabled_detail = row.disabled_at = None
    if wanted is State.DISABLED:
        row.next_run_at = None
    session.flush()
    if missed:
        session.execute(
            text("UPDATE integration SET next_run_at = clock_timestamp(), compared_at = NULL WHERE id = :id"),
            {"id": row.id},
        )


# Counted from the end of the last scheduled or manual sync, not from now. While one is on nothing is planned: its end
# does that. Before the first one nothing is due; what is due already stays so.
_PLAN = text(
    """
    UPDATE integration i SET next_run_at = CASE WHEN i.next_run_at <= clock_timestamp() THEN i.next_run_at
        WHEN i.schedule_on THEN last.ended_at + make_interval(secs => i.schedule_interval_s) END
    FROM (SELECT max(ended_at) AS ended_at, bool_or(ended_at IS NULL) AS busy FROM run
          WHERE integration_id = :id AND kind = 'sync') last
    WHERE i.id = :id AND i.state IN ('enabled', 'paused') AND NOT coalesce(last.busy, false)
    """
)


def _schedule(row: Integration) -> dict[str, object]:
    return {"on": row.schedule_on, "interval_s": row.schedule_interval_s, "time_zone": row.time_zone}


_left, _right = aliased(Org), aliased(Org)
_left_connection, _right_connection = aliased(Connection), aliased(Connection)


def _query() -> Select[Integration, Org, Org, Connection, Connection]:
    return (
        select(Integration, _left, _right, _left_connection, _right_connection)
        .join(_left, _left.id == Integration.left_org_id)
        .join(_right, _right.id == Integration.right_org_id)
        .outerjoin(_left_connection, _left_connection.org_id == _left.id)
        .outerjoin(_right_connection, _right_connection.org_id == _right.id)
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


def _view(
    actor: Actor,
    row: Integration,
    left: Org,
    right: Org,
    left_connection: Connection | None,
    right_connection: Connection | None,
) -> IntegrationView:
    declaration = declared(row.kind)
    accounting = (left, left_connection) if declaration.tie_side is Side.LEFT else (right, right_connection)
    zone = zone_named(row, *accounting)
    return IntegrationView(
        id=row.id,
        kind=row.kind,
        label=declaration.label,
        name=row.name,
        state=row.state,
        left_vendor=left.vendor,
        left_org_id=left.id,
        left_org=left.name,
        right_vendor=right.vendor,
        right_org_id=right.id,
        right_org=right.name,
        sync_type=row.sync_type,
        policy=row.policy,
        pairs=tuple(one.name for one in pairs_of(row)),
        fetched_at=row.fetched_at,
        next_run_at=row.next_run_at,
        schedule_on=row.schedule_on,
        schedule_interval_s=row.schedule_interval_s,
        time_zone=zone.key,
        disabled_code=row.disabled_code,
        disabled_detail=row.disabled_detail,
        disabled_at=row.disabled_at,
        compared_at=row.compared_at,
        held_back=row.held_back,
        notifications=notifications_of(row) if actor.may(Permission.CONFIGURE) else None,
    )
