"""Invoices of work orders (TR-7): made once, when their customer and items are at the accounting side; filled once by
the Invoice Mapping (FM-6); never touched again.

The vendor of the work orders makes the invoice and refuses a line that is on one. Before each call the intent names the
lines; after an unclear answer the work order itself tells on which invoice they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

from sqlalchemy import text

from shared.connectors.base import (
    AlreadyInvoiced,
    Edit,
    InvoiceMade,
    Invoicer,
    Rejected,
    Unsure,
    WorkOrder,
    WorkOrderLine,
    Written,
)
from shared.db.session import Database
from shared.engine.context import Context, Orders
from shared.engine.families import TRIES_AT_A_PARENT, event_about
from shared.engine.known import Known, Planned
from shared.engine.pusher import OpenIntents, Pusher
from shared.engine.reader import Reader
from shared.engine.settle import Settler
from shared.engine.work import Work, still_open
from shared.errors import ConfigError, RecordRejected, RetryableError
from shared.lease import Lease, Leases
from shared.points import at
from shared.sync.events import Hint, Origin
from shared.sync.model import Action, ActionKind, BindingState, Change, OutcomeKind, Record, RecordId, Side
from shared.sync.plan import fill
from shared.sync.reasons import Code
from shared.sync.values import same

TOTAL = "total"
"""Of an invoice, as every accounting vendor's connector calls it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An invoice that we made and have not filled yet."""

    id: int
    accounting_id: RecordId
    lines: tuple[str, ...]


class InvoiceBook:
    """What is kept of the invoices that were made, under the fence of a batch."""

    def __init__(self, db: Database, context: Context, leases: Leases, lease: Lease) -> None:
        self._db = db
        self._context = context
        self._leases = leases
        self._lease = lease

    def unfilled(self, work_orders: Sequence[RecordId]) -> dict[RecordId, Kept]:
        """By work order; the oldest where there are several."""
        query = text(
            "SELECT id, work_order_id, accounting_id, lines FROM invoice WHERE left_org_id = :left "
            "AND right_org_id = :right AND work_order_id = ANY(:ids) AND NOT filled ORDER BY id DESC"
        )
        with self._db.writing() as session:
            rows = session.execute(query, {**self._orgs(), "ids": list(work_orders)}).all()
        return {
            RecordId(row.work_order_id): Kept(row.id, RecordId(row.accounting_id), tuple(row.lines)) for row in rows
        }

    def keep(self, work_order: RecordId, accounting_id: RecordId, lines: Sequence[str]) -> Kept | None:
        """None: that invoice is kept already, as one that was filled. Raises LeaseLost."""
        query = text(
            """
            INSERT INTO invoice AS i
                (workspace_id, left_org_id, right_org_id, work_order_id, accounting_id, lines, fence)
            VALUES (:workspace, :left, :right, :work_order, :accounting, CAST(:lines AS jsonb), :fence)
            ON CONFLICT (left_org_id, right_org_id, accounting_id) DO UPDATE SET fence = excluded.fence
            WHERE NOT i.filled RETURNING id
            """
        )
        values = {
            **self._orgs(),
            "workspace": self._context.workspace_id,
            "work_order": work_order,
            "accounting": accounting_id,
            "lines": json.dumps(list(lines)),
            "fence": self._lease.fence,
        }
        with self._db.writing() as session:
            self._leases.check(session, self._lease)
            found = session.execute(query, values).scalar()
        return None if found is None else Kept(found, accounting_id, tuple(lines))

    def note_filled(self, kept: Kept) -> None:
        """Raises LeaseLost."""
        with self._db.writing() as session:
            self._leases.check(session, self._lease)
            session.execute(text("UPDATE invoice SET filled = true WHERE id = :id"), {"id": kept.id})

    def today(self) -> date:
        """In the integration's time zone, by Postgres' clock."""
        with self._db.writing() as session:
            now = session.execute(text("SELECT clock_timestamp()")).scalar_one()
        found: date = now.astimezone(self._context.zone).date()
        return found

    def _orgs(self) -> dict[str, int]:
        return {"left": self._context.orgs[Side.LEFT], "right": self._context.orgs[Side.RIGHT]}


