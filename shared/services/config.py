"""An integration's whole configuration: exported, checked, imported (SU-6).

An import goes through the services that people change each part by, all of them in one transaction: what one refuses
nothing of is saved, and a check is the same, taken back at its end.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.connectors.custom_fields import CustomField
from shared.db.models import Connection, Integration, Org
from shared.db.repositories.integrations import load_own
from shared.db.session import Database, Joined
from shared.errors import ConfigError, NotFound, Refused
from shared.integrations.base import Integration as Declaration
from shared.integrations.defaults import Line
from shared.integrations.registry import integration as declared
from shared.integrations.registry import integrations
from shared.services.config_file import Config, Invoices, OrgConfig, Schedule, Told, read, written
from shared.services.connections import ConnectionService
from shared.services.integrations import IntegrationService
from shared.services.invoicing import InvoicingService
from shared.services.mappings import MappingService
from shared.services.notifications import NotificationService
from shared.services.org_settings import UPSERT_FIELD, OrgSettingsService
from shared.services.setup import SetupService
from shared.settings import Settings
from shared.sync.access import Actor, Permission
from shared.sync.model import Policy, Side


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """`diff`: of the file as it was exported before and as it would be after, "" where nothing changes.
    `integration_id` None: there would be a new one. `saved` False: it was only checked."""

    integration_id: int | None
    saved: bool
    diff: str


class ConfigService:
    """Everything raises NotFound (integration, org), NotAllowed; importing raises Refused with the places in the file
    that are wrong, or as the service does that a part goes through, and ConfigError (an org is not connected)."""

    def __init__(self, database: Database, settings: Settings, connections: ConnectionService) -> None:
        self._db = database
        self._settings = settings
        self._connections = connections

    def export(self, actor: Actor, integration_id: int) -> str:
        """Needs `configure`: addresses of people are in it."""
        actor.must(Permission.CONFIGURE)
        with self._db.transaction() as session:
            return written(_config_of(session, load_own(session, actor.workspace, integration_id)))

    def create(
        self, actor: Actor, text: str, left_org_id: int, right_org_id: int, *, check: bool = False
    ) -> ConfigChange:
        """A draft of two connected orgs with all its steps done: looked at, it can be enabled."""
        actor.must(Permission.CONFIGURE)
        with self._together(keep=not check) as session:
            for org_id in (left_org_id, right_org_id):
                _own_org(session, actor, org_id)
            config = _read(text)
            made = self._services(session).integrations.create(
                actor, config.kind, left_org_id, right_org_id, config.name, config.policy,
                sync_type=config.sync_type, draft=True,
            )  # fmt: skip
            self._apply(session, actor, made, config)
            self._confirm(session, actor, made, config)
            after = written(_config_of(session, load_own(session, actor.workspace, made)))
        return ConfigChange(None if check else made, not check, _diff("", after))

    def save(self, actor: Actor, integration_id: int, text: str, *, check: bool = False) -> ConfigChange:
        """Makes it what the file says. Kind and orgs stay; type and policy can be changed of a draft alone."""
        actor.must(Permission.CONFIGURE)
        with self._together(keep=not check) as session:
            row = load_own(session, actor.workspace, integration_id, lock=True)
            config = _read(text)
            if config.kind != row.kind:
                raise Refused(f"The file is of {config.kind}, the integration of {row.kind}.", code="WRONG_KIND")
            before = written(_config_of(session, row))
            if (config.policy, config.sync_type) != (row.policy, row.sync_type):
                if row.state != "draft":
                    raise Refused(
                        f"policy and sync_type: integration {integration_id} is set up, and they stay as they are.",
                        code="ALREADY_SET_UP",
                    )
                self._services(session).setup.choose(actor, integration_id, config.policy, config.sync_type)
            self._apply(session, actor, integration_id, config)
            session.expire_all()
            after = written(_config_of(session, load_own(session, actor.workspace, integration_id)))
        return ConfigChange(integration_id, not check, _diff(before, after))

    # Parts of an import, in the order in which one needs another.

    def _apply(self, session: Session, actor: Actor, integration_id: int, config: Config) -> None:
        services, row = self._services(session), load_own(session, actor.workspace, integration_id)
        for side in Side:
            org = config.left if side is Side.LEFT else config.right
            wanted = session.get_one(Org, _org_id(row, side)).vendor
            if org.vendor != wanted:
                raise Refused(f"{side.value}.vendor is {org.vendor}, and the org is of {wanted}.", code="WRONG_VENDOR")
            _apply_org(session, services.org_settings, actor, _org_id(row, side), org)
        services.integrations.rename(actor, integration_id, config.name)
        services.integrations.set_schedule(
            actor, integration_id, on=config.schedule.automatic, interval_s=config.schedule.interval_s,
            time_zone=config.schedule.time_zone,
        )  # fmt: skip
        told = config.notifications
        services.notifications.save(actor, integration_id, told.addresses, manual=told.manual, automatic=told.automatic)
        if config.invoicing is not None and config.invoicing != _invoices(row):
            wished = config.invoicing
            services.invoicing.set(
                actor, integration_id, on=wished.on, statuses=wished.statuses, terms_days=wished.terms_days
            )
        synced = declared(row.kind).sync_type(config.sync_type).pairs
        for pair in (one.name for one in declared(row.kind).declared):
            lines = config.mappings.get(pair)
            if pair in synced or lines is not None or row.mapping.get(pair) is not None:
                agreed = config.agreed_fields.get(pair, ())
                services.mappings.save(actor, integration_id, pair, lines, agreed=agreed)

    def _confirm(self, session: Session, actor: Actor, integration_id: int, config: Config) -> None:
        setup = self._services(session).setup
        setup.choose(actor, integration_id, config.policy, config.sync_type)
        for pair in (one.name for one in declared(config.kind).pairs):
            if pair in declared(config.kind).sync_type(config.sync_type).pairs:
                setup.confirm_mapping(actor, integration_id, pair)

    def _services(self, session: Session) -> _Services:
        joined = Joined(session)
        integrations, mappings = IntegrationService(joined, self._settings), MappingService(joined)
        return _Services(
            integrations,
            mappings,
            SetupService(joined, integrations, mappings),
            NotificationService(joined),
            OrgSettingsService(joined, self._connections),
            InvoicingService(joined),
        )

    @contextmanager
    def _together(self, *, keep: bool) -> Iterator[Session]:
        """One transaction; `keep` False: all of it is taken back, whatever came of it."""
        try:
            with self._db.transaction() as session:
                yield session
                if not keep:
                    raise _TakenBack
        except _TakenBack:
            pass


class _TakenBack(Exception):
    pass


@dataclass(frozen=True, slots=True)
class _Services:
    """Those that take part in one transaction."""

    integrations: IntegrationService
    mappings: MappingService
    setup: SetupService
    notifications: NotificationService
    org_settings: OrgSettingsService
    invoicing: InvoicingService


def _read(text: str) -> Config:
    """As `config_file.read`, and names that the kind does not have are refused with their places."""
    config = read(text)
    if config.kind not in integrations():
        raise Refused(f"kind: there is {', '.join(integrations())}.", code="CONFIG_REFUSED")
    pairs = [one.name for one in declared(config.kind).declared]
    for part, named in (("mappings", config.mappings), ("agreed_fields", config.agreed_fields)):
        for name in named:
            if name not in pairs:
                raise Refused(f"{part}.{name}: there is {', '.join(pairs)}.", code="CONFIG_REFUSED")
    if config.sync_type not in [one.key for one in declared(config.kind).sync_types if one.offered]:
        offered = ", ".join(one.key for one in declared(config.kind).sync_types if one.offered)
        raise Refused(f"sync_type: there is {offered}.", code="CONFIG_REFUSED")
    return config


def _apply_org(session: Session, service: OrgSettingsService, actor: Actor, org_id: int, wanted: OrgConfig) -> None:
    """What is as it should be is left alone: it is shared with other integrations of the org."""
    connection = session.scalars(select(Connection).where(Connection.org_id == org_id)).first()
    if connection is None:
        raise ConfigError(f"Org {org_id} is not connected. Connect it first.", code="NOT_CONNECTED")
    held = _held(session, org_id)
    if wanted.capabilities != held.capabilities:
        gone: dict[str, bool | int | str | None] = dict.fromkeys(held.capabilities)
        service.set_capabilities(actor, connection.id, {**gone, **wanted.capabilities})
    ids = {
        (module, one["name"]): one.get("wire_id", "")
        for module, fields in _settings_of(session, org_id, "custom_fields").items()
        for one in fields
    }
    for module in dict.fromkeys([*held.custom_fields, *wanted.custom_fields]):
        fields = wanted.custom_fields.get(module, ())
        if fields != held.custom_fields.get(module, ()):
            known = [one.model_copy(update={"wire_id": ids.get((module, one.name), "")}) for one in fields]
            service.set_custom_fields(actor, connection.id, module, known)
    for module in dict.fromkeys([*held.private_fields, *wanted.private_fields]):
        names = wanted.private_fields.get(module, ())
        if set(names) != set(held.private_fields.get(module, ())):
            service.set_private_fields(actor, connection.id, module, names)


# What there is


def _config_of(session: Session, row: Integration) -> Config:
    declaration: Declaration = declared(row.kind)
    synced = declaration.sync_type(row.sync_type).pairs
    return Config(
        kind=row.kind,
        name=row.name,
        sync_type=row.sync_type,
        policy=Policy(row.policy),
        schedule=Schedule(automatic=row.schedule_on, interval_s=row.schedule_interval_s, time_zone=row.time_zone or ""),
        invoicing=_invoices(row),
        notifications=Told(
            addresses=tuple(row.notify_addresses), manual=row.notify_manual, automatic=row.notify_automatic
        ),
        mappings={
            one.name: _lines(row.mapping.get(one.name))
            for one in declaration.declared
            if one.name in synced or row.mapping.get(one.name) is not None
        },
        agreed_fields={pair: tuple(keys) for pair, keys in sorted(row.contested_agreed.items()) if keys},
        left=_held(session, row.left_org_id),
        right=_held(session, row.right_org_id),
    )


def _invoices(row: Integration) -> Invoices | None:
    """None: this kind of integration makes none."""
    offered, held = declared(row.kind).invoicing, row.invoicing
    if offered is None:
        return None
    return Invoices(
        on=bool(held.get("on")),
        statuses=tuple(held.get("statuses", offered.statuses)),
        terms_days=held.get("terms_days", 0),
    )


def _lines(stored: Any) -> tuple[Line, ...] | None:
    return None if stored is None else tuple(Line.model_validate(one) for one in stored)


def _held(session: Session, org_id: int) -> OrgConfig:
    """Without the helper field, which `bothways helpers` finds anew in another org, and without the vendor's ids."""
    org = session.get_one(Org, org_id)
    capabilities, custom, private = (
        _settings_of(session, org_id, name) for name in ("capabilities", "custom_fields", "private_fields")
    )
    return OrgConfig(
        vendor=org.vendor,
        capabilities={name: value for name, value in sorted(capabilities.items()) if name != UPSERT_FIELD},
        custom_fields={
            module: tuple(CustomField.model_validate(one).model_copy(update={"wire_id": ""}) for one in fields)
            for module, fields in sorted(custom.items())
            if fields
        },
        private_fields={module: tuple(names) for module, names in sorted(private.items()) if names},
    )


def _settings_of(session: Session, org_id: int, name: str) -> Mapping[str, Any]:
    found = session.get_one(Org, org_id).settings.get(name)
    return found if isinstance(found, dict) else {}


def _own_org(session: Session, actor: Actor, org_id: int) -> None:
    org = session.get(Org, org_id)
    if org is None or org.workspace_id != actor.workspace:
        raise NotFound(f"There is no org {org_id}.", code="UNKNOWN_ORG")


def _org_id(row: Integration, side: Side) -> int:
    return row.left_org_id if side is Side.LEFT else row.right_org_id


def _diff(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "before", "after", lineterm="", n=1)
    return "".join(f"{line}\n" for line in lines)
