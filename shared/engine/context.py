"""What a batch or a run needs of its integration: pairs with the mapping in force, orgs, connectors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.bus import BULK, LIVE, Bus, Lane
from shared.connectors.base import Connector, ModuleFacts
from shared.db.models import Connection, Integration
from shared.db.session import Database
from shared.engine.epoch import Epoch
from shared.engine.watchdog import Watchdog
from shared.engine.zones import UTC_ZONE, zone_in_force
from shared.errors import ConfigError, ConnectionBroken, NotFound
from shared.integrations.base import Integration as DeclaredIntegration
from shared.integrations.base import Invoicing, SizeLimit
from shared.integrations.defaults import Line
from shared.integrations.registry import integration as declared_integration
from shared.lease import Leases
from shared.settings import Settings
from shared.sync.events import shard_of
from shared.sync.mapping import foreign_prices, without_foreign_prices, without_private
from shared.sync.model import Pair, Policy, Side


class Wake(Protocol):
    """Wake-ups: may be lost, doubled or late; nothing depends on one (reliability section 1)."""

    def drain(self, lane: Lane) -> None: ...
    def run(self, run_id: int) -> None: ...
    def data_import(self, import_id: int) -> None: ...
    def results(self) -> None: ...
    def canaries(self) -> None: ...


OpenConnector = Callable[[int], Connector]
"""Makes the connector of a connection id. Raises ConfigError."""


RETIRED_S = 120.0
"""Longer than any work on a connector that was opened anew meanwhile: then it is closed."""


class ConnectorPool:
    """One connector per connection and process: httpx clients are shared by its threads.

    A connection that was changed since (signed in again, other limits or capabilities) is opened anew; calls under way
    end on the old one, which is closed some time later.
    """

    def __init__(self, open_connector: OpenConnector) -> None:
        self._open = open_connector
        self._lock = threading.Lock()
        self._connectors: dict[int, tuple[datetime, Connector]] = {}
        self._retired: list[tuple[float, Connector]] = []

    def get(self, connection_id: int, changed_at: datetime) -> Connector:
        with self._lock:
            held = self._connectors.get(connection_id)
            if held is None or held[0] < changed_at:
                fresh = (changed_at, self._open(connection_id))
                if held is not None:
                    self._retired.append((time.monotonic(), held[1]))
                held = self._connectors[connection_id] = fresh
            self._close_retired(RETIRED_S)
            return held[1]

    def _close_retired(self, older_than_s: float) -> None:
        edge = time.monotonic() - older_than_s
        while self._retired and self._retired[0][0] <= edge:
            self._retired.pop(0)[1].close()

    def close(self) -> None:
        with self._lock:
            self._close_retired(0.0)
            for _, connector in self._connectors.values():
                connector.close()
            self._connectors.clear()


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything outside that the engine uses; made once per process by its door."""

    settings: Settings
    db: Database
    bus: Bus
    leases: Leases
    wake: Wake
    connectors: ConnectorPool
    epoch: Epoch
    watchdog: Watchdog


@dataclass(frozen=True, slots=True)
class Orders:
    """Work orders that are invoiced (TR-7): with which of these statuses, if changed `since`; due in `terms_days`."""

    declared: Invoicing
    pair: Pair
    statuses: frozenset[str]
    since: datetime
    terms_days: int