class Invoices:
    """The part of a batch that is about work orders; `orders` is what the integration says of them."""

    def __init__(
        self,
        context: Context,
        orders: Orders,
        known: Known,
        settler: Settler,
        reader: Reader,
        pusher: Pusher,
        open_intents: OpenIntents,
        book: InvoiceBook,
    ) -> None:
        self._context = context
        self._orders = orders
        self._side = orders.declared.side
        self._known = known
        self._settler = settler
        self._reader = reader
        self._pusher = pusher
        self._open_intents = open_intents
        self._book = book

    def process(self, works: Sequence[Work]) -> None:
        """One after another: the vendor makes one invoice a call."""
        self._reader.lock_alone(works)
        ids = [work.id for work in still_open(works)]
        intents = self._known.intents(self._orders.pair.name, self._side, ids)
        unfilled = self._book.unfilled(ids)
        for work in still_open(works):
            work.intent = intents.get(work.id)
            try:
                self._one(work, unfilled.get(work.id))
            except RetryableError as error:
                self._settler.wait(work, error.code, in_s=error.retry_after_s)
            except RecordRejected as error:
                self._settler.fail(work, error.code, error.vendor_message or "")
            except ConfigError as error:
                if error.code != Code.SCOPE_MISSING:
                    raise
                self._settler.fail(work, error.code)  # of invoices alone: the rest of the lane goes on

    @property
    def _invoicer(self) -> Invoicer:
        connector = self._context.connectors[self._side]
        if not isinstance(connector, Invoicer):
            raise TypeError(f"{connector.facts.label} makes no invoices")
        return connector

    def _one(self, work: Work, kept: Kept | None) -> None:
        if self._settler.parked([work]):
            return
        order = self._invoicer.work_order(work.id)
        at("source.read")
        if order is None:
            self._settler.done(work, Action(ActionKind.SKIP, reason=Code.RECORD_GONE))
            return
        work.source = order.record
        if kept is not None:
            self._fill(work, order, kept)
        elif work.intent is None or not self._reconciled(work, order):
            self._begin(work, order)

    def _begin(self, work: Work, order: WorkOrder) -> None:
        lines = [line for line in order.lines if not line.invoiced]
        if not lines or not self._due(work, order):
            self._settler.ended(work, OutcomeKind.UNCHANGED, reason=Code.NOTHING_TO_INVOICE)
        elif self._parents_there(work, order, lines):
            self._make(work, order, lines)

    def _due(self, work: Work, order: WorkOrder) -> bool:
        """A person who asks for it decides; else its status does, once it has changed since invoicing was switched on:
        what was completed before that may have been invoiced elsewhere. Clocks may be minutes apart."""
        if any(event.origin is Origin.MANUAL for event in work.folded.events):
            return True
        late = order.modified_at is None or order.modified_at >= self._orders.since
        return late and order.status in self._orders.statuses

    # What must be there first

    def _parents_there(self, work: Work, order: WorkOrder, lines: Sequence[WorkOrderLine]) -> bool:
        """False: it waits for its customer and items, each of which is sent for once, or fails for want of one."""
        customer = self._customer(order)
        if customer is None:
            self._settler.fail(work, Code.CUSTOMER_NOT_NAMED)
            return False
        named = (item for line in lines for item in (line.item_id, *(part.item_id for part in line.parts)))
        items = list(dict.fromkeys(item for item in named if item is not None))
        wanted = {customer[0]: [customer[1]], self._orders.declared.items: items}
        missing = self._unbound(wanted)
        unheard: list[tuple[str, RecordId]] = []
        for name, ids in missing.items():
            busy, failed = self._known.parents_under_way(name, self._side, ids)
            if failed:
                self._settler.fail(work, Code.PARENT_NOT_SYNCED, min(failed))
                return False
            unheard += [(name, one) for one in ids if one not in busy]
        # What has ended between the two looks is bound by now.
        still = self._unbound({name: [i for n, i in unheard if n == name] for name, _ in unheard})
        missing = self._unbound(missing)
        if not missing:
            return True
        for name, ids in still.items():
            if work.attempt >= TRIES_AT_A_PARENT:
                self._settler.fail(work, Code.PARENT_NOT_SYNCED, min(ids))
                return False
            work.follow += [event_about(self._context, work, name, one, Hint.UPSERT) for one in ids]
        first = next(iter(missing.values()))[0]
        self._settler.wait(work, Code.PARENT_NOT_SYNCED, why="blocked", detail=first, counts=True)
        return False

    def _customer(self, order: WorkOrder) -> tuple[str, RecordId] | None:
        """In the first pair that is synced and that the work order names somebody of."""
        for name in self._orders.declared.customers:
            pair = self._context.pairs.get(name)
            found = order.customers.get(pair.module(self._side)) if pair else None
            if found is not None:
                return name, found
        return None

    def _unbound(self, wanted: Mapping[str, Sequence[RecordId]]) -> dict[str, list[RecordId]]:
        missing: dict[str, list[RecordId]] = {}
        for name, ids in wanted.items():
            rows = self._known.bindings(name, self._side, list(ids))
            left = [one for one in ids if one not in rows or rows[one].state != BindingState.LIVE]
            if left:
                missing[name] = left
        return missing

    # Making it

    def _make(self, work: Work, order: WorkOrder, lines: Sequence[WorkOrderLine]) -> None:
        name, ids = self._orders.pair.name, [line.id for line in lines]
        planned = Planned(self._side, work.id, " ".join(ids), "", {}, again=work.intent is not None)
        if (self._side, work.id) not in self._open_intents(name, [planned]):
            self._settler.wait(work, Code.VENDOR_UNAVAILABLE, in_s=self._settler.soon_s)
            return
        at("intent.committed")
        answer = self._pusher.send(
            work,
            self._side,
            partial(self._invoicer.make_invoice, work.id, ids, self._book.today(), self._orders.terms_days),
        )
        match answer:
            case InvoiceMade():
                self._made(work, order, answer.accounting_id, ids)
            case Rejected():
                self._settler.rejected(work, answer)
            case AlreadyInvoiced() if work.intent is None:  # by somebody else, since we read it
                self._settler.ended(work, OutcomeKind.UNCHANGED, reason=Code.NOTHING_TO_INVOICE)
            case AlreadyInvoiced() if work.intent is not None and work.intent.looks >= 2 * self._settler.looks:
                self._settler.fail(work, Code.IN_DOUBT_UNRESOLVED)
            case AlreadyInvoiced() | Unsure():
                self._settler.wait(
                    work, Code.IN_DOUBT_UNRESOLVED, why="in_doubt", in_s=self._settler.soon_s, intent="doubt"
                )

    def _reconciled(self, work: Work, order: WorkOrder) -> bool:
        """An earlier try may have made it: the work order tells. False: it was not made, and is made now."""
        intent = work.intent
        if intent is None:
            return False
        sent = set(intent.name.split())
        invoices = {line.invoice_id for line in order.lines if line.id in sent and line.invoice_id}
        if not invoices:
            return self._settler.look_again(work, intent)
        link = self._invoicer.invoice(min(invoices))
        if link is None or link.accounting_id is None:
            self._settler.wait(work, Code.IN_DOUBT_UNRESOLVED, in_s=self._settler.soon_s)
            return True
        ids = [line.id for line in order.lines if line.invoice_id == link.id]
        self._made(work, order, link.accounting_id, ids)
        return True

    def _made(self, work: Work, order: WorkOrder, accounting_id: RecordId, lines: Sequence[str]) -> None:
        kept = self._book.keep(work.id, accounting_id, lines)
        at("invoice.kept")
        work.twin_id = accounting_id
        if kept is None:
            self._settler.ended(work, OutcomeKind.UNCHANGED, reason=Code.NOTHING_TO_INVOICE)
        else:
            self._fill(work, order, kept)

    # Filling it

    def _fill(self, work: Work, order: WorkOrder, kept: Kept) -> None:
        """What is mapped is written to it, once. A value that does not fit, or is refused, fails the record: the
        invoice is there, and the next run tries that part again."""
        target, pair = self._side.other, self._orders.pair
        connector, module = self._context.connectors[target], pair.module(target)
        work.twin_id = kept.accounting_id
        found = connector.fetch(module, [kept.accounting_id]).get(kept.accounting_id)
        if found is None:  # not shown yet; or removed since
            self._settler.wait(work, Code.VENDOR_UNAVAILABLE)
            return
        wanted = fill(pair, self._side, order.record)
        if wanted.kind is ActionKind.FAIL:
            self._settler.done(work, wanted)
            return
        changes = tuple(
            Change(one.field, found.get(one.field), one.new)
            for one in wanted.writes.get(target, ())
            if not same(found.get(one.field), one.new)
        )
        if changes and not self._written(work, target, partial(connector.update, module, [Edit(found, changes)])):
            return
        self._book.note_filled(kept)
        warnings = [*wanted.warnings, *_differing_total(order, kept, found)]
        self._settler.ended(
            work, OutcomeKind.CREATED, reason=Code.INVOICED, written=target, changes=changes, warnings=warnings
        )

    def _written(self, work: Work, side: Side, call: Callable[[], Sequence[object]]) -> bool:
        answers = self._pusher.send(work, side, call)
        if answers is None:
            return False
        match answers[0]:
            case Written():
                return True
            case Rejected() as answer:
                self._settler.rejected(work, answer)
            case _:  # it may be repeated
                self._settler.wait(work, Code.IN_DOUBT_UNRESOLVED, in_s=self._settler.soon_s)
        return False


def _differing_total(order: WorkOrder, kept: Kept, invoice: Record) -> list[str]:
    """A work order that is invoiced whole has one total, to the cent."""
    total = invoice.get(TOTAL)
    if set(kept.lines) != {line.id for line in order.lines} or total is None or same(total, order.grand_total):
        return []
    return [f"The invoice's total is {total}, the work order's {order.grand_total}."]
