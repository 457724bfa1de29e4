"""What a worker process opens and closes: engine, Redis, connectors, keeper. Nothing is opened at import."""

from __future__ import annotations

import gc
import logging
import os
import socket
import threading
import uuid
from dataclasses import dataclass
from typing import Any

from celery.bootsteps import StartStopStep
from celery.signals import setup_logging, worker_init, worker_shutdown, worker_shutting_down

from shared.bus import Bus, make_redis
from shared.connectors.base import Connector
from shared.connectors.registry import get_vendor, vendor_names
from shared.db.session import Database, make_engine
from shared.engine.context import ConnectorPool, Ports
from shared.engine.epoch import Epoch
from shared.engine.keeper import Keeper
from shared.engine.watchdog import Watchdog
from shared.errors import Unavailable
from shared.integrations.registry import integrations
from shared.lease import Leases
from shared.observability import configure_logging
from shared.points import run_test_hook
from shared.services.connections import ConnectionService
from shared.settings import Settings, load_settings
from shared.vault import load_vault
from shared.wake import CeleryWake
from workers.app import app
from workers.single import Single

THREADS = 24
"""Upper bound of worker threads that use the database at once; the pool has two more."""


@dataclass(frozen=True, slots=True)
class Runtime:
    ports: Ports
    keeper: Keeper
    results: Single
    ticks: Single
    mail: Single


_runtime: Runtime | None = None
_lock = threading.Lock()


def runtime() -> Runtime:
    """This process' ports; made by the first who asks, also when Redis was away at start."""
    global _runtime
    with _lock:
        if _runtime is None:
            _runtime = open_runtime(load_settings())
        return _runtime


def open_runtime(settings: Settings) -> Runtime:
    run_test_hook(settings)
    worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}".replace("/", "_")
    database = Database(make_engine(settings, threads=THREADS))
    client = make_redis(settings)
    bus = Bus(client, settings, worker)
    bus.ensure_results()
    leases = Leases(settings)
    service = ConnectionService(database, load_vault(settings.key_file), settings, client)

    def open_connector(connection_id: int) -> Connector:
        return service.open_connector(connection_id)

    # Imported now, not while the first change, and each thread behind it, waits for them.
    integrations()
    for name in vendor_names():
        get_vendor(name)
    epoch = Epoch(database, bus, settings.epoch_file)
    watchdog = Watchdog(settings.push_hard_deadline_s)
    ports = Ports(settings, database, bus, leases, CeleryWake(app), ConnectorPool(open_connector), epoch, watchdog)
    keeper = Keeper(bus, database, leases, settings, epoch, watchdog)
    keeper.start()
    return Runtime(ports, keeper, Single(), Single(), Single())


@setup_logging.connect
def _logging(**_: Any) -> None:
    configure_logging()


@worker_init.connect
def _opened(**_: Any) -> None:
    try:
        runtime()
    except Unavailable as error:
        logging.getLogger(__name__).warning("starting without Redis: %s", error.code)
    _spare_the_collector()


def _spare_the_collector() -> None:
    """What was imported lives as long as the process; walking it again and again, whenever a batch of records has made
    enough objects, took time. Nearly all that a batch makes is freed without the collector."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


class Stopping(StartStopStep):  # type: ignore[misc]  # celery has no types
    """Before the pool waits for its threads, however it came to that: a consumer that ends by a mistake of Celery's
    stops the worker too, and a process that consumes nothing must make way for the next."""

    requires = ("celery.worker.components:Pool",)

    def stop(self, parent: Any) -> None:
        _stopping()


app.steps["worker"].add(Stopping)


@worker_shutting_down.connect
def _stopping(**_: Any) -> None:
    """SIGTERM: batches end at their next call and go to other workers; who is not done in time is cut off (P10)."""
    here = _runtime  # no lock: this runs inside a signal handler
    if here is None or here.keeper.stopping.is_set():
        return
    here.keeper.stopping.set()
    last = threading.Timer(here.ports.settings.stop_s, _cut_off)
    last.daemon = True
    last.start()


def _cut_off() -> None:
    logging.getLogger(__name__).warning("not done in time: open pushes are in doubt, and others look them up")
    os._exit(0)


@worker_shutdown.connect
def _closed(**_: Any) -> None:
    global _runtime
    with _lock:
        if _runtime is not None:
            _runtime.keeper.stop()
            _runtime.ports.connectors.close()
            _runtime.ports.db.close()
            _runtime = None
