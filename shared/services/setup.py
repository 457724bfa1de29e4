"""Set-up of an integration, step by step (SU-2): policy and sync type, the mapping of each pair, then enabled, once.

A draft is set up without touching a vendor; nothing runs until it is enabled. `IntegrationService.create` makes one
that is enabled at once, with defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from shared.db.models import Integration
from shared.db.repositories import audit
from shared.db.repositories.integrations import load_own
from shared.db.session import Database
from shared.engine.neighbours import neighbours
from shared.errors import NotFound, Refused
from shared.integrations.base import Integration as Declaration
from shared.integrations.registry import integration as declared
from shared.services.integrations import (
    IntegrationService,
    must_agree_type,
    must_not_import,
    must_offer,
    must_offer_type,
)
from shared.services.mappings import MappingService
from shared.sync.access import Actor, Permission
from shared.sync.audit import Action
from shared.sync.model import Policy
from shared.sync.setup import POLICY, mapping_step, may_do, next_step, pair_of, steps_of


@dataclass(frozen=True, slots=True)
class StepView:
    """`key`: policy, or mapping:<pair>. `open`: the ones before it are done."""

    key: str
    label: str
    done: bool
    open: bool


@dataclass(frozen=True, slots=True)
class SyncTypeView:
    """`offered` False: described, but it cannot be chosen yet."""

    key: str
    label: str
    description: str
    offered: bool


@dataclass(frozen=True, slots=True)
class SetupView:
    """`next_step` None: all are done. `state`: draft until it is enabled."""

    integration_id: int
    state: str
    policy: str
    policies: tuple[str, ...]
    sync_type: str
    sync_types: tuple[SyncTypeView, ...]
    steps: tuple[StepView, ...]
    next_step: str | None


class SetupService:
    """Everything raises NotFound (integration, pair), NotAllowed; what changes raises Refused: it is no draft any more,
    a step before is not done, an import is on."""

    def __init__(self, database: Database, integrations: IntegrationService, mappings: MappingService) -> None:
        self._db = database
        self._integrations = integrations
        self._mappings = mappings

    def begin(self, actor: Actor, kind: str, left_org_id: int, right_org_id: int, name: str | None = None) -> int:
        """A draft. Raises as `IntegrationService.create`."""
        return self._integrations.create(actor, kind, left_org_id, right_org_id, name, draft=True)

    def get(self, actor: Actor, integration_id: int) -> SetupView:
        actor.must(Permission.VIEW)
        with self._db.transaction() as session:
            return _view(load_own(session, actor.workspace, integration_id))

    def choose(self, actor: Actor, integration_id: int, policy: Policy, sync_type: str) -> SetupView:
        """What happens where a match is found, and which records are synced (DU-3, SU-5)."""
        actor.must(Permission.CONFIGURE)
        with self._db.transaction() as session:
            row = _draft(session, actor, integration_id)
            declaration = declared(row.kind)
            must_offer(declaration, policy)
            must_offer_type(declaration, sync_type)
            must_agree_type(sync_type, neighbours(session, row.kind, row.left_org_id, row.right_org_id, but=row.id))
            before = {"policy": row.policy, "sync_type": row.sync_type}
            row.policy, row.sync_type = policy.value, sync_type
            self._do(session, actor, row, POLICY, before, {"policy": policy.value, "sync_type": sync_type})
            return _view(row)

    def confirm_mapping(
        self, actor: Actor, integration_id: int, pair: str, *, last_change_wins: bool = False
    ) -> SetupView:
        """The mapping of the pair is right as it stands; `MappingService.save` changes it. Raises Refused, naming what
        is wrong with it. `last_change_wins` as there."""
        actor.must(Permission.CONFIGURE)
        mapping = self._mappings.get(actor, integration_id, pair)
        if wrong := [one.sentence for one in mapping.problems if not one.warning]:
            raise Refused(f"The mapping of {pair} cannot be used. " + " ".join(wrong), code="MAPPING_REFUSED")
        with self._db.transaction() as session:
            row = _draft(session, actor, integration_id)
            self._mappings.agree(session, row, pair, last_change_wins=last_change_wins)
            self._do(session, actor, row, mapping_step(pair), {}, {"contested": row.contested_agreed.get(pair, [])})
            return _view(row)

    def enable(self, actor: Actor, integration_id: int) -> SetupView:
        """Save and Enable: once, when all steps are done. Fetch comes next (SU-4)."""
        actor.must(Permission.CONFIGURE)
        with self._db.transaction() as session:
            row = _draft(session, actor, integration_id)
            missing = next_step(_steps(row), row.setup_done)
            if missing is not None:
                raise _too_early("enabled", missing, declared(row.kind))
            row.state = "enabled"
            audit.record(session, actor, Action.INTEGRATION_ENABLED, row.id, before={"state": "draft"})
            return _view(row)

    def discard(self, actor: Actor, integration_id: int) -> None:
        """A draft that is not wanted any more. Nothing has run by it."""
        actor.must(Permission.CONFIGURE)
        with self._db.transaction() as session:
            row = _draft(session, actor, integration_id)
            audit.record(session, actor, Action.DRAFT_DISCARDED, row.id, before={"kind": row.kind, "name": row.name})
            session.delete(row)

    def _do(
        self,
        session: Session,
        actor: Actor,
        row: Integration,
        step: str,
        before: Mapping[str, object],
        after: Mapping[str, object],
    ) -> None:
        steps = _steps(row)
        if step not in steps:
            raise NotFound(f"Set-up of integration {row.id} has no step {step!r}.", code="UNKNOWN_STEP")
        if not may_do(step, steps, row.setup_done):
            raise _too_early(f"done ({step})", next_step(steps, row.setup_done) or "", declared(row.kind))
        row.setup_done = [one for one in steps if one == step or one in row.setup_done]
        audit.record(session, actor, Action.SETUP_STEP_DONE, row.id, before=before, after={"step": step, **after})


def _draft(session: Session, actor: Actor, integration_id: int) -> Integration:
    row = load_own(session, actor.workspace, integration_id, lock=True)
    if row.state != "draft":
        raise Refused(f"Integration {integration_id} is set up already; set-up is done once.", code="ALREADY_SET_UP")
    must_not_import(session, (row.left_org_id, row.right_org_id))
    return row


def _steps(row: Integration) -> tuple[str, ...]:
    declaration = declared(row.kind)
    synced = declaration.sync_type(row.sync_type).pairs
    return steps_of([one.name for one in declaration.pairs if one.name in synced])


def _too_early(what: str, missing: str, declaration: Declaration) -> Refused:
    return Refused(f"It cannot be {what} yet: first {_label(missing, declaration)}.", code="SETUP_ORDER")


def _label(step: str, declaration: Declaration) -> str:
    pair = pair_of(step)
    return "the duplicates policy" if pair is None else f"the mapping of {declaration.declaration(pair).label}"


def _view(row: Integration) -> SetupView:
    declaration, steps = declared(row.kind), _steps(row)
    done = row.setup_done if row.state == "draft" else steps
    return SetupView(
        integration_id=row.id,
        state=row.state,
        policy=row.policy,
        policies=tuple(one.value for one in declaration.policies),
        sync_type=row.sync_type,
        sync_types=tuple(
            SyncTypeView(one.key, one.label, one.description, one.offered) for one in declaration.sync_types
        ),
        steps=tuple(
            StepView(step, _label(step, declaration), step in done, may_do(step, steps, done)) for step in steps
        ),
        next_step=next_step(steps, done),
    )
