"""The doors' use cases of events: a verified delivery, or a person's wish, becomes change events on their lanes."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from anyio import to_thread
from sqlalchemy import or_, select, text

from shared.bus import LIVE, Bus, Items, Lane
from shared.connectors.base import Hint, WebhookRequest
from shared.connectors.registry import get_vendor
from shared.db.models import Integration
from shared.db.repositories import audit
from shared.db.repositories.integrations import load_own
from shared.db.session import Database
from shared.engine.classes import person_lane
from shared.engine.context import lane_of
from shared.errors import NotFound, Refused, Unavailable, WebhookRefused
from shared.intake import Intake, WakeDrain
from shared.integrations.registry import integration as declared
from shared.points import at
from shared.rates import Bucket
from shared.services.connections import ConnectionService, WebhookTarget, hashed
from shared.services.integrations import pairs_of
from shared.settings import Settings
from shared.sync.access import Actor, Permission
from shared.sync.audit import Action
from shared.sync.events import ChangeEvent, Origin, encode
from shared.sync.events import Hint as EventHint
from shared.sync.guards import may_start
from shared.sync.model import ModuleName, RecordId, Side
from shared.sync.states import RunKind

CACHE_S = 5.0
"""How long a door remembers whom a path token belongs to: a delivery costs one call to Redis, none to Postgres."""

MOST_STALE_S = 5.0
"""So long after that it goes on with it while one of its threads looks anew."""

RATE_PER_S, BURST = 500.0, 20_000.0
"""Deliveries to one webhook, of which most a vendor's mass update may bring; over it the door answers 503."""
MOST_INLINE_BYTES = 16_384
"""A body up to this is verified and parsed where it came in, within a millisecond; a longer one in a thread, or all who
are connected would wait for it."""
MOST_LOOK_S = 1.0
LOOK_EVERY_S = 0.2
"""How soon after another a look is taken for a path that is not known: it may be a new one."""


@dataclass(frozen=True, slots=True)
class RecordSync:
    """How a person's "sync this record now" stands. `outcome` None: not ended; `waiting_for` is why, where it waits."""

    event_id: str
    outcome: str | None = None
    reason: str = ""
    detail: str = ""
    twin_id: str | None = None
    sync_id: int | None = None
    waiting_for: str | None = None


@dataclass(frozen=True, slots=True)
class _Route:
    """Where changes of one module of an org go."""

    integration_id: int
    pair: str
    side: Side


@dataclass(frozen=True, slots=True)
class _Known:
    until: float
    target: WebhookTarget
    bucket: Bucket
    routes: dict[ModuleName, tuple[_Route, ...]] = field(default_factory=dict)


_ENDED = text(
    """
    SELECT o.outcome, o.reason, o.detail, o.twin_id, o.run_id FROM event_done d
    JOIN outcome o ON o.event_id = d.outcome_event AND o.integration_id = :integration AND o.pair = ANY(:pairs)
    WHERE d.event_id = :event AND d.workspace_id = :workspace AND o.workspace_id = :workspace
    """
)
_WAITS = text(
    """
    SELECT reason FROM due WHERE workspace_id = :workspace AND integration_id = :integration AND pair = ANY(:pairs)
      AND side = :side AND record_id = :record AND why <> 'failed'
    """
)