@dataclass(frozen=True)
class Context:
    """An integration as it is now. `connections` and `orgs` are keyed by side."""

    id: int
    workspace_id: int
    kind: str
    name: str
    state: str
    policy: Policy
    fetched: bool
    orgs: Mapping[Side, int]
    connections: Mapping[Side, int]
    pairs: Mapping[str, Pair]
    facts: Mapping[tuple[str, Side], ModuleFacts]
    connectors: Mapping[Side, Connector]
    shards: int
    sync_type: str = ""
    limited: tuple[SizeLimit, ...] = ()
    zone: ZoneInfo = UTC_ZONE
    orders: Orders | None = None
    """None: no invoices are made."""
    foreign_prices: str = ""
    """Why no run may begin: prices are mapped between two base currencies (TR-10). `pairs` are without them."""
    _shared: dict[tuple[str, Side], tuple[str, ...]] = field(default_factory=dict, init=False, repr=False)

    @property
    def org_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self.orgs.values()))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of all that there are events of, in the order of a sync: the pairs, then the work orders."""
        return (*self.pairs, self.orders.pair.name) if self.orders else tuple(self.pairs)

    def pair(self, name: str) -> Pair:
        """Raises KeyError."""
        return self.orders.pair if self.orders and self.orders.pair.name == name else self.pairs[name]

    def sides(self, name: str) -> tuple[Side, ...]:
        """At which its records are listed: work orders at one."""
        return tuple(Side) if name in self.pairs or self.orders is None else (self.orders.declared.side,)

    def awaited(self, name: str) -> bool:
        """Whether records of others may wait until one of this pair is bound: its children, or work orders."""
        return name in self._awaited

    @cached_property
    def _awaited(self) -> frozenset[str]:
        parents = {one.parent.pair for one in self.pairs.values() if one.parent}
        billed = (*self.orders.declared.customers, self.orders.declared.items) if self.orders else ()
        return frozenset({*parents, *billed})

    def lane(self, cls: str, pair: str, side: Side, record_id: str) -> Lane:
        """Events of a record share a lane; its root lock keeps the two ends of a binding apart."""
        return lane_of(self.id, cls, pair, side, record_id, self.shards)

    def lanes(self) -> list[Lane]:
        return [Lane(self.id, cls, shard) for cls in (LIVE, BULK) for shard in range(self.shards)]

    def sharing(self, pair: str, side: Side) -> tuple[str, ...]:
        """The pairs whose records at `side` are of the same module, itself among them, in the order of a sync."""
        found = self._shared.get((pair, side))
        if found is None:
            module = self.pair(pair).module(side)
            found = tuple(name for name, one in self.pairs.items() if one.module(side) == module)
            self._shared[pair, side] = found
        return found

    def inside(self, pair: str, side: Side) -> str | None:
        """The pair whose records at `side` live inside those of this one."""
        for name, one in self.pairs.items():
            if one.parent is not None and one.parent.pair == pair and self.facts[name, side].inside is not None:
                return name
        return None

    def listed_with(self, pair: str, side: Side) -> tuple[str, ...]:
        """The pairs that one list of a module serves: those that share it, and those inside them."""
        parent = self.pairs[pair].parent
        if parent is not None and self.facts[pair, side].inside is not None:
            pair = parent.pair
        shared = self.sharing(pair, side)
        inner = (self.inside(name, side) for name in shared)
        return (*shared, *(name for name in inner if name is not None))

    def direction(self, source: Side) -> str:
        """ "zoho_fsm>zoho_books": from the side that changed to the other."""
        return f"{self.connectors[source].facts.vendor}>{self.connectors[source.other].facts.vendor}"


def lane_of(integration_id: int, cls: str, pair: str, side: Side, record_id: str, shards: int) -> Lane:
    return Lane(integration_id, cls, shard_of(f"{pair}:{side}:{record_id}", shards))


def load_context(ports: Ports, integration_id: int) -> Context:
    """Raises NotFound, ConfigError (a connection is missing or broken). Opens connectors, calls no vendor."""
    with ports.db.objects() as session:
        row = session.get(Integration, integration_id)
        if row is None:
            raise NotFound(f"There is no integration {integration_id}.", code="UNKNOWN_INTEGRATION")
        orgs = {Side.LEFT: row.left_org_id, Side.RIGHT: row.right_org_id}
        connections = {side: live_connection(session, org) for side, org in orgs.items()}
        zone = zone_in_force(session, row)
    declaration = declared_integration(row.kind)
    synced = declaration.sync_type(row.sync_type).pairs
    connectors = {side: ports.connectors.get(one.id, one.updated_at) for side, one in connections.items()}
    pairs: dict[str, Pair] = {}
    facts: dict[tuple[str, Side], ModuleFacts] = {}
    foreign: list[str] = []
    for declared in declaration.pairs:
        if declared.name not in synced:
            continue
        name = declared.name
        for side in Side:
            facts[name, side] = connectors[side].facts.modules[declared.module(side)]
        chosen = row.mapping.get(name)
        mapping = None if chosen is None else tuple(Line.model_validate(line).field_pair() for line in chosen)
        fields = {side: facts[name, side].fields for side in Side}
        states = {side: one for side in Side if (one := facts[name, side].state_field) is not None}
        made = declaration.pair(name, fields[Side.LEFT], fields[Side.RIGHT], mapping, row.sync_type, states)
        foreign += foreign_prices(made)
        pairs[name] = without_foreign_prices(without_private(made))
    return Context(
        id=row.id,
        workspace_id=row.workspace_id,
        kind=row.kind,
        name=row.name,
        state=row.state,
        policy=Policy(row.policy),
        fetched=row.fetched_at is not None,
        orgs=orgs,
        connections={side: one.id for side, one in connections.items()},
        pairs=pairs,
        facts=facts,
        connectors=connectors,
        shards=ports.settings.shards,
        sync_type=row.sync_type,
        limited=declaration.limited,
        zone=zone,
        orders=_orders(row, declaration, connectors, ports.settings.overlap_s),
        foreign_prices=" ".join(foreign),
    )


def _orders(
    row: Integration, declaration: DeclaredIntegration, connectors: Mapping[Side, Connector], overlap_s: float
) -> Orders | None:
    """The vendor's clock may be behind ours, or tell whole seconds."""
    declared = declaration.invoicing
    if declared is None or not row.invoicing.get("on"):
        return None
    name = declared.pair.name
    fields = {side: connectors[side].facts.modules[declared.pair.module(side)].fields for side in Side}
    chosen = row.mapping.get(name)
    mapping = None if chosen is None else tuple(Line.model_validate(line).field_pair() for line in chosen)
    return Orders(
        declared=declared,
        pair=without_private(declaration.pair(name, fields[Side.LEFT], fields[Side.RIGHT], mapping)),
        statuses=frozenset(row.invoicing["statuses"]),
        since=datetime.fromisoformat(row.invoicing["since"]) - timedelta(seconds=overlap_s),
        terms_days=row.invoicing["terms_days"],
    )


def live_connection(session: Session, org_id: int) -> Connection:
    """Raises ConfigError, ConnectionBroken."""
    found = session.scalars(select(Connection).where(Connection.org_id == org_id)).first()
    if found is None:
        raise ConfigError(f"Org {org_id} is not connected. Connect it first.", code="NOT_CONNECTED")
    if found.status != "live":
        raise ConnectionBroken(f"The connection of org {org_id} is broken. Connect it again.")
    return found
