"""Logs: one line each, ids and reason codes only. Values of fields and secrets never reach them (P14)."""

from __future__ import annotations

import logging
import os
import sys


def configure_logging() -> None:
    """Level from BOTHWAYS_LOG_LEVEL (INFO). Libraries that log addresses or bodies are kept quiet.

    What our lines do not show is not looked up: process, thread and source line take more than half of a line's time.
    """
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # the documented way
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(os.environ.get("BOTHWAYS_LOG_LEVEL", "INFO").upper())
    for name in (
        "httpx",
        "httpcore",
        "kombu",
        "amqp",
        "sqlalchemy.engine",
        "celery.worker.strategy",
        "celery.app.trace",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
