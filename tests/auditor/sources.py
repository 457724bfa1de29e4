"""Reading from outside: the sandbox over HTTP, the streams in Redis, the tables in Postgres. Nothing is written."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import httpx
import psycopg
import redis
from psycopg.rows import dict_row

from tests.auditor.fields import (
    ACCOUNTS,
    BOOKS,
    CONTACT_PERSONS,
    FSM,
    LEFT,
    PAIRS,
    RIGHT,
    SIDES,
    Pair,
    belongs,
    number,
    read,
    text,
)
from tests.auditor.seen import (
    Binding,
    Call,
    Change,
    Connection,
    Delivery,
    Due,
    Entry,
    Integration,
    Intent,
    Listing,
    Mark,
    OpenBatch,
    Org,
    Outcome,
    Record,
    Run,
    RunCount,
    Span,
    Stream,
    Streams,
    Tables,
    Watermark,
)

Row = dict[str, Any]
GROUP = "bothways"
ENTRIES = 1000
"""Of a lane, so many entries are looked at; its length is told whole."""


def now_ms() -> float:
    return time.time() * 1000


# The vendors


class Sandbox:
    """The control of the sandbox, read only."""

    vendors = (FSM, BOOKS, ACCOUNTS)

    def __init__(self, base_url: str) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=60, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def records(self, vendor: str) -> list[Record]:
        modules, side = self._get(vendor, "state")["modules"], SIDES[vendor]
        found = []
        for pair in PAIRS.values():
            if (pair, side) == (CONTACT_PERSONS, RIGHT):
                found += [one for row in modules.get("contacts", ()) for one in _persons(vendor, row)]
                continue
            id_key = pair.left_id if side == LEFT else pair.right_id
            for row in modules.get(pair.module(side), ()):
                if belongs(pair, side, row):
                    found.append(_record(vendor, pair, str(row[id_key]), row, row))
        return found

    def last(self, vendor: str, what: str) -> int:
        """The number of the last call, or delivery, that ended."""
        return int(self._get(vendor, what, {"since": 2**62})["last"])

    def calls(self, vendor: str, since: Mark | None = None) -> tuple[list[Call], int]:
        """Those of the cell that are kept, and how many are not."""
        answer = self._get(vendor, "calls", {"since": since.call_seqs.get(vendor, 0) if since else 0})
        return [_call(vendor, row) for row in answer["calls"]], int(answer["dropped"])

    def deliveries(self, vendor: str, since: Mark | None = None) -> tuple[list[Delivery], bool]:
        """Those of the cell, and whether none is under way or held back."""
        answer = self._get(vendor, "deliveries", {"since": since.delivery_seqs.get(vendor, 0) if since else 0})
        return [_delivery(vendor, row) for row in answer["deliveries"]], bool(answer["idle"])

    def offset_ms(self, vendor: str) -> float:
        return float(self._get(vendor, "clock")["offset_s"]) * 1000

    def _get(self, vendor: str, what: str, query: Mapping[str, int] | None = None) -> Row:
        answer = self._http.get(f"/_sandbox/{vendor}/{what}", params=dict(query or {}))
        answer.raise_for_status()
        # Not answer.json(): a record may hold bytes that are no text, and numbers that no float holds.
        found: Row = json.loads(answer.content.decode("utf-8", "replace"), parse_float=Decimal)
        return found


def _record(vendor: str, pair: Pair, record_id: str, row: Row, whole: Row) -> Record:
    """`whole`: the record that tells its times and its state, which is another one for a person."""
    times = whole.get("_sandbox") or {}
    side = SIDES[vendor]
    return Record(
        vendor,
        pair.module(side),
        record_id,
        read(pair, side, row),
        pair.name,
        in_scope=_in_scope(vendor, pair, whole),
        active=whole.get("$inactive") is not True and whole.get("status", "active") == "active",
        created_ms=float(times.get("created_ms", 0)),
        modified_ms=float(times.get("modified_ms", 0)),
        written_ms=None if times.get("written_ms") is None else float(times["written_ms"]),
    )


def _persons(vendor: str, row: Row) -> list[Record]:
    """Of business customers: an individual's one person is the customer."""
    if row.get("customer_sub_type") == "individual":
        return []
    return [
        _record(vendor, CONTACT_PERSONS, f"{row['contact_id']}.{one['contact_person_id']}", one, row)
        for one in row.get("contact_persons") or ()
    ]


def _in_scope(vendor: str, pair: Pair, row: Row) -> bool:
    """Customers; everything of the other modules. Of which sub-type they are tells their pair."""
    if vendor != BOOKS or pair.name == "items":
        return True
    return row.get("contact_type") == "customer" and row.get("customer_sub_type") in ("business", "individual")


