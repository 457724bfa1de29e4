"""Zoho Books, or Zoho Invoice, as a Connector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Self

from msgspec import structs
from pydantic import ValidationError

from shared.connectors._zoho.taxes import TAX
from shared.connectors.base import (
    TIME_ZONE,
    CallClass,
    Capabilities,
    Draft,
    Edit,
    Helper,
    ListOrder,
    Page,
    Rejected,
    Unsure,
    VendorFacts,
    WriteResult,
    Written,
)
from shared.connectors.errors import Answer, ErrorRules, unclear
from shared.connectors.http import VendorHttp, parsed
from shared.connectors.vendor import Link, OrgChoice
from shared.connectors.zoho_books import lists, poll, schemas, settings
from shared.connectors.zoho_books.errors import BooksRules
from shared.connectors.zoho_books.modules import (
    CONTACT_PERSONS,
    CONTACTS,
    CURRENCY,
    ITEMS,
    MODULES,
    PAGE_SIZE,
    PERSON_FIELDS,
    PRIMARY_ID,
    TAX_ID,
    Module,
)
from shared.connectors.zoho_books.product import Product
from shared.connectors.zoho_books.schemas import Row
from shared.errors import ConfigError, NotFound, RecordRejected, UnsureWrite
from shared.sync.inside import own_of, parent_of
from shared.sync.model import Change, FieldDef, Fields, ModuleName, Record, RecordId, Value

_MOST_FIND_PAGES = 5
_PROBE_ROWS = 10
HELPED = (CONTACTS, ITEMS)
HELPER_LABEL = "Bothways ID"
HOOK_NAME = "Bothways {entity}"
HOOK_EVENTS = ("created", "edited", "deleted")
HELPER_WHY = (
    "A field without duplicates that holds the id of the record which a customer or an item was made for: so that none "
    "is made twice, whatever happens on the way."
)


def _http(link: Link, product: Product, org_query: Sequence[tuple[str, str]]) -> VendorHttp:
    return VendorHttp(
        base_url=f"{link.api_domain}{product.path}",
        tokens=link.tokens,
        limiter=link.limiter,
        rules=BooksRules(product.label),
        auth_scheme="Zoho-oauthtoken",
        call_class=link.call_class,
        limit_wait_s=link.limit_wait_s,
        call_s=link.call_s,
        org_query=org_query,
    )


def list_orgs(link: Link, product: Product) -> tuple[OrgChoice, ...]:
    """The organisations that the grant reaches: the one call without organization_id (organizations.yml)."""
    http = _http(link, product, ())
    try:
        answer = http.call("GET", "/organizations")
        found = parsed(http.rules, schemas.Organizations, answer).organizations
    finally:
        http.close()
    return tuple(OrgChoice(org.organization_id, org.name) for org in found)


class BooksConnector:
    """A signed-in org of Zoho Books or Zoho Invoice; `organization_id` goes with every call."""

    def __init__(self, link: Link, facts: VendorFacts, product: Product) -> None:
        self.facts = facts
        self._product = product
        skip = bool(link.capabilities.flags.get(settings.SKIP_WEBHOOK_TRIGGER, True))
        self._write_headers = {"X-ZOHO-Skip-Webhook-Trigger": "true"} if skip else {}
        self._org_id = link.org_external_id
        self._http = _http(link, product, [("organization_id", link.org_external_id)])
        # Field -> (the field that takes the id, the list, why a record is refused whose value is not in it).
        self._listed = {
            CURRENCY: ("currency_id", lists.Listed(lists.currencies), "CURRENCY_MISSING"),
            TAX: (TAX_ID, lists.Listed(lists.taxes), "TAX_NOT_MAPPED"),
        }
        self._upsert_field = str(link.capabilities.flags.get(settings.UPSERT_FIELD, ""))
        custom = link.capabilities.custom_fields
        self._modules = {
            name: one.with_custom([facts.modules[name].fields[own.name] for own in custom.get(name, ())])
            for name, one in MODULES.items()
        }

    def with_class(self, cls: CallClass) -> Self:
        """The same connection, its calls counted for another class."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._http = self._http.with_class(cls)
        return other

    def close(self) -> None:
        self._http.close()

    def _module(self, name: ModuleName) -> Module:
        found = self._modules.get(name)
        if found is None:
            raise NotFound(f"{self._product.label} has no module {name!r} here; known are {', '.join(MODULES)}.")
        return found

    def _record(self, module: Module, answer: Answer) -> Record:
        return _record(module, self._modules[CONTACT_PERSONS], answer, self._product.label)

    def list_page(self, module: ModuleName, *, cursor: str | None, since: datetime | None) -> Page:
        """One page, newest change first where the module sorts so; without a filter `since` is left to the engine.

        Shapes: at most 200 rows, inactive ones included. Source: contacts.yml list_contacts, items.yml list_items,
        invoices.yml list_invoices.
        """
        known = self._module(module)
        page = int(cursor or "1")
        newest_first = self.facts.modules[module].order is ListOrder.MODIFIED_DESC
        if known.inside is not None:
            raise ValueError(f"{module} live inside {known.inside} and have no list")
        query = poll.since_query(page, since) if known.since else poll.list_query(page, newest_first=newest_first)
        return _page(known, self._http.call("GET", f"/{known.many}", query=query), page, self._http.rules)

    def fetch(self, module: ModuleName, ids: Sequence[RecordId]) -> Mapping[RecordId, Record | None]:
        """Contacts one by one; items by /itemdetails, one call per `read_batch` ids; persons with their contacts."""
        known = self._module(module)
        if known.inside is not None:
            return self._fetch_inside(known, ids)
        size = self.facts.modules[module].read_batch
        found: dict[RecordId, Record | None] = {}
        for start in range(0, len(ids), size):
            found |= self._fetch_some(known, ids[start : start + size])
        return found

    def _fetch_inside(self, module: Module, ids: Sequence[RecordId]) -> Mapping[RecordId, Record | None]:
        inside: dict[RecordId, Record] = {}
        for parent in dict.fromkeys(parent_of(record_id) for record_id in ids):
            found = self._fetch_one(self._module(CONTACTS), parent)
            if found is not None and module.name not in found.children:
                raise RecordRejected(
                    f"{self._product.label} did not tell the persons of a contact.", code="VENDOR_REJECTED"
                )
            inside |= {one.id: one for one in (found.children[module.name] if found else ())}
        return {record_id: inside.get(record_id) for record_id in ids}

    def _fetch_some(self, module: Module, ids: Sequence[RecordId]) -> Mapping[RecordId, Record | None]:
        if module.name != ITEMS or len(ids) == 1:
            return {record_id: self._fetch_one(module, record_id) for record_id in ids}
        try:
            answer = self._http.call("GET", "/itemdetails", query=[("item_ids", ",".join(ids))])
        except RecordRejected:
            # What one unknown id does to the whole call is not documented: then each is asked for by itself.
            return {record_id: self._fetch_one(module, record_id) for record_id in ids}
        shown = {record.id: record for record in _records(module, answer, self._product.label, complete=True)}
        # An id that is missing in a list may be gone or only left out: believed gone by its own answer alone.
        return {i: shown[i] if i in shown else self._fetch_one(module, i) for i in ids}

    def _fetch_one(self, module: Module, record_id: RecordId) -> Record | None:
        try:
            answer = self._http.call("GET", f"/{module.many}/{{id}}", path={"id": record_id})
        except RecordRejected as error:
            if error.code == "TARGET_GONE":
                return None
            raise
        return self._record(module, answer)

    def find(self, module: ModuleName, field: str, value: str) -> tuple[Record, ...]:
        """The list filtered by a field, inactive rows included. More than equals may come back; pages are bounded.

        Raises RecordRejected where the vendor cannot filter by the field.
        """
        known = self._module(module)
        if field not in known.searchable:
            raise RecordRejected(f"{self._product.label} cannot search {module} by {field}.", code="VENDOR_REJECTED")
        found: list[Record] = []
        for page in range(1, _MOST_FIND_PAGES + 1):
            answer = self._http.call("GET", f"/{known.many}", query=poll.find_query(field, value, page))
            shown = _page(known, answer, page, self._http.rules)
            found += shown.rows
            if shown.next_cursor is None:
                break
        return tuple(found)

    def create(self, module: ModuleName, drafts: Sequence[Draft]) -> tuple[WriteResult, ...]:
        """One record a call: the vendor has no batch create."""
        known = self._module(module)
        if not known.creates:
            raise ValueError(f"{known.label} are not made here")
        if len(drafts) != 1:
            raise ValueError(f"{self._product.label} creates one record a call")
        if known.inside is not None:
            body = schemas.create_body(known, drafts[0].fields)
            return (self._write_person("POST", "", {}, body, str(drafts[0].fields["contact_id"])),)
        draft = drafts[0]
        try:
            draft = replace(draft, fields=self._by_id(draft.fields))
        except RecordRejected as error:
            return (Rejected(error.code, "", error.vendor_message or ""),)
        if self.facts.modules[module].upserts and draft.stamp is not None:
            body = schemas.stamped_body(known, draft.fields, self._upsert_field, draft.stamp)
            once = {
                "X-Unique-Identifier-Key": self._upsert_field,
                "X-Unique-Identifier-Value": draft.stamp,
                "X-Upsert": "true",
            }
            return (self._write(known, "PUT", f"/{known.many}", {}, body, once),)
        return (self._write(known, "POST", f"/{known.many}", {}, schemas.create_body(known, draft.fields)),)

    def update(self, module: ModuleName, edits: Sequence[Edit]) -> tuple[WriteResult, ...]:
        """One record a call. contact_persons is never sent, for a PUT with the list replaces it: what a contact shows
        of its primary person is written to that person, by a call of its own (DU-10)."""
        known = self._module(module)
        if len(edits) != 1:
            raise ValueError(f"{self._product.label} updates one record a call")
        edit = edits[0]
        if not edit.changes:
            return (Written(edit.current.id, edit.current, edit.current.modified_at),)
        if known.inside is not None:
            body = schemas.update_body(known, edit.current, edit.changes)
            path = {"id": own_of(edit.current.id)}
            return (self._write_person("PUT", "/{id}", path, body, parent_of(edit.current.id)),)
        if not known.creates:
            return (self._update_custom(known, edit),)
        return (self._update_whole(known, edit),)

    def _update_custom(self, module: Module, edit: Edit) -> WriteResult:
        """By the call that changes custom fields alone [V]: the invoice's lines need not go with it. Its answer shows
        no record, and no time."""
        body = schemas.custom_rows(module, edit.current, edit.changes)
        path = {"id": edit.current.id}
        try:
            self._http.call(
                "PUT", f"/{module.one}/{{id}}/customfields", path=path, json=body, headers=self._write_headers
            )
        except RecordRejected as error:
            return Rejected(error.code, error.vendor_code or "", error.vendor_message or "")
        except UnsureWrite as error:
            return Unsure(str(error))
        return Written(edit.current.id, None, None)

    def _update_whole(self, module: Module, edit: Edit) -> WriteResult:
        ofs = [change for change in edit.changes if module.name == CONTACTS and change.field in PERSON_FIELDS]
        own = [change for change in edit.changes if change not in ofs]
        try:
            own = self._changed_by_id(own)
        except RecordRejected as error:
            return Rejected(error.code, "", error.vendor_message or "")
        result: WriteResult = Written(edit.current.id, edit.current, edit.current.modified_at)
        if own:
            body = schemas.update_body(module, edit.current, own)
            result = self._write(module, "PUT", f"/{module.many}/{{id}}", {"id": edit.current.id}, body)
        if ofs and isinstance(result, Written):
            result = self._update_primary(result.record or edit.current, edit.current.get(PRIMARY_ID), ofs)
        return result

    def _by_id(self, fields: Fields) -> Fields:
        """What a contact, or an item, is given by name is written by id. A new record without a value is not asked for
        one. Raises RecordRejected where the organisation lacks it: none is made (TR-10)."""
        given = dict(fields)
        for name in self._listed.keys() & fields.keys():
            value = given.pop(name)
            if value is not None:
                given[self._listed[name][0]] = self._id_of(name, value)
        return given

    def _changed_by_id(self, changes: Sequence[Change]) -> list[Change]:
        """A tax that was taken away is taken away; a currency cannot be. Raises RecordRejected."""
        found = []
        for change in changes:
            if change.field not in self._listed:
                found.append(change)
            elif change.new is not None:
                found.append(Change(self._listed[change.field][0], None, self._id_of(change.field, change.new)))
            elif change.field == TAX:
                found.append(Change(TAX_ID, None, None))
        return found

    def _id_of(self, name: str, value: Value) -> str:
        _, listed, refusal = self._listed[name]
        found = listed.id_of(self._http, str(value))
        if found is None:
            raise RecordRejected(f"{name} is not in the list", code=refusal, vendor_message=str(value))
        return found

    def _update_primary(self, contact: Record, primary: Value, changes: Sequence[Change]) -> WriteResult:
        """Where the contact has no person yet, it gets its first. The answer shows the person; when the contact changed
        by that is not told."""
        body = schemas.person_body(contact, changes)
        if primary is None:
            result = self._write_person("POST", "", {}, body, contact.id)
        else:
            result = self._write_person("PUT", "/{id}", {"id": str(primary)}, body, contact.id)
        if not isinstance(result, Written):
            return result
        shown = result.record.fields if result.record else {}
        person = {name: shown[name] for name in PERSON_FIELDS if name in shown}
        return Written(contact.id, structs.replace(contact, fields={**contact.fields, **person}, children={}), None)

    def _write_person(
        self, method: str, template: str, path: Mapping[str, str], body: Row, contact_id: str
    ) -> WriteResult:
        try:
            answer = self._http.call(
                method, f"/contacts/contactpersons{template}", path=path, json=body, headers=self._write_headers
            )
            record = _person(answer, contact_id, self._modules[CONTACT_PERSONS], self._product.label)
        except RecordRejected as error:
            gone_of_another = method == "POST" and error.code == "TARGET_GONE"
            code = "VENDOR_REJECTED" if gone_of_another else error.code
            return Rejected(code, error.vendor_code or "", error.vendor_message or "")
        except UnsureWrite as error:
            return Unsure(str(error))
        return Written(record.id, record, None)

    def _write(
        self,
        module: Module,
        method: str,
        template: str,
        path: Mapping[str, str],
        body: Row,
        headers: Mapping[str, str] | None = None,
    ) -> WriteResult:
        try:
            sent = {**self._write_headers, **(headers or {})}
            answer = self._http.call(method, template, path=path, json=body, headers=sent)
            record = self._record(module, answer)
        except RecordRejected as error:
            gone_of_another = "id" not in path and error.code == "TARGET_GONE"
            code = "VENDOR_REJECTED" if gone_of_another else error.code
            return Rejected(code, error.vendor_code or "", error.vendor_message or "")
        except UnsureWrite as error:
            return Unsure(str(error))
        return Written(record.id, record, record.modified_at)

    # Helper fields (SU-7)

    def helpers(self) -> tuple[Helper, ...]:
        """A custom field without duplicates, of contacts and of items."""
        found = []
        for module in HELPED:
            rows = self._field_rows(MODULES[module])
            own = next((row.api_name for row in rows if row.label == HELPER_LABEL and row.is_unique), "")
            found.append(Helper(module, HELPER_LABEL, HELPER_WHY, own))
        return tuple(found)

    def make_helper(self, module: ModuleName) -> None:
        if any(one.module == module and one.name for one in self.helpers()):
            return
        body = {"label": HELPER_LABEL, "data_type": "string", "is_unique": True}
        self._http.call("POST", "/settings/fields", query=[("entity", MODULES[module].entity)], json=body)

    # Webhooks (SU-8): one says where and with which secret, its workflow says when

    def make_webhooks(self, url: str, secret: str) -> None:
        """The new ones first: what two tell of at once is one change, what none tells of is found by the next sync."""
        names = {HOOK_NAME.format(entity=MODULES[module].entity) for module in HELPED}
        workflows = [one.workflow_id for one in self._hooks("workflows").workflows if one.workflow_name in names]
        webhooks = [one.webhook_id for one in self._hooks("webhooks").webhooks if one.webhook_name in names]
        for module in HELPED:
            self._make_webhook(MODULES[module].entity, url, secret)
        for workflow in workflows:
            self._http.call("DELETE", "/settings/workflows/{id}", path={"id": workflow})
        for webhook in webhooks:
            self._http.call("DELETE", "/settings/webhooks/{id}", path={"id": webhook})

    def _make_webhook(self, entity: str, url: str, secret: str) -> None:
        name = HOOK_NAME.format(entity=entity)
        hook = {
            "webhook_name": name,
            "url": url,
            "method": "POST",
            "entity": entity,
            "events": list(HOOK_EVENTS),
            "secret": secret,
        }
        made = parsed(self._http.rules, schemas.Hooks, self._http.call("POST", "/settings/webhooks", json=hook)).webhook
        if made is None or not made.webhook_id:
            raise unclear(self._product.label, True, "did not tell the id of the webhook that it made")
        workflow = {
            "workflow_name": name,
            "entity": entity,
            "events": list(HOOK_EVENTS),
            "actions": [{"action_type": "webhook", "action_id": made.webhook_id}],
        }
        self._http.call("POST", "/settings/workflows", json=workflow)

    def _hooks(self, kind: str) -> schemas.Hooks:
        return parsed(self._http.rules, schemas.Hooks, self._http.call("GET", f"/settings/{kind}"))

    def _field_rows(self, module: Module) -> list[schemas.FieldRow]:
        answer = self._http.call("GET", "/settings/fields", query=[("entity", module.entity)])
        return parsed(self._http.rules, schemas.FieldRows, answer).fields

    taxes_cost_a_call = True

    def taxes_enabled(self) -> bool:
        """[I] The API has no setting for it: an organisation works with taxes where its list of them has any."""
        return bool(lists.taxes(self._http))

    def more_than(self, module: ModuleName, records: int) -> bool:
        """One page tells it, for no list tells its length. Where vendors, who are contacts too, may be what there is
        too much of, the customers are counted, page by page."""
        known = self._module(module)
        page, rest = records // PAGE_SIZE + 1, records % PAGE_SIZE
        if len(self._rows_of_page(known, page)) <= rest:
            return False
        if module != CONTACTS:
            return True
        customers, page = 0, 1
        while customers <= records:
            rows = self._rows_of_page(known, page)
            customers += sum(row.get("contact_type") == "customer" for row in rows)
            page += 1
            if len(rows) < PAGE_SIZE:
                break
        return customers > records

    def _rows_of_page(self, module: Module, page: int) -> Sequence[Record]:
        answer = self._http.call("GET", f"/{module.many}", query=poll.list_query(page, newest_first=False))
        return _page(module, answer, page, self._http.rules).rows

    def probe(self) -> Capabilities:
        """Looks, by reading only, whether items have a modified time in lists, and are sorted by it when asked; and
        reads the custom fields (FM-7), the base currency (TR-10) and the time zone (TR-4)."""
        flags = {**self._item_flags(), **self._base_currency(), **self._time_zone()}
        return Capabilities(flags, self._custom_fields())

    def _item_flags(self) -> dict[str, bool | int | str]:
        try:
            newest, oldest = self._item_times("D"), self._item_times("A")
        except RecordRejected:
            plain = _all_timed(self._item_times(None))
            return {settings.ITEMS_SORT_MODIFIED: False, settings.ITEMS_LIST_MODIFIED: plain}
        timed = _all_timed(newest)
        return {
            settings.ITEMS_SORT_MODIFIED: timed and _is_sorted(newest, oldest),
            settings.ITEMS_LIST_MODIFIED: timed,
        }

    def _base_currency(self) -> dict[str, bool | int | str]:
        try:
            found = lists.base_currency(self._http)
        except RecordRejected:
            return {}
        return {settings.BASE_CURRENCY: found} if found else {}

    def _time_zone(self) -> dict[str, bool | int | str]:
        try:
            answer = self._http.naming_no_org().call("GET", "/organizations")
        except RecordRejected:
            return {}
        found = parsed(self._http.rules, schemas.Organizations, answer).organizations
        own = next((org.time_zone for org in found if org.organization_id == self._org_id), "")
        return {TIME_ZONE: own} if own else {}

    def _custom_fields(self) -> dict[str, tuple[FieldDef, ...]]:
        """Third parties use the call, the vendor does not document it: where it is refused, or answers in another
        shape, none is known."""
        found: dict[str, tuple[FieldDef, ...]] = {}
        for name, module in MODULES.items():
            try:
                answer = self._http.call("GET", "/settings/fields", query=[("entity", module.entity)])
                rows = schemas.FieldRows.model_validate(answer.body or {}).fields
            except (RecordRejected, ConfigError, ValidationError):
                continue
            if own := tuple(row.definition() for row in rows if row.is_custom_field and row.is_active):
                found[name] = own
        return found

    def _item_times(self, order: str | None) -> list[datetime | None]:
        query = poll.list_query(1, newest_first=order is not None, order=order or "D", size=_PROBE_ROWS)
        answer = self._http.call("GET", "/items", query=query)
        return [record.modified_at for record in _records(MODULES[ITEMS], answer, self._product.label, complete=True)]