class EventService:
    def __init__(
        self,
        database: Database,
        bus: Bus,
        wake: WakeDrain,
        connections: ConnectionService,
        settings: Settings,
        intake: Intake,
    ) -> None:
        self._db = database
        self._bus = bus
        self._wake = wake
        self._connections = connections
        self._settings = settings
        self._intake = intake
        self._lock = threading.Lock()
        self._cache: dict[str, _Known] = {}
        self._looks: dict[str, threading.Lock] = {}
        self._looking = threading.Lock()
        self._paths: frozenset[str] = frozenset()
        self._look_again_at = 0.0

    async def accept_webhook(self, vendor: str, path_token: str, request: WebhookRequest) -> int:
        """Puts one event per changed record and integration on its lane; returns how many.

        They are on disk when it returns (appendfsync always), so a 2xx may be answered. Raises WebhookRefused (401,
        400), Unavailable (nothing is promised: the vendor, or the next poll, brings it again).
        """
        known = self._at_hand(vendor, path_token)
        if known is not None and known.target.live and len(request.body) <= MOST_INLINE_BYTES:
            items = self._read(vendor, path_token, known, request)
        else:  # asks Postgres, or takes so long that others would wait
            read = partial(self._look_and_read, vendor, path_token, request)
            items = await to_thread.run_sync(read, abandon_on_cancel=True)
        if items:
            at("door.received")
            await self._intake.put(items)
        return len(items)

    def _look_and_read(self, vendor: str, path_token: str, request: WebhookRequest) -> Items:
        return self._read(vendor, path_token, self._known(vendor, path_token), request)

    def _read(self, vendor: str, path_token: str, known: _Known, request: WebhookRequest) -> Items:
        """What a delivery says, once it is known to be the vendor's. Asks Postgres only where it is not live yet."""
        if not known.bucket.take():
            raise Unavailable("Too many deliveries at once; send this again later.", retry_after_s=1)
        parser = get_vendor(vendor).webhooks
        parser.verify(request, [secret.get_secret_value() for secret in known.target.secrets])
        if not known.target.live:
            self._note_live(vendor, path_token, known, request)
        return [item for hint in parser.parse(request) for item in self._events(known, hint)]

    def _events(self, known: _Known, hint: Hint) -> list[tuple[Lane, str]]:
        items = []
        for route in known.routes.get(hint.module, ()):
            event = ChangeEvent(
                event_id=uuid.uuid4().hex,
                correlation_id=uuid.uuid4().hex[:16],
                integration_id=route.integration_id,
                pair=route.pair,
                side=route.side,
                record_id=RecordId(hint.id),
                hint=EventHint.DELETE if hint.deleted else EventHint.UPSERT,
                origin=Origin.WEBHOOK,
                received_at=int(time.time() * 1000),
            )
            lane = lane_of(route.integration_id, LIVE, route.pair, route.side, hint.id, self._settings.shards)
            items.append((lane, json.dumps(encode(event))))
        return items

    def sync_record(self, actor: Actor, integration_id: int, pair: str, side: Side, record_id: str) -> RecordSync:
        """TR-6: this record now, before webhooks and runs; it joins the run that holds the orgs, or goes next.

        Raises NotFound (integration, pair), Refused (Fetch first, not enabled), Unavailable (nothing was kept).
        """
        actor.must(Permission.SYNC)
        with self._db.transaction() as session:
            row = load_own(session, actor.workspace, integration_id)
        known = [one.name for one in pairs_of(row) if side in one.sides]
        if pair not in known:
            raise NotFound(
                f"There is no pair {pair!r} in integration {integration_id}; it has {', '.join(known)}.",
                code="UNKNOWN_PAIR",
            )
        enabled = row.state == "enabled"
        refusal = may_start(RunKind.SYNC, fetched=row.fetched_at is not None, enabled=enabled, connections_live=True)
        if refusal is not None:
            raise Refused(refusal.sentence, code=refusal.code)
        event = ChangeEvent(
            event_id=uuid.uuid4().hex,
            correlation_id=uuid.uuid4().hex[:16],
            integration_id=integration_id,
            pair=pair,
            side=side,
            record_id=RecordId(record_id),
            hint=EventHint.UPSERT,
            origin=Origin.MANUAL,
            received_at=int(time.time() * 1000),
        )
        lane = person_lane(integration_id, self._settings.shards)
        self._check_room(lane)
        with self._db.transaction() as session:  # before Redis has it: nobody's wish is kept without their name
            subject = f"{integration_id}/{pair}/{side.value}/{record_id}"
            audit.record(session, actor, Action.RECORD_SYNC_ASKED, subject, after={"event_id": event.event_id})
        for woken in self._bus.add([(lane, json.dumps(encode(event)))]):
            self._wake.drain(woken)
        return RecordSync(event.event_id)

    def record_sync(
        self, actor: Actor, integration_id: int, pair: str, side: Side, record_id: str, event_id: str
    ) -> RecordSync:
        """How it stands. An event that nobody knows looks like one that has not been worked on yet.

        It ends, or waits, under whichever pair of its module the record turns out to be of. Raises NotFound.
        """
        actor.must(Permission.READ_LOGS)
        with self._db.transaction() as session:
            row = load_own(session, actor.workspace, integration_id)
            values = {
                "event": event_id,
                "workspace": actor.workspace,
                "integration": integration_id,
                "pairs": list(declared(row.kind).sharing(pair, side)),
                "side": side.value,
                "record": record_id,
            }
            ended = session.execute(_ENDED, values).first()
            waits = session.execute(_WAITS, values).first() if ended is None else None
        if ended is not None:
            return RecordSync(event_id, ended.outcome, ended.reason, ended.detail, ended.twin_id, ended.run_id)
        return RecordSync(event_id, waiting_for=waits.reason if waits else None)

    def _check_room(self, lane: Lane) -> None:
        if self._bus.length([lane]) > self._settings.webhook_bound:
            raise Unavailable("Too many events are waiting; send this again later.", retry_after_s=60)

    def _at_hand(self, vendor: str, path_token: str) -> _Known | None:
        """What is known without a look into Postgres, and without waiting for anybody's."""
        found = self._remembered(_cache_key(vendor, path_token))
        return found if found is not None and found.until > time.monotonic() else None

    def _known(self, vendor: str, path_token: str) -> _Known:
        """Raises WebhookRefused for a path that is nobody's: strangers cost no look into Postgres, and no memory.

        Of all that come at once one looks; the others use what was known a moment ago, or wait for it.
        """
        key = _cache_key(vendor, path_token)
        found = self._remembered(key)
        if found is not None and found.until > time.monotonic():
            return found
        if not self._is_path(path_token):
            self._forget(key)
            raise WebhookRefused("unknown webhook", status=401)
        with self._lock:
            looking = self._looks.setdefault(key, threading.Lock())
        young = found is not None and found.until + MOST_STALE_S > time.monotonic()
        if not looking.acquire(timeout=0 if young else MOST_LOOK_S):
            if found is not None and young:
                return found
            raise Unavailable("The database does not answer; send this again later.", retry_after_s=5)
        try:
            newer = self._remembered(key)
            if newer is not None and newer.until > time.monotonic():
                return newer
            return self._look_up(key, vendor, path_token, newer)
        finally:
            looking.release()

    def _look_up(self, key: str, vendor: str, path_token: str, found: _Known | None) -> _Known:
        target = self._connections.webhook_target(path_token)
        if target is None or target.vendor != vendor:
            self._forget(key)
            raise WebhookRefused("unknown webhook", status=401)
        bucket = found.bucket if found is not None else Bucket(RATE_PER_S, BURST)
        fresh = _Known(time.monotonic() + CACHE_S, target, bucket, self._routes(target))
        with self._lock:
            self._cache[key] = fresh
        return fresh

    def _note_live(self, vendor: str, path_token: str, known: _Known, request: WebhookRequest) -> None:
        """The first that is signed with the secret in force tells that the vendor has it (SU-8). Where that cannot be
        noted now, the next one is."""
        target = known.target
        with suppress(WebhookRefused, Unavailable):
            get_vendor(vendor).webhooks.verify(request, [target.secrets[0].get_secret_value()])
            self._connections.note_webhook(target)
            with self._lock:
                self._cache[_cache_key(vendor, path_token)] = replace(known, target=replace(target, live=True))

    def _remembered(self, key: str) -> _Known | None:
        with self._lock:
            return self._cache.get(key)

    def _forget(self, key: str) -> None:
        with self._lock:
            self._cache.pop(key, None)
            self._looks.pop(key, None)

    def _is_path(self, path_token: str) -> bool:
        """By the set of all paths, which is read anew for whoever is not in it, so many times a second at most."""
        known = hashed(path_token)
        if known in self._paths:
            return True
        if not self._looking.acquire(timeout=MOST_LOOK_S):  # while Postgres hangs, they must not take every thread
            raise Unavailable("The database does not answer; send this again later.", retry_after_s=5)
        try:
            if known not in self._paths and time.monotonic() >= self._look_again_at:
                self._paths = self._connections.webhook_paths()  # where that fails, the next one tries again
                self._look_again_at = time.monotonic() + LOOK_EVERY_S
        finally:
            self._looking.release()
        return known in self._paths

    def _routes(self, target: WebhookTarget) -> dict[ModuleName, tuple[_Route, ...]]:
        routes: dict[ModuleName, tuple[_Route, ...]] = {}
        with self._db.transaction() as session:
            rows = session.scalars(
                select(Integration).where(
                    or_(Integration.left_org_id == target.org_id, Integration.right_org_id == target.org_id),
                    Integration.state.in_(("enabled", "paused")),
                )
            ).all()
        for row in rows:
            side = Side.LEFT if row.left_org_id == target.org_id else Side.RIGHT
            for pair in pairs_of(row):
                module = pair.module(side)
                told = any(route.integration_id == row.id for route in routes.get(module, ()))
                if side in pair.sides and not told:  # of several pairs of a module, the record tells which it is
                    routes[module] = (*routes.get(module, ()), _Route(row.id, pair.name, side))
        return routes


def _cache_key(vendor: str, path_token: str) -> str:
    return hashlib.sha256(f"{vendor}/{path_token}".encode()).hexdigest()