def _call(vendor: str, row: Row) -> Call:
    return Call(
        vendor,
        int(row["seq"]),
        float(row["at"]),
        float(row["ms"]),
        row["method"],
        row["path"],
        int(row["status"] or 0),
        request_id=str(row.get("request_id") or ""),
        module=row["module"],
        record=row["record"],
        records=tuple(map(str, row.get("records") or ())),
        inner=row.get("inner"),
        write=bool(row["write"]),
        applied=bool(row["applied"]),
        fault=row["fault"],
        user=row["user"],
        replied=bool(row["replied"]),
    )


def _delivery(vendor: str, row: Row) -> Delivery:
    return Delivery(
        vendor,
        int(row["id"]),
        row["module"],
        str(row["record"]),
        row["event"],
        float(row["at"]),
        ms=None if row["ms"] is None else float(row["ms"]),
        attempt=int(row["attempt"]),
        status=row["status"],
        accepted=bool(row["accepted"]),
        lost=bool(row["lost"]),
        foreign=row["organization_id"] is not None,
    )


# Redis


def read_streams(redis_url: str) -> Streams:
    with redis.Redis.from_url(redis_url, decode_responses=True, socket_timeout=10) as client:
        connection: Any = client  # redis-py types each answer as whatever any client may give
        listed = set(connection.smembers("bw:lanes"))
        found = {key for key in connection.scan_iter("bw:lane:*", count=1000) if key.count(":") == 4}
        lanes = tuple(_stream(connection, key, key in listed) for key in sorted(listed | found))
        results = tuple(_stream(connection, key, True) for key in ("bw:results", "bw:results:live"))
        return Streams(lanes, results, connection.get("bw:marker"))


def _stream(client: Any, key: str, listed: bool) -> Stream:
    if not client.exists(key):
        return Stream(key, 0, listed=listed)
    groups = [group for group in client.xinfo_groups(key) if group["name"] == GROUP]
    tries = {entry: int(count) for entry, count in client.hgetall(f"{key}:tries").items()}
    rows = client.xrange(key, count=ENTRIES)
    return Stream(
        key,
        int(client.xlen(key)),
        pending=sum(int(group["pending"]) for group in groups),
        entries=tuple(Entry(entry, _record_of(body), tries.get(entry, 0)) for entry, body in rows),
        tries=tries,
        listed=listed,
    )


def _record_of(body: Mapping[str, str]) -> str:
    try:
        return str(json.loads(body["e"])["rec"])
    except (KeyError, ValueError, TypeError):
        return ""


# Postgres


def read_tables(database_url: str) -> Tables:
    """One consistent look."""
    with psycopg.connect(database_url.replace("+psycopg", ""), row_factory=dict_row) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        return _Reader(connection).read()


class _Reader:
    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection

    def _rows(self, query: str) -> list[Row]:
        return self._connection.execute(query.encode()).fetchall()

    def read(self) -> Tables:
        now = self._rows("SELECT clock_timestamp() AS now")[0]["now"]
        marker = self._rows("SELECT redis_marker FROM installation WHERE id = 1")
        return Tables(
            now_ms=_ms(now) or 0.0,
            orgs=tuple(Org(row["id"], row["vendor"], row["external_id"]) for row in self._rows("SELECT * FROM org")),
            integrations=tuple(
                Integration(row["id"], row["state"], row["left_org_id"], row["right_org_id"], row["sync_type"])
                for row in self._rows("SELECT * FROM integration ORDER BY id")
            ),
            connections=self._connections(),
            bindings=tuple(_binding(row) for row in self._rows("SELECT * FROM binding ORDER BY id")),
            outcomes=tuple(_outcome(row) for row in self._rows("SELECT * FROM outcome ORDER BY id")),
            event_done={row["event_id"]: row.get("outcome_event") for row in self._rows("SELECT * FROM event_done")},
            runs=tuple(_run(row) for row in self._rows("SELECT * FROM run ORDER BY id")),
            run_counts=tuple(_run_count(row) for row in self._rows("SELECT * FROM run_count")),
            listings=tuple(_listing(row) for row in self._rows("SELECT * FROM listing")),
            staged={row["run_id"]: row["n"] for row in self._rows("SELECT run_id, count(*) n FROM staged GROUP BY 1")},
            watermarks=tuple(
                Watermark(row["integration_id"], row["pair"], row["side"], _ms(row["read_from"]) or 0.0, row["run_id"])
                for row in self._rows("SELECT * FROM watermark")
            ),
            due=tuple(_due(row) for row in self._rows("SELECT * FROM due ORDER BY id")),
            intents=tuple(_intent(row) for row in self._rows("SELECT * FROM intent ORDER BY id")),
            open_batches=tuple(
                OpenBatch(row["id"], row["fence"], row["lane"], _ms(row["until"]) or 0.0)
                for row in self._rows("SELECT * FROM open_batch")
            ),
            leases=self._leases(),
            lease_expiry=self._has("lease_log", "expires_at"),
            redis_marker=marker[0]["redis_marker"] if marker else None,
        )

    def _has(self, table: str, column: str) -> bool:
        query = (
            f"SELECT 1 AS x FROM information_schema.columns WHERE table_name = '{table}' AND column_name = '{column}'"
        )
        return bool(self._rows(query))

    def _connections(self) -> tuple[Connection, ...]:
        """Its plain columns by name: nothing sealed is read."""
        return tuple(
            Connection(
                row["id"],
                row["org_id"],
                row["vendor"],
                row["status"],
                row["version"],
                _ms(row["access_expires_at"]),
                _ms(row["refresh_started_at"]),
            )
            for row in self._rows(
                "SELECT id, org_id, vendor, status, version, access_expires_at, refresh_started_at FROM connection"
            )
        )

    def _leases(self) -> tuple[Span, ...]:
        """A lease that is held tells its expiry in its own row."""
        held = {
            (row["org_id"], row["fence"]): _ms(row["expires_at"])
            for row in self._rows("SELECT org_id, fence, expires_at FROM org_lease WHERE holder IS NOT NULL")
        }
        return tuple(
            Span(
                row["org_id"],
                row["fence"],
                row["holder"],
                row["kind"],
                _ms(row["taken_at"]) or 0.0,
                _ms(row["released_at"]),
                _ms(row.get("expires_at")) or held.get((row["org_id"], row["fence"])),
            )
            for row in self._rows("SELECT * FROM lease_log ORDER BY org_id, fence")
        )


