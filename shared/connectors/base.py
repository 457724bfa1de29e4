"""What the engine knows of a vendor: a protocol and declarations. The engine never asks "is this Zoho Books?"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, Self, runtime_checkable

from shared.sync.imports import ImportKind, ImportTarget
from shared.sync.model import Change, FieldDef, Fields, ModuleName, Record, RecordId, VendorName


class ListOrder(StrEnum):
    """How a module can be listed, which decides how a poll is cut at the watermark."""

    MODIFIED_DESC = "modified_desc"
    """Newest change first: page until older than the watermark."""
    SINCE = "since"
    """The vendor filters by modified time (closed range, >=)."""
    WHOLE = "whole"
    """Neither: each poll reads the whole list and compares hashes."""


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """One module of a vendor, as the connector can drive it with the capabilities it was given.

    `list_fields` None: list rows are complete. Else the fields that a list row carries; anything more costs a
    detail call. `list_modified`: list rows carry a modified time. Batch sizes are records per call, 1 = one by one.
    `unique_key`: the vendor itself refuses a second record with the same value in this field (None: it does not).
    `stamp_field`: writable, exactly searchable field for the twin's id (None: natural key only). `inside`: its records
    live inside those of that module, are listed and searched for by nothing, and come with each complete read of it;
    their ids are `sync.inside`'s. `state_field`: written true, the record becomes inactive (None: no way is known).
    `upserts`: a create that bears a stamp is made once, however often it is sent. `creates` False: its records are
    read, none is made here, and of their fields those alone are written that are not read-only.
    """

    name: ModuleName
    label: str
    fields: Mapping[str, FieldDef]
    order: ListOrder
    list_fields: frozenset[str] | None = None
    list_modified: bool = True
    page_size: int = 200
    read_batch: int = 1
    create_batch: int = 1
    update_batch: int = 1
    unique_key: str | None = None
    stamp_field: str | None = None
    inside: ModuleName | None = None
    state_field: str | None = None
    upserts: bool = False
    creates: bool = True


class LimitScope(StrEnum):
    """Whose calls share a limit."""

    ORG = "org"
    APP = "app"
    """All orgs that are connected through one OAuth client."""


@dataclass(frozen=True, slots=True)
class Limit:
    """`calls` in `window_s` seconds (0: at the same time), held by all processes together.

    `published`: the vendor's own figure where a setting holds us to another (0: `calls`). `remaining_header`: the
    answer header (lower case) that tells what is left of it. `problem`: its name in a refusal's header.
    """

    name: str
    calls: int
    window_s: int
    scope: LimitScope = LimitScope.ORG
    published: int = 0
    remaining_header: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class VendorFacts:
    """`imports`: where each kind of data import goes (LK-5)."""

    vendor: VendorName
    label: str
    modules: Mapping[ModuleName, ModuleFacts]
    limits: tuple[Limit, ...] = ()
    imports: Mapping[ImportKind, ImportTarget] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `next_cursor` None: the last page. `cursor` values are opaque to the engine.

    `at`: the vendor's own time as it answered, aware UTC, where it tells it.
    """

    rows: tuple[Record, ...]
    next_cursor: str | None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A record to create. `stamp` is the twin's id, written where the module has a stamp field."""

    fields: Fields
    stamp: RecordId | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """A record to update: `current` is the fresh, complete record, `changes` what differs from it.

    The connector sends whole groups where the vendor replaces groups (an address), from `current` and `changes`.
    """

    current: Record
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """Accepted. `record` is the complete record as the answer showed it, None where the vendor does not show it."""

    id: RecordId
    record: Record | None
    modified_at: datetime | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Refused for good: `code` is a reason of `sync.reasons`; `vendor_message` is scrubbed of values."""

    code: str
    vendor_code: str
    vendor_message: str


@dataclass(frozen=True, slots=True)
class Unsure:
    """Sent, but nobody knows whether it was applied: reconcile before anything is made again."""

    why: str


WriteResult = Written | Rejected | Unsure


@dataclass(frozen=True, slots=True)
class Hint:
    """What a webhook said of one record. A hint only: it is read before anything is done."""

    module: ModuleName
    id: RecordId
    deleted: bool = False
    modified_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A delivery as received. `headers` keys are lower case; `query` keeps order and repeats."""

    headers: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    body: bytes


class CallClass(StrEnum):
    """Who a call is for, in the order in which a budget serves them: each keeps a little of it from those below."""

    PERSON = "person"
    WEBHOOK = "webhook"
    RETRY = "retry"
    RUN = "run"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a probe found, or a setting says, about things that the vendor's documents leave open. Stored as JSON.

    `custom_fields` by module (FM-7); `private` are the names, by module, of fields that hold personal data by the word
    of an admin (FM-2).
    """

    flags: Mapping[str, bool | int | str] = field(default_factory=dict)
    custom_fields: Mapping[str, tuple[FieldDef, ...]] = field(default_factory=dict)
    private: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def on(self, name: str) -> bool:
        return bool(self.flags.get(name, False))


TIME_ZONE = "time_zone"
"""text: of every vendor's capabilities, where the org's time zone is known (TR-4)."""


class Connector(Protocol):
    """A signed-in org of a vendor. Synchronous; every call carries its own deadline; no hidden retries.

    Errors of reads: RetryableError (429, 5xx, timeout), ConfigError (sign-in, scope), RecordRejected (bad request).
    Writes never raise for a single record's trouble: they return one WriteResult per item, in order. They may
    raise RetryableError (nothing was sent) or ConfigError.
    """

    facts: VendorFacts

    def list_page(self, module: ModuleName, *, cursor: str | None, since: datetime | None) -> Page:
        """One page. `since` (aware UTC) is honoured where `order` is SINCE; with MODIFIED_DESC the engine cuts."""
        ...

    def fetch(self, module: ModuleName, ids: Sequence[RecordId]) -> Mapping[RecordId, Record | None]:
        """Complete records by id; None for one that the vendor says does not exist."""
        ...

    def find(self, module: ModuleName, field: str, value: str) -> tuple[Record, ...]:
        """Records whose `field` equals `value` by the vendor's search (it may fold case), inactive ones included.

        Rows may be thin. The engine compares again by its own rule.
        """
        ...

    def create(self, module: ModuleName, drafts: Sequence[Draft]) -> tuple[WriteResult, ...]: ...

    def update(self, module: ModuleName, edits: Sequence[Edit]) -> tuple[WriteResult, ...]: ...

    def probe(self) -> Capabilities: ...

    def with_class(self, cls: CallClass) -> Self:
        """The same connection, its calls counted for another class."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ManualStep:
    """The vendor's API does not offer it; `sentence` names the click to make, and where to say what was found."""

    sentence: str


