"""Wake-ups over Celery: names of tasks and queues, and how to send one from any process.

A message holds keys only. Sending one may fail without harm: the sweep finds what it was about.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from shared.bus import Lane
from shared.errors import ConfigError
from shared.points import at
from shared.settings import Settings

log = logging.getLogger(__name__)

EVENTS, RUNS, RESULTS, HOUSEKEEPING = "events", "runs", "results", "housekeeping"
"""Queues, each with workers of its own: none starves another (priorities on Redis are emulated)."""

DRAIN, ADVANCE, IMPORT, RECORD = "events.drain", "runs.advance", "runs.data_import", "results.record"

QUEUES = (EVENTS, RUNS, RESULTS, HOUSEKEEPING)
ROUTES = {f"{queue}.*": {"queue": queue} for queue in QUEUES}


def broker_options() -> dict[str, Any]:
    """The same for every app on the server: the shortest visibility timeout wins."""
    return {
        "visibility_timeout": 120,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_timeout": 5,  # default none: a publish to a frozen Redis would hang for ever
        "socket_connect_timeout": 3,
        "health_check_interval": 10,
        "global_keyprefix": "bw:celery:",
    }


def make_sender(settings: Settings) -> Celery:
    """An app that only sends: for doors, which know no tasks."""
    if settings.redis_url is None:
        raise ConfigError("REDIS_URL is not set.", code="NO_REDIS_URL")
    app = Celery("bothways", broker=settings.redis_url.get_secret_value(), set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_publish_retry=False,
        task_routes=ROUTES,
        broker_transport_options=broker_options(),
        broker_connection_timeout=3,
    )
    return app


class CeleryWake:
    def __init__(self, app: Celery) -> None:
        self._app = app

    def drain(self, lane: Lane) -> None:
        self._send(DRAIN, str(lane))

    def run(self, run_id: int) -> None:
        self._send(ADVANCE, run_id)

    def data_import(self, import_id: int) -> None:
        self._send(IMPORT, import_id)

    def results(self) -> None:
        self._send(RECORD)

    def canaries(self) -> None:
        for queue in QUEUES:
            self._send(f"{queue}.canary")

    def _send(self, task: str, *args: str | int) -> None:
        try:
            self._app.send_task(task, args=args, ignore_result=True, expires=120)
            at("wake.sent")
        except (OperationalError, OSError) as error:
            log.warning("wake-up %s not sent: %s", task, type(error).__name__)
