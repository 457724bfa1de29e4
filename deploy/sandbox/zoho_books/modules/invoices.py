"""Invoices. Source: the vendor's file invoices.yml [V] but where it says [I]."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

from deploy.sandbox import jsonio
from deploy.sandbox.jsonio import BadJson, JsonObject
from deploy.sandbox.messages import Answer, Request
from deploy.sandbox.store import Record
from deploy.sandbox.zoho_books import errors, listing, wire
from deploy.sandbox.zoho_books.listing import SortKey, Test
from deploy.sandbox.zoho_books.modules.contacts import Contacts
from deploy.sandbox.zoho_books.modules.items import Items
from deploy.sandbox.zoho_books.office import Office
from deploy.sandbox.zoho_books.resource import Resource, by_created
from deploy.sandbox.zoho_books.tax_rules import NO_TAX, tax_of
from deploy.sandbox.zoho_books.totals import NOTHING, Line, Part, Terms, cents, totals_of

# invoice_number, reference_number, name of a line and payment_terms_label 100 [V]; the others [I].
LENGTHS = {
    "invoice_number": 100, "reference_number": 100, "payment_terms_label": 100, "adjustment_description": 255,
    "notes": 5000, "terms": 10000, "place_of_supply": 10, "gst_treatment": 50, "gst_no": 15, "vat_treatment": 50,
    "tax_treatment": 50,
}  # fmt: skip
LINE_LENGTHS = {"name": 100, "description": 2000, "unit": 100}
FLAGS = ("is_discount_before_tax", "is_inclusive_tax", "allow_partial_payments")
MONEY = ("shipping_charge", "adjustment")
DISCOUNT_TYPES = ("entity_level", "item_level")
OPEN = ("sent", "viewed", "overdue", "partially_paid")
STATUSES = ("draft", *OPEN, "unpaid", "paid", "void")
FILTERS = {
    "Status.All": None, "Status.Draft": "draft", "Status.Sent": "sent", "Status.Viewed": "viewed",
    "Status.OverDue": "overdue", "Status.Unpaid": "unpaid", "Status.PartiallyPaid": "partially_paid",
    "Status.Paid": "paid", "Status.Void": "void",
}  # fmt: skip
MOST_TERMS_DAYS = 100
NUMBER = re.compile(r"INV-(\d{6,})")
ROW = (
    "customer_name", "customer_id", "invoice_number", "reference_number", "date", "due_date", "currency_id",
    "currency_code", "total", "balance", "shipping_charge", "adjustment", "exchange_rate",
)  # fmt: skip
COMPARE: dict[str, Callable[[str, str], bool]] = {
    "": lambda held, wanted: held == wanted,
    "_start": lambda held, wanted: held >= wanted,
    "_end": lambda held, wanted: held <= wanted,
    "_before": lambda held, wanted: held < wanted,
    "_after": lambda held, wanted: held > wanted,
}


def _data(name: str) -> Callable[[Record], str]:
    return lambda record: str(record.data.get(name) or "")


def _folded(name: str) -> SortKey:
    return lambda record: str(record.data.get(name) or "").casefold()


def _amount(name: str) -> SortKey:
    return lambda record: Decimal(record.data[name])


class Invoices(Resource):
    singular, plural, label, scope = "invoice", "invoices", "Invoice", "invoices"
    first_id = 460000000567001
    created_message = "The invoice has been created."
    updated_message = "Invoice information has been updated."
    default_sort = "created_time"
    default_filter = "Status.All"
    filters = frozenset(FILTERS)
    indexed = (("invoice_number", "name", ""),)
    texts: Mapping[str, Callable[[Record], str]] = {
        name: _data(name) for name in ("invoice_number", "reference_number", "customer_name", "email")
    }
    sorts: Mapping[str, SortKey] = {
        **{name: _folded(name) for name in ("customer_name", "invoice_number", "date", "due_date")},
        **{name: _amount(name) for name in ("total", "balance")},
        "created_time": by_created,
    }

    def add_status_routes(self, path: str) -> None:
        add = self.office.router.add
        for status, before, words in (
            ("sent", ("draft", *OPEN), "Invoice status has been changed to Sent."),
            ("draft", ("draft", "void"), "Status of invoice changed from void to draft"),
            ("void", ("draft", "void", *OPEN), "Invoice status has been changed to Void."),
        ):
            moved = partial(self._moved, status=status, before=before, words=words)
            add("POST", f"{path}/{{id}}/status/{status}", moved, "invoices.create")
        for status, words in (
            ("sent", "The invoices have been marked as sent."),
            ("void", "The selected invoices have been marked as void."),
        ):
            all_moved = partial(self._all_moved, status=status, words=words)
            add("POST", f"{path}/status/{status}", all_moved, "invoices.create")
        add("DELETE", path, self._delete_many, "invoices.delete")
        add("PUT", f"{self.office.base}/invoice/{{id}}/customfields", self._custom, "invoices.update")

    def name_keys(self, record: Record) -> Iterable[str]:
        return (str(record.data.get("invoice_number", "")).strip().casefold(),)

    def defaults(self) -> JsonObject:
        return {
            **dict.fromkeys(LENGTHS, ""), "status": "draft", "payment_terms": 0,
            "payment_terms_label": "Due on Receipt", "exchange_rate": 1, "discount": 0,
            "is_discount_before_tax": True, "discount_type": "entity_level", "is_inclusive_tax": False,
            "allow_partial_payments": False, "shipping_charge": NOTHING, "adjustment": NOTHING, "payment_made": NOTHING,
            "line_items": [], "taxes": [], "sub_total": NOTHING, "tax_total": NOTHING, "total": NOTHING,
            "balance": NOTHING,
        }  # fmt: skip

    # Writing

    @property
    def contacts(self) -> Contacts:
        found = self.office.modules["contacts"]
        assert isinstance(found, Contacts)  # noqa: S101
        return found

    @property
    def items(self) -> Items:
        found = self.office.modules["items"]
        assert isinstance(found, Items)  # noqa: S101
        return found

    def cleaned(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        """A create needs customer_id and line_items [V]; that an update may leave them out is [I], for the file
        requires them there too."""
        changes = wire.check_texts(given, LENGTHS)
        changes.update(self._customer(given, held))
        changes.update(self._days(given, held))
        for name in FLAGS:
            if name in given:
                if not isinstance(given[name], bool):
                    raise errors.bad_value(name)
                changes[name] = given[name]
        for name in MONEY:
            if name in given:
                changes[name] = cents(Decimal(wire.number_of(name, given[name])))
        if "discount" in given:
            changes["discount"] = _kept(_discount("discount", given["discount"]))
        if "discount_type" in given:
            if given["discount_type"] not in DISCOUNT_TYPES:
                raise errors.bad_value("discount_type")
            changes["discount_type"] = given["discount_type"]
        if "exchange_rate" in given:
            changes["exchange_rate"] = wire.number_of("exchange_rate", given["exchange_rate"])
        if "line_items" in given or held is None:
            changes["line_items"] = self._lines(given.get("line_items"), held, {**(held or {}), **changes})
        if held is None and not changes.get("invoice_number"):
            changes["invoice_number"] = self._next_number()
        return {**changes, **_summed({**self.defaults(), **(held or {}), **changes})}

    def _customer(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        """An active customer; that an inactive one is refused, and that its currency is the invoice's, is [I]."""
        if "customer_id" not in given and held is not None:
            return {}
        wanted = str(given.get("customer_id") or "")
        if not wanted:
            raise errors.empty("customer_id")
        record = self.contacts.table.records.get(wanted)
        if record is None or record.data["contact_type"] != "customer" or record.data["status"] != "active":
            raise errors.bad_value("customer_id")
        return self._told_of(record)

    def _told_of(self, customer: Record) -> JsonObject:
        shown = self.contacts.detail(customer)
        return {
            "customer_id": customer.id, "customer_name": shown["contact_name"], "email": shown["email"],
            "currency_id": shown["currency_id"], "currency_code": shown["currency_code"],
        }  # fmt: skip

    def _days(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        """Without a due date it is as many days after the date as payment_terms say [V]."""
        changes: JsonObject = {}
        for name in ("date", "due_date"):
            if given.get(name):
                changes[name] = _day(name, given[name]).isoformat()
        if "date" not in changes and held is None:
            changes["date"] = self._today()
        if "payment_terms" in given:
            days = given["payment_terms"]
            if isinstance(days, bool) or not isinstance(days, int) or not 0 <= days <= MOST_TERMS_DAYS:
                raise errors.bad_value("payment_terms")
            changes["payment_terms"] = days
            changes["payment_terms_label"] = given.get("payment_terms_label") or _label(days)
        if ({"date", "payment_terms"} & changes.keys()) and "due_date" not in changes:
            after = {"payment_terms": 0, **(held or {}), **changes}
            changes["due_date"] = (_day("date", after["date"]) + timedelta(days=after["payment_terms"])).isoformat()
        return changes

    def _today(self) -> str:
        return self.office.clock.now().astimezone(wire.OFFSET).date().isoformat()

    def _next_number(self) -> str:
        """One above the highest that was given automatically, or looks so [I]."""
        taken = [NUMBER.fullmatch(str(record.data["invoice_number"])) for record in self.table.records.values()]
        taken += [NUMBER.fullmatch(str(record.data["invoice_number"])) for record in self.table.removed.values()]
        return f"INV-{max((int(one.group(1)) for one in taken if one), default=0) + 1:06}"

    # Lines

    def _lines(self, given: Any, held: JsonObject | None, after: JsonObject, checked: bool = True) -> list[JsonObject]:
        """The list of a write replaces the one held: a line not named by its id goes [V]."""
        if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
            raise errors.empty("line_items") if given in (None, []) else errors.bad_value("line_items")
        known = {line["line_item_id"]: line for line in (held or {}).get("line_items", ())}
        lines = []
        for place, one in enumerate(given, 1):
            own_id = str(one.get("line_item_id") or "")
            if checked and own_id and own_id not in known:
                raise errors.bad_value("line_item_id")
            lines.append(self._line(one, known.get(own_id), place, after, checked))
        return lines

    def _line(
        self, given: JsonObject, held: JsonObject | None, place: int, after: JsonObject, checked: bool
    ) -> JsonObject:
        """By item_id, which the schema requires, or with a name of its own [T]. What a line does not say is the
        item's."""
        line = held or self._of_item(given, after, checked)
        line = {**line, **{name: given[name] or "" for name in LINE_LENGTHS if name in given}}
        wire.check_texts(line, LINE_LENGTHS)
        if not line["name"]:
            raise errors.empty("item_id")
        for name in ("rate", "quantity"):
            if given.get(name) not in (None, ""):
                line[name] = wire.number_of(name, given[name])
        if checked and line["quantity"] <= 0:
            raise errors.bad_value("quantity")
        if "discount" in given:
            line["discount"] = _kept(_discount("discount", given["discount"]))
        if "tax_id" in given:
            if given["tax_id"] and not self.office.capabilities["taxes_enabled"]:
                raise errors.bad_value("tax_id")
            line.update(tax_of(self.office, given["tax_id"]))
        own_id = str(given.get("line_item_id") or self.new_part_id())
        return {**line, "line_item_id": own_id, "item_order": place, "bcy_rate": line["rate"]}

    def _of_item(self, given: JsonObject, after: JsonObject, checked: bool) -> JsonObject:
        """An inactive item is refused [I]. What is taxed has the item's tax, unless the customer is not taxable [I]."""
        plain = {"item_id": "", "name": "", "description": "", "unit": "", "rate": 0, "quantity": 1, "discount": 0}
        line = {**plain, "item_type": "sales", "product_type": "goods", **NO_TAX}
        wanted = str(given.get("item_id") or "")
        item = self.items.table.records.get(wanted)
        if item is None or (checked and item.data["status"] != "active"):
            if wanted and checked:
                raise errors.bad_value("item_id")
            return {**line, "item_id": wanted}
        own = {name: item.data[name] for name in ("name", "description", "unit", "rate", "item_type", "product_type")}
        customer = self.contacts.table.records.get(str(after.get("customer_id") or ""))
        taxable = self.office.capabilities["taxes_enabled"] and item.data["is_taxable"]
        if taxable and (customer is None or customer.data["is_taxable"]):
            own.update({name: item.data[name] for name in NO_TAX})
        return {**line, **own, "item_id": item.id}

    def check_unique(self, after: JsonObject, record_id: str | None) -> None:
        """Numbers are unique [V]; code and text [I]."""
        number = str(after["invoice_number"])
        if any(other.id != record_id for other in self.table.find("name", number.strip().casefold())):
            raise errors.refuse(400, 1001, f"Invoice number {number} already exists.")

    def _made(self, changes: JsonObject) -> Record:
        record = super()._made(changes)
        self._mark_used(record)
        return record

    def _mark_used(self, record: Record) -> None:
        """A customer and an item of an invoice are no longer deleted."""
        used = [self.contacts.table.records.get(record.data["customer_id"])]
        used += [self.items.table.records.get(line["item_id"]) for line in record.data["line_items"]]
        for one in used:
            if one is not None and not one.data.get("has_transaction"):
                one.data["has_transaction"] = True
                one.rendered.clear()

    def _created(self, request: Request, given: JsonObject) -> Answer:
        _check_number(request, given, None)
        changes = self._changes(given, None)
        if request.query.get("send") == "true":
            changes["status"] = "sent"
        record = self._made(changes)
        self.wrote(request, record, "create")
        return self._one(record, self.created_message, 201)

    def _updated(self, request: Request, record: Record, given: JsonObject) -> Answer:
        """What is paid or void is not changed [I]."""
        _check_number(request, given, str(record.data["invoice_number"]))
        if record.data["status"] in ("paid", "void"):
            raise errors.refuse(400, 1013, f"A {record.data['status']} invoice cannot be edited.")
        record.data.update(self._changes(given, record))
        self._mark_used(record)
        self.saved(request, record)
        return self._one(record, self.updated_message)

    def _custom(self, request: Request) -> Answer:
        """The body is the list itself [V]; an object with it, as the items' call of the same name takes, too [I]."""
        record = self.named(request)
        try:
            given = jsonio.loads_any(request.body)
        except BadJson as error:
            raise errors.bad_value("JSONString") from error
        listed = given.get("custom_fields") if isinstance(given, dict) else given
        custom = self.office.custom_fields
        values = custom.values(self.singular, listed)
        after = {**record.data["custom_field_hash"], **values}
        custom.check_mandatory(self.singular, after, values)
        self._check_custom(values, record.id)
        record.data["custom_field_hash"] = after
        self.saved(request, record)
        return Answer.of({"code": 0, "message": "Custom Fields Updated Successfully"})

    # Status

    def _moved(self, request: Request, status: str, before: tuple[str, ...], words: str) -> Answer:
        record = self.named(request)
        self._move(request, record, status, before)
        return Answer.of({"code": 0, "message": words})

    def _move(self, request: Request, record: Record, status: str, before: tuple[str, ...]) -> None:
        """From another status it is refused; a repeated call succeeds and changes nothing. Both [I]."""
        held = record.data["status"]
        if held not in before:
            raise errors.refuse(400, 1014, f"A {held} invoice cannot be marked as {status}.")
        if held != status and not (status == "sent" and held in OPEN):
            record.data["status"] = status
            record.data.update(_summed(record.data))
            self.saved(request, record)

    def _all_moved(self, request: Request, status: str, words: str) -> Answer:
        for record in self._many(request):
            self._move(request, record, status, ("draft", "void", *OPEN) if status == "void" else ("draft", *OPEN))
        return Answer.of({"code": 0, "message": words})

    def _many(self, request: Request) -> list[Record]:
        wanted = [part.strip() for part in request.query.get("invoice_ids", "").split(",") if part.strip()]
        if not wanted:
            raise errors.bad_value("invoice_ids")
        return [self.get(record_id) for record_id in wanted]

    def _delete_many(self, request: Request) -> Answer:
        records = self._many(request)
        for record in records:
            self.check_deletable(record)
        for record in records:
            self.remove(request, record)
        return Answer.of({"code": 0, "message": "The invoices have been deleted."})

    def check_deletable(self, record: Record) -> None:
        """Paid ones are not deleted [V]; that sent ones are not either is [I]."""
        if record.data["status"] not in ("draft", "void"):
            raise errors.refuse(400, 1038, "Only invoices that are draft or void can be deleted.")

    # Reading

    def _shown_status(self, record: Record) -> str:
        """What was sent is overdue once its day has passed."""
        status = str(record.data["status"])
        return "overdue" if status in ("sent", "viewed") and record.data["due_date"] < self._today() else status

    def list_tests(self, query: Mapping[str, str]) -> list[Test]:
        tests = listing.modified_test(query)
        for wanted in (FILTERS.get(query.get("filter_by", "")), query.get("status")):
            if wanted:
                tests.append(self._status_test(wanted))
        for name in ("date", "due_date", "created_date"):
            tests += [
                self._day_test(name, compare, _day(f"{name}{suffix}", query[f"{name}{suffix}"]).isoformat())
                for suffix, compare in COMPARE.items()
                if query.get(f"{name}{suffix}")
            ]
        for name in ("total", "balance"):
            if query.get(name):
                tests.append(_amount_test(name, Decimal(wire.number_of(name, query[name]))))
        if query.get("customer_id"):
            tests.append(lambda record: bool(record.data["customer_id"] == query["customer_id"]))
        if query.get("item_id"):
            tests.append(lambda record: any(one["item_id"] == query["item_id"] for one in record.data["line_items"]))
        if query.get("search_text"):
            text = query["search_text"].casefold()
            own = ("invoice_number", "reference_number", "customer_name")
            tests.append(lambda record: any(text in str(record.data.get(name) or "").casefold() for name in own))
        return tests

    def _status_test(self, wanted: str) -> Test:
        if wanted not in STATUSES:
            raise errors.bad_value("status")
        if wanted == "unpaid":
            return lambda record: record.data["status"] in OPEN
        return lambda record: self._shown_status(record) == wanted

    def _day_test(self, name: str, compare: Callable[[str, str], bool], wanted: str) -> Test:
        if name == "created_date":
            return lambda record: compare(record.created_at.astimezone(wire.OFFSET).date().isoformat(), wanted)
        return lambda record: compare(str(record.data[name]), wanted)

    def row(self, record: Record) -> JsonObject:
        """Without lines."""
        shown = self.office.custom_fields.show(self.singular, record.data["custom_field_hash"])
        return {
            "invoice_id": record.id, "status": self._shown_status(record),
            **{name: record.data.get(name, "") for name in ROW}, **self.stamps(record),
            "custom_fields": shown["custom_fields"], "is_emailed": False, "has_attachment": False, "documents": "",
            "tags": [],
        }  # fmt: skip

    def detail(self, record: Record) -> JsonObject:
        """Addresses are the customer's as they are now [I]."""
        data = {key: value for key, value in record.data.items() if key not in ("custom_field_hash", "email")}
        customer = self.contacts.table.records.get(str(data.get("customer_id") or ""))
        addresses = ("billing_address", "shipping_address")
        return {
            "invoice_id": record.id, **data, "status": self._shown_status(record),
            **{name: customer.data[name] for name in addresses if customer is not None},
            "credits_applied": NOTHING, "write_off_amount": NOTHING, "price_precision": 2, "is_emailed": False,
            **self.stamps(record), **self.office.custom_fields.show(self.singular, record.data["custom_field_hash"]),
        }  # fmt: skip

    # The control

    def loose(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        """Past the rules, but totals follow from lines that are given."""
        changes = {name: value for name, value in given.items() if name in self.defaults()}
        for name in ("customer_id", "customer_name", "date", "due_date", "currency_id", "currency_code", "email"):
            if name in given:
                changes[name] = given[name]
        customer = self.contacts.table.records.get(str(given.get("customer_id") or ""))
        if customer is not None:
            changes = {**self._told_of(customer), **changes}
        if held is None:
            changes.setdefault("customer_id", "")
            changes.setdefault("date", self._today())
            changes.setdefault("due_date", changes["date"])
            changes.setdefault("invoice_number", self._next_number())
        after = {**self.defaults(), **(held or {}), **changes}
        if changes.get("line_items"):
            changes["line_items"] = self._lines(changes["line_items"], held, after, checked=False)
        sums = ("sub_total", "tax_total", "total", "balance")
        told: JsonObject = {name: given[name] for name in sums if name in given}
        return {**changes, **_summed({**after, **changes}), **told}


def _check_number(request: Request, given: JsonObject, held: str | None) -> None:
    """A number of one's own needs ignore_auto_number_generation, and that needs a number [V]; the refusal's code of the
    first [I]."""
    own = request.query.get("ignore_auto_number_generation") == "true"
    number = given.get("invoice_number")
    if own and held is None and not number:
        raise errors.empty("invoice_number")
    if not own and number and number != held:
        raise errors.refuse(400, 4097, "Auto-generation of invoice numbers is on: the number cannot be given.")


def _summed(after: JsonObject) -> JsonObject:
    """What follows from the lines and the terms: line totals, taxes, totals, balance."""
    lines = [
        Line(
            Decimal(one["quantity"]), Decimal(one["rate"]), _discount("discount", one["discount"]),
            str(one["tax_id"] or ""), Decimal(one["tax_percentage"] or 0),
        )
        for one in after["line_items"]
    ]  # fmt: skip
    terms = Terms(
        discount=_discount("discount", after["discount"]), entity_level=after["discount_type"] == "entity_level",
        before_tax=after["is_discount_before_tax"], inclusive=after["is_inclusive_tax"],
        shipping=Decimal(after["shipping_charge"]), adjustment=Decimal(after["adjustment"]),
    )  # fmt: skip
    found = totals_of(lines, terms)
    shown = [
        {**one, "item_total": total, "discount_amount": discount}
        for one, total, discount in zip(after["line_items"], found.line_totals, found.line_discounts, strict=True)
    ]
    names = {str(one["tax_id"]): f"{one['tax_name']} ({one['tax_percentage']}%)" for one in after["line_items"]}
    due = after["status"] not in ("void", "paid")
    return {
        "line_items": shown, "sub_total": found.sub_total, "tax_total": found.tax_total, "total": found.total,
        "taxes": [{"tax_name": names[tax], "tax_amount": amount} for tax, amount in found.taxes.items()],
        "balance": found.total - Decimal(after["payment_made"]) if due else NOTHING,
    }  # fmt: skip


def _discount(name: str, given: Any) -> Part:
    """A number, or a text that is one; with % at its end it is per cent [V]."""
    text = str(given if given not in (None, "") else 0).strip()
    try:
        value = Decimal(text.removesuffix("%"))
    except InvalidOperation as error:
        raise errors.bad_value(name) from error
    if not value.is_finite() or value < 0:
        raise errors.bad_value(name)
    return Part(value, text.endswith("%"))


def _kept(discount: Part) -> Decimal | str:
    """An amount as a number, per cent as a text [V]."""
    return f"{discount.value}%" if discount.percent else discount.value


def _amount_test(name: str, wanted: Decimal) -> Test:
    return lambda record: Decimal(record.data[name]) == wanted


def _day(name: str, given: Any) -> date:
    try:
        return datetime.strptime(given, "%Y-%m-%d").date()  # noqa: DTZ007
    except (TypeError, ValueError) as error:
        raise errors.bad_value(name) from error


def _label(days: int) -> str:
    return f"Net {days}" if days else "Due on Receipt"


def register(office: Office) -> None:
    Invoices(office)