@runtime_checkable
class TaxReader(Protocol):
    """A connector of an org that works with taxes, or without (ST-3)."""

    taxes_cost_a_call: bool

    def taxes_enabled(self) -> bool | ManualStep:
        """Raises as reads do."""
        ...


@runtime_checkable
class SizeReader(Protocol):
    """A connector that can say how many records there are, without reading them all (ST-2)."""

    def more_than(self, module: ModuleName, records: int) -> bool:
        """Whether there are more, inactive ones among them; of contacts, customers alone count. Raises as reads do."""
        ...


@dataclass(frozen=True, slots=True)
class Helper:
    """A field of ours at the vendor that makes syncing safer (SU-7). `name` "": it is not there yet."""

    module: ModuleName
    label: str
    why: str
    name: str = ""


@runtime_checkable
class HelperMaker(Protocol):
    """A connector whose vendor can be given helper fields. Raises as reads do."""

    def helpers(self) -> Sequence[Helper]: ...

    def make_helper(self, module: ModuleName) -> None:
        """Nothing where it is there already."""
        ...


@dataclass(frozen=True, slots=True)
class WorkOrderPart:
    """A part inside a line. `item_id` None: the item is gone. Amounts are in the work order's currency, before tax."""

    id: RecordId
    item_id: RecordId | None
    quantity: Decimal
    unit_price: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class WorkOrderLine:
    """As `WorkOrderPart`; `amount` is without the parts. `invoice_id` is that of the field-service vendor; a line may
    be `invoiced` though the vendor tells no id."""

    id: RecordId
    item_id: RecordId | None
    quantity: Decimal
    unit_price: Decimal
    amount: Decimal
    invoice_id: RecordId | None
    invoiced: bool
    parts: tuple[WorkOrderPart, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """`customers`: whom it names, by module. `record` has all its fields, for a mapping. `grand_total` is with tax."""

    id: RecordId
    name: str
    status: str
    modified_at: datetime | None
    customers: Mapping[ModuleName, RecordId]
    lines: tuple[WorkOrderLine, ...]
    grand_total: Decimal
    record: Record


@dataclass(frozen=True, slots=True)
class InvoiceMade:
    """`invoice_id` at the field-service vendor (None: it did not tell), `accounting_id` at the accounting vendor."""

    invoice_id: RecordId | None
    accounting_id: RecordId


@dataclass(frozen=True, slots=True)
class AlreadyInvoiced:
    """The vendor says that lines are invoiced. After an unsure call that may have been ours: read the work order, then
    the invoice of its lines. It is never a success by itself, for the vendor says the same of calls it cannot read."""


@dataclass(frozen=True, slots=True)
class InvoiceLink:
    """An invoice of the field-service vendor. `accounting_id` None: the accounting vendor has none for it (yet)."""

    id: RecordId
    work_order_id: RecordId | None
    accounting_id: RecordId | None


InvoiceResult = InvoiceMade | AlreadyInvoiced | Rejected | Unsure


@runtime_checkable
class Invoicer(Protocol):
    """A connector whose vendor makes invoices of work orders, in the accounting org behind its own (TR-7)."""

    def work_order(self, work_order_id: RecordId) -> WorkOrder | None:
        """With its lines. None: the vendor says that there is none. Raises as reads do."""
        ...

    def make_invoice(
        self, work_order_id: RecordId, line_ids: Sequence[RecordId], date: date, payment_terms_days: int
    ) -> InvoiceResult:
        """Of these lines, dated `date`, due as many days later. One call, never repeated here; nothing makes it safe to
        be sent twice. Raises as writes do; ValueError without lines."""
        ...

    def invoice(self, invoice_id: RecordId) -> InvoiceLink | None:
        """By its id at the field-service vendor. None: there is none. Raises as reads do."""
        ...


@runtime_checkable
class WebhookMaker(Protocol):
    """A connector whose vendor lets its webhooks be made by API. Raises as reads and writes do."""

    def make_webhooks(self, url: str, secret: str) -> None:
        """One for each module that has any, of every change. Those that were made before are replaced: what their
        secret was cannot be read. Again does no harm; what a broken try left behind goes with the next."""
        ...


class WebhookParser(Protocol):
    """The vendor's half of the webhook door; pure: no I/O."""

    def verify(self, request: WebhookRequest, secrets: Sequence[str]) -> None:
        """Constant-time check against each current secret. Raises WebhookRefused(401); no secret = closed."""
        ...

    def parse(self, request: WebhookRequest) -> tuple[Hint, ...]:
        """Raises WebhookRefused(400) where the body cannot be read; unknown modules give no hint."""
        ...
