"""Zoho FSM as a Connector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Self

from pydantic import ValidationError

from shared.connectors import wire
from shared.connectors.base import (
    CallClass,
    Capabilities,
    Draft,
    Edit,
    InvoiceLink,
    InvoiceResult,
    ManualStep,
    Page,
    Rejected,
    Unsure,
    VendorFacts,
    WorkOrder,
    WriteResult,
    Written,
)
from shared.connectors.errors import Answer, complaint_error, unclear
from shared.connectors.http import VendorHttp, parsed
from shared.connectors.vendor import Link
from shared.connectors.zoho_fsm import invoicing, poll, schemas, settings
from shared.connectors.zoho_fsm.currencies import Currencies
from shared.connectors.zoho_fsm.errors import RULES, complaint_in
from shared.connectors.zoho_fsm.modules import (
    CURRENCY,
    INVOICES,
    ITEMS,
    MODULES,
    PAGE_SIZE,
    RATE,
    STAMP,
    WORK_ORDERS,
    Module,
)
from shared.connectors.zoho_fsm.schemas import Row
from shared.errors import ConfigError, NotFound, RecordRejected, UnsureWrite
from shared.sync.model import FieldDef, Fields, ModuleName, Record, RecordId, Value

_MOST_FIND_PAGES = 5
_ITEM_PATHS = ("Products", "Service_And_Parts")
_TAXES_STEP = ManualStep(
    "Zoho FSM does not tell by API whether taxes are enabled. Look in its Setup under Billing, Tax Settings, and say "
    "it here once: `bothways capabilities CONNECTION taxes_enabled=true`, or false."
)


class FsmConnector:
    """A signed-in Zoho FSM org: the token decides which; no call names it."""

    def __init__(self, link: Link, facts: VendorFacts) -> None:
        self.facts = facts
        self._capabilities = link.capabilities
        self._currencies = Currencies()
        self._item_path = str(link.capabilities.flags.get(settings.ITEM_UPDATE_PATH, _ITEM_PATHS[0]))
        self._http = VendorHttp(
            base_url=f"{link.api_domain}/fsm/v1",
            tokens=link.tokens,
            limiter=link.limiter,
            rules=RULES,
            auth_scheme="Zoho-oauthtoken",
            call_class=link.call_class,
            limit_wait_s=link.limit_wait_s,
            call_s=link.call_s,
        )

    def with_class(self, cls: CallClass) -> Self:
        """The same connection, its calls counted for another class."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._http = self._http.with_class(cls)
        return other

    def close(self) -> None:
        self._http.close()

    def list_page(self, module: ModuleName, *, cursor: str | None, since: datetime | None) -> Page:
        """One page, newest created first; with the capability modified_time_search, those modified since.

        Shapes: at most 200 rows; an empty list is 204 without a body. Source: get-companies, search-records.
        """
        known = _module(module)
        page = int(cursor or "1")
        if since is not None and self._capabilities.on(settings.MODIFIED_TIME_SEARCH):
            answer = self._search(known, poll.since_query(since), page)
        else:
            answer = self._http.call("GET", f"/{known.name}", query=_paging(page))
        return _page(known, answer, page)

    def fetch(self, module: ModuleName, ids: Sequence[RecordId]) -> Mapping[RecordId, Record | None]:
        known = _module(module)
        return {record_id: self._fetch_one(known, record_id) for record_id in ids}

    def _fetch_one(self, module: Module, record_id: RecordId) -> Record | None:
        answer = self._read(module.name, record_id)
        if answer is None:
            return None
        return _record(module, parsed(RULES, schemas.OneAnswer, answer).data[0], answer)

    def _read(self, name: str, record_id: RecordId) -> Answer | None:
        """None where there is no such record: the vendor says so, or answers 204 [T]."""
        try:
            answer = self._http.call("GET", f"/{name}/{{id}}", path={"id": record_id})
        except RecordRejected as error:
            if error.code == "TARGET_GONE":
                return None
            raise
        return None if answer.body is None else answer

    # Work orders and their invoices (TR-7)

    def work_order(self, work_order_id: RecordId) -> WorkOrder | None:
        answer = self._read(WORK_ORDERS, work_order_id)
        if answer is None:
            return None
        try:
            return invoicing.work_order_of(parsed(RULES, schemas.OneAnswer, answer).data[0])
        except ValueError:
            pass
        raise unclear(RULES.vendor, answer.is_write, "answered with a work order of another shape")

    def make_invoice(
        self, work_order_id: RecordId, line_ids: Sequence[RecordId], date: date, payment_terms_days: int
    ) -> InvoiceResult:
        if not line_ids:
            raise ValueError("an invoice needs lines")
        row = invoicing.invoice_row(work_order_id, line_ids, date, payment_terms_days)
        return invoicing.make_invoice(self._http, row)

    def invoice(self, invoice_id: RecordId) -> InvoiceLink | None:
        answer = self._read(INVOICES, invoice_id)
        if answer is None:
            return None
        try:
            return invoicing.link_of(parsed(RULES, schemas.OneAnswer, answer).data)
        except ValueError:
            pass
        raise unclear(RULES.vendor, answer.is_write, "answered with an invoice of another shape")

    def find(self, module: ModuleName, field: str, value: str) -> tuple[Record, ...]:
        """Search by one field with comparator `equal`. By an older text of the vendor the comparator works for
        `Name` only and is `contains` elsewhere, so more may come back than equals; pages are bounded.

        Raises RecordRejected where the vendor cannot search the field.
        """
        known = _module(module)
        if field not in known.searchable:
            raise RecordRejected(f"Zoho FSM cannot search {module} by {field}.", code="VENDOR_REJECTED")
        found: list[Record] = []
        for page in range(1, _MOST_FIND_PAGES + 1):
            answer = self._search(known, poll.equal_query(field, value), page)
            shown = _page(known, answer, page)
            found += shown.rows
            if shown.next_cursor is None:
                break
        return tuple(found)

    def _search(self, module: Module, query: Sequence[tuple[str, str]], page: int) -> Answer:
        return self._http.call("GET", f"/{module.name}/search", query=[*query, *_paging(page)])

    def create(self, module: ModuleName, drafts: Sequence[Draft]) -> tuple[WriteResult, ...]:
        """One call for at most `create_batch` drafts. The answer shows ids and times, not the records."""
        known = _written(module)
        if len(drafts) > self.facts.modules[module].create_batch:
            raise ValueError("more drafts than a call takes")
        stamp_field = self.facts.modules[module].stamp_field
        refused = [self._refused_currency(draft.fields.get(CURRENCY)) for draft in drafts]
        good = [draft for draft, refusal in zip(drafts, refused, strict=True) if refusal is None]
        rows = [schemas.create_body(_with_rate(_stamped(draft, stamp_field))) for draft in good]
        written = iter(self._write("POST", f"/{known.name}", {}, rows) if rows else ())
        return tuple(refusal or next(written) for refusal in refused)

    def update(self, module: ModuleName, edits: Sequence[Edit]) -> tuple[WriteResult, ...]:
        """One record a call: the vendor has no batch update. The engine sends one edit."""
        known = _written(module)
        if len(edits) != 1:
            raise ValueError("Zoho FSM updates one record a call")
        edit = edits[0]
        if not edit.changes:
            return (Written(edit.current.id, edit.current, edit.current.modified_at),)
        for change in edit.changes:
            if change.field == CURRENCY and (refusal := self._refused_currency(change.new)) is not None:
                return (refusal,)
        row = schemas.update_body(edit.current, edit.changes)
        if known.name == ITEMS:
            return self._update_item(edit.current.id, row)
        return self._write("PUT", f"/{known.name}/{{id}}", {"id": edit.current.id}, [row])

    def _refused_currency(self, code: Value) -> Rejected | None:
        if code is None or not self._capabilities.on(settings.CURRENCIES_API):
            return None
        try:
            self._currencies.ensure(self._http, str(code))
        except RecordRejected as error:
            return _rejected(error, is_update=False)
        return None

    def _update_item(self, record_id: RecordId, row: Row) -> tuple[WriteResult, ...]:
        """Third parties disagree on the path of an item's update: the one that worked last comes first."""
        paths = (self._item_path, *(path for path in _ITEM_PATHS if path != self._item_path))
        results: tuple[WriteResult, ...] = ()
        for path in paths:
            results = self._write("PUT", f"/{path}/{{id}}", {"id": record_id}, [row])
            if not _is_wrong_path(results):
                self._item_path = path
                return results
        return results

    def _write(self, method: str, template: str, path: Mapping[str, str], rows: list[Row]) -> tuple[WriteResult, ...]:
        try:
            answer = self._http.call(method, template, path=path, json={"data": rows})
        except RecordRejected as error:
            return (_rejected(error, is_update=method == "PUT"),) * len(rows)
        except UnsureWrite as error:
            return (Unsure(str(error)),) * len(rows)
        try:
            elements = schemas.elements_of(answer.body or {})
            if len(elements) != len(rows):
                raise ValueError("not one element per record")
            return tuple(_result(e, row, answer) for e, row in zip(elements, rows, strict=True))
        except ValueError:
            why = unclear(RULES.vendor, True, "accepted a write with an answer that cannot be read")
            return (Unsure(str(why)),) * len(rows)

    taxes_cost_a_call = False

    def taxes_enabled(self) -> bool | ManualStep:
        """No call tells it, so a person does, once."""
        told = self._capabilities.flags.get(settings.TAXES_ENABLED)
        return _TAXES_STEP if told is None else bool(told)

    def probe(self) -> Capabilities:
        """Looks, by reading only, whether Modified_Time can be searched in every module; and reads the custom fields
        (FM-7) and the base currency (TR-10), where the vendor lets us."""
        found = {self._searches_time(module) for module in MODULES.values()}
        flags = {settings.MODIFIED_TIME_SEARCH: True in found and False not in found}
        return Capabilities({**flags, **self._base_currency()}, self._custom_fields())

    def _base_currency(self) -> dict[str, bool | int | str]:
        if not self._capabilities.on(settings.CURRENCIES_API):
            return {}
        try:
            found = self._currencies.base(self._http)
        except (RecordRejected, ConfigError):
            return {}
        return {settings.BASE_CURRENCY: found} if found else {}

    def _custom_fields(self) -> dict[str, tuple[FieldDef, ...]]:
        """The call exists and is refused under every scope that is known [T]: then a person tells them, for the org."""
        found: dict[str, tuple[FieldDef, ...]] = {}
        for name in MODULES:
            try:
                answer = self._http.call("GET", "/settings/fields", query=[("module", name)])
                rows = schemas.FieldRows.model_validate(answer.body or {}).fields
            except ConfigError:
                return {}
            except (RecordRejected, ValidationError):
                continue
            if own := tuple(row.definition() for row in rows if row.custom_field):
                found[name] = own
        return found

    def _searches_time(self, module: Module) -> bool | None:
        """True only if both hold: nothing is newer than a far future, something is older. A vendor that ignores the
        comparator fails the first. None: a module without records, of which nothing can be told."""
        try:
            newer = self._search(module, poll.far_query("greater_equal"), 1)
            older = self._search(module, poll.far_query("less_equal"), 1)
        except RecordRejected:
            return False
        except ConfigError:
            if module.creates:
                raise
            return None  # a grant from before there were work orders; what is synced does not hang on it
        if not _rows(newer) and not _rows(older):
            return None
        return not _rows(newer)


