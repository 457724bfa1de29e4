"""Celery, with the settings that were measured to lose nothing here (docs/operations.md has the reasons in full).

Messages are wake-ups that hold keys only. They may be lost, doubled or late: nothing depends on one. So: early acks, no
retries, no ETA, no results, no chords. What must happen later is a row with a time in Postgres.
"""

from __future__ import annotations

from celery import Celery

from shared.errors import ConfigError
from shared.settings import Settings, load_settings
from shared.wake import HOUSEKEEPING, ROUTES, broker_options
from workers.broker import use_our_qos
from workers.schedule import beat_schedule


def make_app(settings: Settings) -> Celery:
    if settings.redis_url is None:
        raise ConfigError("REDIS_URL is not set.", code="NO_REDIS_URL")
    use_our_qos()
    app = Celery("bothways", broker=settings.redis_url.get_secret_value(), include=_tasks())
    app.conf.update(
        task_acks_late=False,  # a late-acked task runs twice, beside itself, at each connection loss
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        result_backend=None,
        task_serializer="json",
        accept_content=["json"],  # a listed pickle would be executed even if nobody here sends one
        task_default_queue=HOUSEKEEPING,
        task_routes=ROUTES,
        task_publish_retry=False,  # a hidden retry can hang a request; the sweep repeats lost wake-ups
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=False,  # True re-arms the pop only on a hub tick: seconds of delay
        worker_cancel_long_running_tasks_on_connection_loss=False,  # threads cannot be cancelled
        worker_send_task_events=True,  # Flower
        task_send_sent_event=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_transport_options=broker_options(),
        broker_connection_max_retries=None,  # default gives up after 100
        broker_connection_retry_on_startup=True,
        broker_pool_limit=10,
        broker_connection_timeout=3,
        beat_schedule=beat_schedule(settings),
        beat_max_loop_interval=5,
        enable_utc=True,
        timezone="UTC",
    )
    return app


def _tasks() -> list[str]:
    """Task modules are found by folder: adding one touches no list."""
    from pkgutil import iter_modules

    import workers.tasks

    return [f"workers.tasks.{module.name}" for module in iter_modules(workers.tasks.__path__)]


app = make_app(load_settings())
