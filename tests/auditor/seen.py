"""What the auditor looks at, as plain values: frozen, and kept as JSON beside a red run. All times are epoch ms.

No secret is in it: neither the tokens of the connections nor the paths of the webhooks are read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from tests.auditor.fields import Values

# The vendors


@dataclass(frozen=True, slots=True)
class Record:
    """`in_scope`: of a type that is synced. Times are the vendor's, as exact as the sandbox keeps them; `written_ms`:
    the true time of its last change, where that is told. A person has those of their customer."""

    vendor: str
    module: str
    id: str
    values: Values
    pair: str = "companies"
    in_scope: bool = True
    active: bool = True
    created_ms: float = 0.0
    modified_ms: float = 0.0
    written_ms: float | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.vendor, self.id


@dataclass(frozen=True, slots=True)
class Call:
    """`status` 0: cut off without an answer. `records`: of a create of several rows, where the log tells them. `inner`:
    the person, of a call about one; `record` is the customer then.
    `replied`: the answer went out whole."""

    vendor: str
    seq: int
    at_ms: float
    ms: float
    method: str
    path: str
    status: int
    request_id: str = ""
    module: str | None = None
    record: str | None = None
    records: tuple[str, ...] = ()
    inner: str | None = None
    write: bool = False
    applied: bool = False
    fault: str | None = None
    user: str | None = None
    replied: bool = True

    @property
    def end_ms(self) -> float:
        return self.at_ms + self.ms

    @property
    def by_person(self) -> bool:
        return self.user is not None and self.user.startswith("person@")

    @property
    def by_product(self) -> bool:
        """A call that was struck before anybody was asked who calls (`user` None) is of nobody that can be told."""
        return self.user is not None and not self.by_person

    @property
    def failed(self) -> bool:
        """Not answered with success, or struck by a fault."""
        return not 200 <= self.status < 300 or self.fault is not None

    @property
    def clean(self) -> bool:
        """Whoever called knows what became of it."""
        return self.replied and not self.failed


@dataclass(frozen=True, slots=True)
class Delivery:
    """One try of a webhook. `status` None: no answer came. `lost`: the vendor never sent it. `foreign`: it told of
    another org than the vendor's own."""

    vendor: str
    id: int
    module: str
    record: str
    event: str
    at_ms: float
    ms: float | None = None
    attempt: int = 1
    status: int | None = None
    accepted: bool = False
    lost: bool = False
    foreign: bool = False

    @property
    def end_ms(self) -> float:
        return self.at_ms + (self.ms or 0.0)


# Postgres


@dataclass(frozen=True, slots=True)
class Change:
    """One field that an outcome wrote, at a side, under the vendor's name."""

    side: str
    field: str
    new: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`received_ms`: of the earliest event folded into it; `events`: how many they are; `event_id`: the first."""

    id: int
    at_ms: float
    integration_id: int
    run_id: int
    event_id: str
    origin: str
    pair: str
    direction: str
    record_id: str
    outcome: str
    fence: int
    twin_id: str | None = None
    reason: str = ""
    attempt: int = 1
    events: int = 1
    changes: tuple[Change, ...] = ()
    conflicts: int = 0
    received_ms: float | None = None
    written_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Binding:
    """`base`: vendor field pair -> (left value, right value) as last agreed, in the auditor's form of values."""

    id: int
    left_org_id: int
    right_org_id: int
    pair: str
    left_id: str
    right_id: str
    fence: int
    bound_ms: float
    updated_ms: float
    state: str = "live"
    base: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    version: int = 1

    def id_at(self, side: str) -> str:
        return self.left_id if side == "left" else self.right_id


@dataclass(frozen=True, slots=True)
class Span:
    """A row of the lease log. `expires_ms`: when it lapsed or would have; None where that is not recorded."""

    org_id: int
    fence: int
    holder: str
    kind: str
    taken_ms: float
    released_ms: float | None = None
    expires_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    id: int
    integration_id: int
    kind: str
    state: str
    pending: int = 0
    queued: int = 0
    created_ms: float = 0.0
    started_ms: float | None = None
    ended_ms: float | None = None

    @property
    def completed(self) -> bool:
        return self.state in ("completed", "completed_with_failures")


@dataclass(frozen=True, slots=True)
class RunCount:
    run_id: int
    direction: str
    pair: str
    outcome: str
    reason: str
    records: int
    conflicts: int = 0
    listed: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """One list of a run. `read_ms`: when its first call began; `vendor_ms`: the vendor's own time then, if it told."""

    run_id: int
    pair: str
    side: str
    done: bool
    whole: bool
    read_ms: float
    since_ms: float | None = None
    vendor_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Watermark:
    integration_id: int
    pair: str
    side: str
    read_from_ms: float
    run_id: int