def _module(name: ModuleName) -> Module:
    try:
        return MODULES[name]
    except KeyError:
        raise NotFound(f"Zoho FSM has no module {name!r} here; known are {', '.join(MODULES)}.") from None


def _written(name: ModuleName) -> Module:
    known = _module(name)
    if not known.creates:
        raise ValueError(f"{known.label} are read only")
    return known


def _paging(page: int) -> list[tuple[str, str]]:
    return [("page", str(page)), ("per_page", str(PAGE_SIZE))]


def _stamped(draft: Draft, stamp_field: str | None) -> Fields:
    fields = {name: value for name, value in draft.fields.items() if name != STAMP or stamp_field is not None}
    return fields | ({stamp_field: draft.stamp} if stamp_field and draft.stamp else {})


def _with_rate(fields: Fields) -> Fields:
    """With multi-currency on the vendor demands a rate beside the currency [V]. It is given once, and never again: what
    people make of it stays (TR-10)."""
    if fields.get(CURRENCY) is None or fields.get(RATE) is not None:
        return fields
    return {**fields, RATE: Decimal(1)}


def _record(module: Module, row: Row, answer: Answer) -> Record:
    try:
        return schemas.record_of(module, row)
    except ValueError:
        raise unclear(RULES.vendor, answer.is_write, "answered with a record without id") from None


