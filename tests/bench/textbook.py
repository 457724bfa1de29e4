"""What most people would write: a Celery task per record, with Celery's own defaults. Stands beside the engine.

GET the source, PUT it to the target (a POST, where that is how the vendor makes a record), INSERT a row of the log. A
client is shared by the worker's threads, each has a connection to Postgres. It looks for no twin, holds no lock, keeps
no intent, merges nothing, and would make a record twice. Run by `celery -A tests.bench.textbook worker`; what it needs
to know is JSON in the environment (`Told`).
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from functools import cache

import httpx
import psycopg
from celery import Celery

ENVIRONMENT, TASK = "BENCH_TEXTBOOK", "textbook.sync_record"
LOG = "CREATE TABLE textbook_log (record text, answer integer, at timestamptz DEFAULT clock_timestamp())"


@dataclass(frozen=True)
class Told:
    """`shape`: "bench" or "zoho". Addresses without a slash at their end; headers by vendor."""

    broker: str
    database: str
    shape: str
    source: str
    target: str
    source_headers: dict[str, str]
    target_headers: dict[str, str]

    def env(self) -> dict[str, str]:
        return {ENVIRONMENT: json.dumps(asdict(self))}


@cache
def told() -> Told:
    return Told(**json.loads(os.environ[ENVIRONMENT]))


app = Celery("textbook", broker=told().broker if ENVIRONMENT in os.environ else None)
app.conf.task_ignore_result = True
_http = httpx.Client(timeout=30, trust_env=False)
_here = threading.local()


@app.task(name=TASK)
def sync_record(record_id: str) -> None:
    here = told()
    url = f"{here.source}/{record_id}" if here.shape == "zoho" else f"{here.source}?ids={record_id}"
    read = _http.get(url, headers=here.source_headers).raise_for_status().json()
    written = _http.post(here.target, json=_body(here.shape, read), headers=here.target_headers).raise_for_status()
    connection = _connection()
    connection.execute("INSERT INTO textbook_log (record, answer) VALUES (%s, %s)", (record_id, written.status_code))


def _body(shape: str, read: dict[str, list[dict[str, object]]]) -> dict[str, object]:
    if shape == "zoho":
        row = read["data"][0]
        return {"name": row["Name"], "rate": row["Unit_Price"], "product_type": "service"}
    return {"rows": [{name: read["rows"][0].get(name) for name in ("name", "phone", "city")}]}


def _connection() -> psycopg.Connection[tuple[object, ...]]:
    """One a thread, each statement a transaction."""
    if not hasattr(_here, "connection"):
        _here.connection = psycopg.connect(told().database, autocommit=True)
    found: psycopg.Connection[tuple[object, ...]] = _here.connection
    return found
