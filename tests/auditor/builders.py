"""A small healthy world as evidence, made by hand, and ways to change one thing of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.auditor.checks import Edit, Expect, Journal, Report, audit
from tests.auditor.fields import BOOKS, FSM, PAIRS
from tests.auditor.seen import (
    Binding,
    Call,
    Change,
    Connection,
    Delivery,
    Evidence,
    Integration,
    Listing,
    Mark,
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

T0 = 1_000_000.0
"""When it began; the sync of before the cell ran from 100 to 400, the mark is at 1,000, the evidence at 9,000."""
MARK, NOW = T0 + 1_000, T0 + 9_000
LEFT_ID, RIGHT_ID = "101", "46"
THEIRS, OURS = "person@test", "admin@test"


def values(pair: str, **given: str | None) -> dict[str, str | None]:
    """All fields of a pair, blank but for those given; `service_city` is `service.city`."""
    return {one.name: given.get(one.name.replace(".", "_")) for one in PAIRS[pair].fields}


def company(record_id: str = LEFT_ID, *, at: float = T0 + 200, **given: str | None) -> Record:
    given = {"name": "Acme", "website": "https://a", **given}
    return Record(FSM, "Companies", record_id, values("companies", **given), created_ms=T0, modified_ms=at)


def customer(record_id: str = RIGHT_ID, *, at: float = T0 + 200, **given: str | None) -> Record:
    given = {"name": "Acme", "website": "https://a", **given}
    return Record(BOOKS, "contacts", record_id, values("companies", **given), created_ms=T0, modified_ms=at)


def contact(record_id: str, pair: str = "contact_persons", **given: str | None) -> Record:
    given = {"email": "lee@a.test", **given}
    return Record(FSM, "Contacts", record_id, values(pair, **given), pair, created_ms=T0, modified_ms=T0 + 200)


def lone_contact(record_id: str, **given: str | None) -> Record:
    return contact(record_id, "contacts", **{"email": "ray@b.test", **given})


def person(record_id: str, **given: str | None) -> Record:
    """`record_id` names the customer."""
    found = values("contact_persons", **{"email": "lee@a.test", **given})
    return Record(BOOKS, "contact_persons", record_id, found, "contact_persons", created_ms=T0, modified_ms=T0 + 200)


def individual(record_id: str, **given: str | None) -> Record:
    found = values("contacts", **{"email": "ray@b.test", **given})
    return Record(BOOKS, "contacts", record_id, found, "contacts", created_ms=T0, modified_ms=T0 + 200)


def base(**given: str | None) -> dict[str, tuple[str | None, str | None]]:
    found = values("companies", **{"name": "Acme", "website": "https://a", **given})
    return {f"{one.left}|{one.right}": (found[one.name], found[one.name]) for one in PAIRS["companies"].fields}


def binding(left: str = LEFT_ID, right: str = RIGHT_ID, **given: Any) -> Binding:
    known: dict[str, Any] = {"fence": 7, "bound_ms": T0 + 300, "updated_ms": T0 + 300, "base": base()}
    return Binding(int(left), 1, 2, "companies", left, right, **{**known, **given})


def outcome(number: int, record_id: str = LEFT_ID, **given: Any) -> Outcome:
    """By webhook, in the cell, under the webhook lease; its event came at 2,000 and it was committed at 2,100."""
    known: dict[str, Any] = {
        "at_ms": T0 + 2_100,
        "integration_id": 1,
        "run_id": 2,
        "event_id": f"e{number}",
        "origin": "webhook",
        "pair": "companies",
        "direction": "zoho_fsm>zoho_books",
        "outcome": "updated",
        "fence": 8,
        "twin_id": RIGHT_ID,
        "received_ms": T0 + 2_000,
    }
    return Outcome(id=number, record_id=record_id, **{**known, **given})


def change(side: str, name: str, new: str | None) -> Change:
    return Change(side, name, new)


def call(seq: int, vendor: str = BOOKS, **given: Any) -> Call:
    """By the product: a read of the record at 2,010, a write of it if `write`."""
    known: dict[str, Any] = {
        "at_ms": T0 + 2_010 + seq,
        "ms": 2.0,
        "method": "PUT" if given.get("write") else "GET",
        "path": "/x",
        "status": 200,
        "module": "contacts" if vendor == BOOKS else "Companies",
        "record": RIGHT_ID if vendor == BOOKS else LEFT_ID,
        "user": OURS,
        "applied": bool(given.get("write")),
        "request_id": "8.x",
    }
    return Call(vendor, seq, **{**known, **given})


def delivery(number: int = 1, vendor: str = FSM, **given: Any) -> Delivery:
    """Sent at 2,000 and accepted."""
    known: dict[str, Any] = {
        "module": "Companies" if vendor == FSM else "contacts",
        "record": LEFT_ID if vendor == FSM else RIGHT_ID,
        "event": "update",
        "at_ms": T0 + 1_999,
        "ms": 5.0,
        "status": 200,
        "accepted": True,
    }
    return Delivery(vendor, number, **{**known, **given})


def edit(body: Mapping[str, Any], vendor: str = FSM, at: float = 1_990, **given: Any) -> Edit:
    """Of the company, or the customer; `at` counts from the beginning, and it takes 5 ms."""
    known: dict[str, Any] = {
        "module": "Companies" if vendor == FSM else "contacts",
        "record_id": LEFT_ID if vendor == FSM else RIGHT_ID,
        "begin_ms": T0 + at,
        "end_ms": T0 + at + 5,
    }
    return Edit(vendor, fields=body, **{**known, **given})


@dataclass
class World:
    """Evidence in pieces, to be changed before it is looked at."""

    records: list[Record] = field(default_factory=lambda: [company(), customer()])
    first: list[Record] = field(default_factory=lambda: [company(), customer()])
    bindings: list[Binding] = field(default_factory=lambda: [binding()])
    outcomes: list[Outcome] = field(default_factory=list)
    counts: list[RunCount] | None = None
    """None: what the outcomes come to."""
    done: dict[str, str | None] | None = None
    runs: list[Run] = field(
        default_factory=lambda: [
            Run(1, 1, "sync", "completed", 0, 2, T0 + 90, T0 + 100, T0 + 400),
            Run(2, 1, "webhook", "draining", 0, 0, T0 + 1_000, T0 + 1_000, None),
        ]
    )
    listings: list[Listing] = field(
        default_factory=lambda: [
            Listing(1, "companies", side, done=True, whole=True, read_ms=T0 + 110) for side in ("left", "right")
        ]
    )
    watermarks: list[Watermark] = field(
        default_factory=lambda: [Watermark(1, "companies", side, T0 + 100, 1) for side in ("left", "right")]
    )
    leases: list[Span] = field(
        default_factory=lambda: [
            span
            for org in (1, 2)
            for span in (
                Span(org, 7, "run:1", "run", T0 + 100, T0 + 400, T0 + 6_000),
                Span(org, 8, "webhook:1", "webhook", T0 + 1_500, None, T0 + 30_000),
            )
        ]
    )
    tables: dict[str, Any] = field(default_factory=dict)
    streams: Streams = field(default_factory=lambda: Streams((Stream("bw:lane:1:live:0", 0),), marker="m"))
    calls: list[Call] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    offsets_ms: dict[str, float] = field(default_factory=dict)
    idle: bool = True
    dropped: int = 0
    marked: bool = True
    known: frozenset[tuple[str, str, str]] = frozenset()
    expect: Expect = field(
        default_factory=lambda: Expect(
            time_scale=0.1, healed_s=1.0, exit_s=1.0, silent_from_ms=NOW - 100, clock_slack_ms=5.0
        )
    )

    def may(self, **given: Any) -> None:
        self.expect = replace(self.expect, **given)

    def evidence(self) -> Evidence:
        known: dict[str, Any] = {
            "now_ms": NOW,
            "orgs": (Org(1, FSM, "1"), Org(2, BOOKS, "2")),
            "integrations": (Integration(1, "enabled", 1, 2),),
            "connections": (
                Connection(1, 1, FSM, "live", 3, access_expires_ms=NOW + 1e6),
                Connection(2, 2, BOOKS, "live", 3, access_expires_ms=NOW + 1e6),
            ),
            "lease_expiry": True,
            "redis_marker": "m",
        }
        done = {one.event_id: one.event_id for one in self.outcomes} if self.done is None else self.done
        tables = Tables(
            bindings=tuple(self.bindings),
            outcomes=tuple(self.outcomes),
            event_done=dict(done),
            runs=tuple(self.runs),
            run_counts=tuple(counted(self.outcomes) if self.counts is None else self.counts),
            listings=tuple(self.listings),
            watermarks=tuple(self.watermarks),
            leases=tuple(self.leases),
            **{**known, **self.tables},
        )
        mark = Mark(MARK, {}, {}, 0, {1: 3, 2: 3}, tuple(self.first), self.known)
        return Evidence(
            at_ms=NOW,
            tables=tables,
            streams=self.streams,
            since=mark if self.marked else None,
            records=tuple(self.records),
            calls=tuple(self.calls),
            deliveries=tuple(self.deliveries),
            idle=self.idle,
            offsets_ms=self.offsets_ms,
            dropped=self.dropped,
        )

    def audit(self) -> Report:
        return audit(self.evidence(), Journal(list(self.edits)), expect=self.expect)


def counted(outcomes: list[Outcome]) -> list[RunCount]:
    found: dict[tuple[int, str, str, str, str], list[Outcome]] = {}
    for one in outcomes:
        found.setdefault((one.run_id, one.direction, one.pair, one.outcome, one.reason), []).append(one)
    return [RunCount(*key, len(rows), sum(one.conflicts > 0 for one in rows)) for key, rows in found.items()]


def told(world: World) -> World:
    """An edit of the company's website travelled: told, read, written to the customer, logged, and its echo too."""
    world.edits = [edit({"Website": "https://b"})]
    world.records = [company(at=T0 + 1_995, website="https://b"), customer(at=T0 + 2_013, website="https://b")]
    world.bindings = [binding(fence=8, updated_ms=T0 + 2_100, base=base(website="https://b"))]
    world.deliveries = [delivery(1), delivery(1, BOOKS, at_ms=T0 + 2_016)]
    world.calls = [call(1, FSM), call(2), call(3, write=True)]
    written = (change("right", "website", "https://b"),)
    world.outcomes = [
        outcome(1, changes=written, written_ms=T0 + 2_016),
        outcome(2, RIGHT_ID, outcome="echo", twin_id=LEFT_ID, received_ms=T0 + 2_018, at_ms=T0 + 2_200,
                direction="zoho_books>zoho_fsm"),
    ]  # fmt: skip
    return world