def _page(module: Module, answer: Answer, page: int) -> Page:
    """A page that is shorter than it says while more follow was cut: its rows are not known, so it is read again."""
    if answer.body is None:
        return Page((), None, answer.at)
    shown = parsed(RULES, schemas.ListAnswer, answer)
    if shown.info.more_records and len(shown.data) < shown.info.per_page:
        raise unclear(RULES.vendor, answer.is_write, "answered with a page that is cut short")
    rows = tuple(_record(module, row, answer) for row in shown.data)
    return Page(rows, str(page + 1) if shown.info.more_records else None, answer.at)


def _rows(answer: Answer) -> Sequence[Row]:
    return [] if answer.body is None else parsed(RULES, schemas.OneAnswer, answer).data


def _rejected(error: RecordRejected, *, is_update: bool) -> Rejected:
    code = error.code if is_update or error.code != "TARGET_GONE" else "VENDOR_REJECTED"
    return Rejected(code, error.vendor_code or "", error.vendor_message or "")


def _is_wrong_path(results: Iterable[WriteResult]) -> bool:
    wrong = ("INVALID_URL_PATTERN", "INVALID_MODULE", "TARGET_GONE")
    return any(isinstance(r, Rejected) and (r.vendor_code in wrong or r.code in wrong) for r in results)


def _result(element: Row, row: Row, answer: Answer) -> WriteResult:
    complaint = complaint_in(element)
    if complaint is None:
        done = schemas.written_of(element)
        return Written(RecordId(done.id), None, done.modified_at)
    error = complaint_error(RULES, complaint, status=400, answer=answer, sent=wire.leaves(row))
    if isinstance(error, RecordRejected):
        return _rejected(error, is_update=answer.method == "PUT")
    if isinstance(error, UnsureWrite):
        return Unsure(str(error))
    raise error