def _all_timed(times: Sequence[datetime | None]) -> bool:
    return bool(times) and all(time is not None for time in times)


def _is_sorted(newest: Sequence[datetime | None], oldest: Sequence[datetime | None]) -> bool:
    """Both orders must hold, and differ: equal times, or too few of them, prove nothing."""
    down = [time for time in newest if time is not None]
    up = [time for time in oldest if time is not None]
    ordered = down == sorted(down, reverse=True) and up == sorted(up)
    return ordered and bool(down) and bool(up) and down[0] > up[0]


def _record(module: Module, persons: Module, answer: Answer, vendor: str) -> Record:
    try:
        return schemas.record_of(module, schemas.row_of(answer.body or {}, module.one), persons, complete=True)
    except ValueError:
        pass
    raise unclear(vendor, answer.is_write, "answered with a body of another shape")


def _person(answer: Answer, contact_id: str, persons: Module, vendor: str) -> Record:
    """`contact_person` is a list after a write [V], an object elsewhere."""
    shown = (answer.body or {}).get("contact_person")
    first = shown[0] if isinstance(shown, list) and shown else shown
    try:
        if isinstance(first, dict):
            return schemas.person_of(first, contact_id, persons)
    except ValueError:
        pass
    raise unclear(vendor, answer.is_write, "answered with a contact person of another shape")


def _records(module: Module, answer: Answer, vendor: str, *, complete: bool) -> tuple[Record, ...]:
    try:
        rows = schemas.rows_of(answer.body or {}, module.many)
        return tuple(schemas.record_of(module, row, complete=complete) for row in rows)
    except ValueError:
        pass
    raise unclear(vendor, answer.is_write, "answered with a list of another shape")


def _page(module: Module, answer: Answer, page: int, rules: ErrorRules) -> Page:
    """A page that is shorter than it says while more follow was cut: its rows are not known, so it is read again."""
    context = parsed(rules, schemas.ListAnswer, answer).page_context
    rows = _records(module, answer, rules.vendor, complete=not module.thin_list and not module.custom)
    if context.has_more_page and len(rows) < context.per_page:
        raise unclear(rules.vendor, answer.is_write, "answered with a page that is cut short")
    return Page(rows, str(page + 1) if context.has_more_page else None, answer.at)
