"""What the doors hold for their life: database, Redis, services. Made once by `open_doors`, closed by the door."""

from __future__ import annotations

from dataclasses import dataclass

from shared.bus import Bus, make_async_redis, make_redis
from shared.db.session import Database, make_engine
from shared.intake import Intake
from shared.lease import Leases
from shared.services.api_tokens import ApiTokenService
from shared.services.audit import AuditService
from shared.services.bindings import BindingService
from shared.services.config import ConfigService
from shared.services.connections import ConnectionService
from shared.services.events import EventService
from shared.services.imports import ImportService
from shared.services.integrations import IntegrationService
from shared.services.invoicing import InvoicingService
from shared.services.log_export import LogExportService
from shared.services.mappings import MappingService
from shared.services.notifications import NotificationService
from shared.services.org_settings import OrgSettingsService
from shared.services.records import RecordService
from shared.services.runs import RunService
from shared.services.setup import SetupService
from shared.services.workspaces import host_actor
from shared.settings import Settings
from shared.sync.access import Actor, support
from shared.vault import load_vault
from shared.wake import CeleryWake, make_sender

REDIS_S = 3.0
"""A sender waits five seconds for its answer; a Redis that does not answer must be told of within them."""


@dataclass(frozen=True, slots=True)
class Doors:
    settings: Settings
    db: Database
    bus: Bus
    connections: ConnectionService
    org_settings: OrgSettingsService
    integrations: IntegrationService
    setup: SetupService
    mappings: MappingService
    invoicing: InvoicingService
    notifications: NotificationService
    config: ConfigService
    bindings: BindingService
    records: RecordService
    runs: RunService
    log_export: LogExportService
    imports: ImportService
    events: EventService
    intake: Intake
    tokens: ApiTokenService
    audit: AuditService

    def host(self) -> Actor:
        """For programs on the host, which have the database's address: they need no token."""
        return host_actor(self.db)

    def support(self) -> Actor:
        """The same people, acting as support (ST-4)."""
        return support(self.host().workspace)

    def close(self) -> None:
        self.db.close()
        self.bus.redis.close()


def open_doors(settings: Settings, *, threads: int = 16) -> Doors:
    """Opens no socket yet: a server that is away shows at the first call, as Unavailable."""
    database = Database(make_engine(settings, threads=threads))
    client = make_redis(settings, timeout_s=REDIS_S)
    bus = Bus(client, settings, worker="door")
    wake = CeleryWake(make_sender(settings))
    intake = Intake(make_async_redis(settings, timeout_s=REDIS_S), wake, settings.webhook_bound)
    connections = ConnectionService(database, load_vault(settings.key_file), settings, client)
    integrations = IntegrationService(database, settings)
    mappings = MappingService(database)
    return Doors(
        settings=settings,
        db=database,
        bus=bus,
        connections=connections,
        org_settings=OrgSettingsService(database, connections),
        integrations=integrations,
        setup=SetupService(database, integrations, mappings),
        mappings=mappings,
        invoicing=InvoicingService(database),
        notifications=NotificationService(database),
        config=ConfigService(database, settings, connections),
        bindings=BindingService(database, Leases(settings)),
        records=RecordService(database, integrations),
        runs=RunService(database, wake, integrations, settings),
        log_export=LogExportService(database, integrations),
        imports=ImportService(database, settings, wake),
        events=EventService(database, bus, wake, connections, settings, intake),
        intake=intake,
        tokens=ApiTokenService(database),
        audit=AuditService(database),
    )