@dataclass(frozen=True, slots=True)
class Due:
    integration_id: int
    pair: str
    side: str
    record_id: str
    why: str
    reason: str = ""
    attempts: int = 1
    due_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    integration_id: int
    pair: str
    side: str
    record_id: str
    state: str
    fence: int
    created_ms: float


@dataclass(frozen=True, slots=True)
class OpenBatch:
    id: str
    fence: int
    lane: str
    until_ms: float


@dataclass(frozen=True, slots=True)
class Connection:
    id: int
    org_id: int
    vendor: str
    status: str
    version: int
    access_expires_ms: float | None = None
    refresh_started_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Integration:
    id: int
    state: str
    left_org_id: int
    right_org_id: int
    sync_type: str = "I"


@dataclass(frozen=True, slots=True)
class Org:
    id: int
    vendor: str
    external_id: str


@dataclass(frozen=True, slots=True)
class Tables:
    """All that is read from Postgres, in one transaction, at `now_ms` of its clock.

    `event_done`: ids of events that have their outcome -> the event id of its row (None: not kept). `staged`: rows left
    per run.
    """

    now_ms: float
    orgs: tuple[Org, ...] = ()
    integrations: tuple[Integration, ...] = ()
    connections: tuple[Connection, ...] = ()
    bindings: tuple[Binding, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    event_done: dict[str, str | None] = field(default_factory=dict)
    runs: tuple[Run, ...] = ()
    run_counts: tuple[RunCount, ...] = ()
    listings: tuple[Listing, ...] = ()
    staged: dict[int, int] = field(default_factory=dict)
    watermarks: tuple[Watermark, ...] = ()
    due: tuple[Due, ...] = ()
    intents: tuple[Intent, ...] = ()
    open_batches: tuple[OpenBatch, ...] = ()
    leases: tuple[Span, ...] = ()
    lease_expiry: bool = False
    """Whether the lease log tells when a lease expired."""
    redis_marker: str | None = None


# Redis


@dataclass(frozen=True, slots=True)
class Entry:
    """An event on a lane: whose it is, where that can be read. `tries`: how often its work was begun."""

    id: str
    record_id: str = ""
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Stream:
    """A lane, or a result stream. `listed`: in the set that the sweep looks through. Of `entries` the first 1000."""

    key: str
    length: int
    pending: int = 0
    entries: tuple[Entry, ...] = ()
    tries: dict[str, int] = field(default_factory=dict)
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Streams:
    lanes: tuple[Stream, ...] = ()
    results: tuple[Stream, ...] = ()
    marker: str | None = None


# All of it


@dataclass(frozen=True, slots=True)
class Mark:
    """Where things stood as a cell began: its calls and deliveries are those since, its records' first values these.

    `known`: findings of an audit before the cell, which are not its own.
    """

    at_ms: float
    call_seqs: dict[str, int] = field(default_factory=dict)
    delivery_seqs: dict[str, int] = field(default_factory=dict)
    outcome_id: int = 0
    versions: dict[int, int] = field(default_factory=dict)
    records: tuple[Record, ...] = ()
    known: frozenset[tuple[str, str, str]] = frozenset()

    def save(self, path: Path) -> None:
        path.write_bytes(_MARK.dump_json(self))

    @classmethod
    def load(cls, path: Path) -> Mark:
        return _MARK.validate_json(path.read_bytes())


@dataclass(frozen=True, slots=True)
class Evidence:
    """`offsets_ms`: how far each vendor's clock is ahead. `idle`: no delivery is under way or held back. `dropped`: how
    many calls of the cell the vendors' logs no longer hold."""

    at_ms: float
    tables: Tables
    streams: Streams = field(default_factory=Streams)
    since: Mark | None = None
    records: tuple[Record, ...] = ()
    calls: tuple[Call, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    idle: bool = True
    offsets_ms: dict[str, float] = field(default_factory=dict)
    dropped: int = 0

    def save(self, path: Path) -> None:
        path.write_bytes(_EVIDENCE.dump_json(self))

    @classmethod
    def load(cls, path: Path) -> Evidence:
        return _EVIDENCE.validate_json(path.read_bytes())


_MARK = TypeAdapter(Mark)
_EVIDENCE = TypeAdapter(Evidence)