def _ms(moment: Any) -> float | None:
    return None if moment is None else float(moment.timestamp() * 1000)


def _outcome(row: Row) -> Outcome:
    return Outcome(
        id=row["id"],
        at_ms=_ms(row["at"]) or 0.0,
        integration_id=row["integration_id"],
        run_id=row["run_id"],
        event_id=row["event_id"],
        events=row["events"],
        origin=row["origin"],
        pair=row["pair"],
        direction=row["direction"],
        record_id=row["record_id"],
        twin_id=row["twin_id"],
        outcome=row["outcome"],
        reason=row["reason"],
        attempt=row["attempt"],
        fence=row["fence"],
        changes=tuple(Change(one["side"], one["field"], _plain(row["pair"], one)) for one in row["changes"]),
        conflicts=len(row["conflicts"]),
        received_ms=_ms(row["received_at"]),
        written_ms=_ms(row["written_at"]),
    )


def _plain(pair: str, change: Row) -> str | None:
    field = PAIRS[pair].field_at(change["side"], change["field"]) if pair in PAIRS else None
    return number(change["new"]) if field and field.number else text(change["new"])


def _binding(row: Row) -> Binding:
    return Binding(
        id=row["id"],
        left_org_id=row["left_org_id"],
        right_org_id=row["right_org_id"],
        pair=row["pair"],
        left_id=row["left_id"],
        right_id=row["right_id"],
        fence=row["fence"],
        bound_ms=_ms(row["bound_at"]) or 0.0,
        updated_ms=_ms(row["updated_at"]) or 0.0,
        state=row["state"],
        base={key: (_base_value(values[0]), _base_value(values[1])) for key, values in row["base"].items()},
        unread=tuple(row["unread"]),
        version=row["version"],
    )


def _base_value(raw: Any) -> str | None:
    """A number lies there as {"d": "18.10"}."""
    return number(raw["d"]) if isinstance(raw, Mapping) else text(raw)


def _run(row: Row) -> Run:
    return Run(
        id=row["id"],
        integration_id=row["integration_id"],
        kind=row["kind"],
        state=row["state"],
        pending=row["pending"],
        queued=row["queued"],
        created_ms=_ms(row["created_at"]) or 0.0,
        started_ms=_ms(row["started_at"]),
        ended_ms=_ms(row["ended_at"]),
    )


def _run_count(row: Row) -> RunCount:
    return RunCount(
        row["run_id"],
        row["direction"],
        row["pair"],
        row["outcome"],
        row["reason"],
        row["records"],
        row["conflicts"],
        row["listed"],
    )


def _listing(row: Row) -> Listing:
    return Listing(
        row["run_id"],
        row["pair"],
        row["side"],
        row["done"],
        row["whole"],
        _ms(row["read_at"]) or 0.0,
        _ms(row["since"]),
        _ms(row.get("vendor_at")),
    )


def _due(row: Row) -> Due:
    return Due(
        row["integration_id"],
        row["pair"],
        row["side"],
        row["record_id"],
        row["why"],
        row["reason"],
        row["attempts"],
        _ms(row["due_at"]),
    )


def _intent(row: Row) -> Intent:
    return Intent(
        row["integration_id"],
        row["pair"],
        row["side"],
        row["record_id"],
        row["state"],
        row["fence"],
        _ms(row["created_at"]) or 0.0,
    )
