"""What contacts, items and invoices have in common: create, read, list, update, delete, status, upsert, seeds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

import orjson

from deploy.sandbox import jsonio
from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.messages import Answer, Request
from deploy.sandbox.store import Record, Table
from deploy.sandbox.webhooks import Change
from deploy.sandbox.zoho_books import errors, listing, wire
from deploy.sandbox.zoho_books.listing import SortKey, Test
from deploy.sandbox.zoho_books.office import Office

# Those filters that go by the status alone; None shows every status.
STATUS_FILTERS = {"Status.All": None, "Status.Active": "active", "Status.Inactive": "inactive"}


class Resource(ABC):
    """`singular` is the key of one record, `plural` that of a list; `label` is the word of the vendor's messages."""

    singular: str
    plural: str
    label: str
    scope: str
    first_id: int
    created_message: str
    updated_message: str
    sorts: Mapping[str, SortKey]
    default_sort: str
    texts: Mapping[str, Callable[[Record], str]]
    # (filter of the list, index of the table, prefix of its keys)
    indexed: tuple[tuple[str, str, str], ...]
    # What filter_by takes; another value is refused [I].
    filters: frozenset[str] = frozenset(STATUS_FILTERS)
    default_filter = "Status.Active"

    def __init__(self, office: Office) -> None:
        self.office = office
        self.id_key = f"{self.singular}_id"
        self._next_part = self.first_id + 500_000_000
        self.clear()
        self._add_routes()
        office.modules[self.plural] = self

    def clear(self) -> None:
        indexes = {"name": self.name_keys, "email": self.email_keys, "person": self.person_keys, "custom": _custom_keys}
        self.table = Table(self.plural, self.first_id, indexes)

    def forget_renderings(self) -> None:
        self.table.forget_renderings()

    def new_part_id(self) -> str:
        self._next_part += 1
        return str(self._next_part)

    def _add_routes(self) -> None:
        path, add, scope = f"{self.office.base}/{self.plural}", self.office.router.add, self.scope
        add("GET", path, self._list, f"{scope}.read")
        add("POST", path, self._create, f"{scope}.create")
        add("PUT", path, self._upsert, f"{scope}.update")
        add("GET", f"{path}/{{id}}", self._read, f"{scope}.read")
        add("PUT", f"{path}/{{id}}", self._update, f"{scope}.update")
        add("DELETE", f"{path}/{{id}}", self._delete, f"{scope}.delete")
        self.add_status_routes(path)

    def add_status_routes(self, path: str) -> None:
        add, scope = self.office.router.add, self.scope
        add("POST", f"{path}/{{id}}/active", lambda request: self._status(request, "active"), f"{scope}.create")
        add("POST", f"{path}/{{id}}/inactive", lambda request: self._status(request, "inactive"), f"{scope}.create")

    # What a module says of itself

    @abstractmethod
    def name_keys(self, record: Record) -> Iterable[str]:
        """Under what its name is taken: trimmed, without regard to case."""

    def email_keys(self, record: Record) -> Iterable[str]:
        """Under what it is found by email."""
        return ()

    def person_keys(self, record: Record) -> Iterable[str]:
        """The ids of the contact persons that live in it."""
        return ()

    @abstractmethod
    def cleaned(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        """What a write changes, checked; custom fields are added by the caller."""

    @abstractmethod
    def check_unique(self, after: JsonObject, record_id: str | None) -> None: ...

    @abstractmethod
    def loose(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        """As `cleaned`, for seeds and a person's edits: past the rules."""

    @abstractmethod
    def detail(self, record: Record) -> JsonObject: ...

    @abstractmethod
    def row(self, record: Record) -> JsonObject: ...

    @abstractmethod
    def list_tests(self, query: Mapping[str, str]) -> list[Test]: ...

    @abstractmethod
    def defaults(self) -> JsonObject: ...

    def list_sorts(self) -> Mapping[str, SortKey]:
        return self.sorts

    # Reading

    def _list(self, request: Request) -> Answer:
        """Inactive rows only with filter_by=Status.All or Status.Inactive."""
        request.touch(self.plural, None)
        query = request.query
        sorting = listing.sorting_of(query, self.list_sorts(), self.default_sort)
        applied = query.get("filter_by") or self.default_filter
        if applied not in self.filters:
            raise errors.bad_value("filter_by")
        found = self._sorted(sorting, applied, self.looked_up(query))
        tests = listing.text_tests(query, self.texts) + self.list_tests(query) + self._lag_test()
        if tests:
            found = [record for record in found if all(test(record) for test in tests)]
        rows, context = listing.paged(query, self.table.listed(found))
        rows, cut = self.office.vendor.short_page(request, rows)
        context["has_more_page"] = cut or context["has_more_page"]
        page: JsonObject = {
            **context, "report_name": self.plural.capitalize(), "applied_filter": applied,
            "sort_column": sorting.column, "sort_order": sorting.order,
        }  # fmt: skip
        shown = [self._rendered(record, "row", self.row) for record in rows]
        as_list = self.office.capabilities["page_context_as_list"]
        context_shown = [page] if as_list else page
        return Answer.of({"code": 0, "message": "success", self.plural: shown, "page_context": context_shown})

    def looked_up(self, query: Mapping[str, str]) -> list[Record] | None:
        """The few records that an index gives for an exact filter; None when there is no such filter."""
        for name, index, prefix in self.indexed:
            if query.get(name):
                return self.table.find(index, prefix + query[name].strip().casefold())
        return None

    def _sorted(self, sorting: listing.Sorting, applied: str, few: list[Record] | None) -> list[Record]:
        key = self.list_sorts()[sorting.column]
        status = STATUS_FILTERS.get(applied)

        def build() -> list[Record]:
            held = self.table.records.values() if few is None else few
            chosen = [record for record in held if status is None or record.data["status"] == status]
            return sorted(chosen, key=lambda record: (key(record), record.id), reverse=sorting.descending)

        return build() if few is not None else self.table.view((sorting, status), build)

    def _lag_test(self) -> list[Test]:
        """A new record may show late in lists: a capability, for the vendors promise nothing here."""
        lag_ms = self.office.capabilities["list_lag_ms"]
        if not lag_ms:
            return []
        newest = self.office.clock.now() - timedelta(milliseconds=lag_ms)
        return [lambda record: record.created_at <= newest]

    def _rendered(self, record: Record, kind: str, make: Callable[[Record], JsonObject]) -> orjson.Fragment:
        shown = record.rendered.get(kind)
        if shown is None:
            shown = record.rendered[kind] = orjson.Fragment(jsonio.dumps_raw(make(record)))
        return shown

    def shown(self, record: Record) -> orjson.Fragment:
        return self._rendered(record, "detail", self.detail)

    def get(self, record_id: str) -> Record:
        record = self.table.records.get(record_id)
        if record is None:
            raise errors.not_found(self.label)
        return record

    def named(self, request: Request) -> Record:
        request.touch(self.plural, request.params["id"])
        return self.get(request.params["id"])

    def _read(self, request: Request) -> Answer:
        return self._one(self.named(request), "success")

    def _one(self, record: Record, message: str, status: int = 200) -> Answer:
        return Answer.of({"code": 0, "message": message, self.singular: self.shown(record)}, status)

    # Writing

    def _changes(self, given: JsonObject, record: Record | None) -> JsonObject:
        held = record.data if record else None
        changes = self.cleaned(given, held)
        custom = self.office.custom_fields
        values = custom.values(self.singular, given.get("custom_fields"))
        after = {**(held or {}).get("custom_field_hash", {}), **values}
        custom.check_mandatory(self.singular, after, None if held is None else values)
        if values:
            changes["custom_field_hash"] = after
        self.check_unique({**(held or {}), **changes}, record.id if record else None)
        self._check_custom(changes.get("custom_field_hash", {}), record.id if record else None)
        return changes

    def _check_custom(self, values: JsonObject, record_id: str | None) -> None:
        """A field marked "no duplicates" refuses them; code and text [I]."""
        for name, value in values.items():
            field = self.office.custom_fields.named(self.singular, name)
            if field is None or not field.unique or value in (None, ""):
                continue
            if any(other.id != record_id for other in self.table.find("custom", _custom_key(name, value))):
                raise errors.refuse(400, 1000, f'The value "{value}" already exists for {field.label}.')

    def _create(self, request: Request) -> Answer:
        request.touch(self.plural, None)
        return self._created(request, wire.body_of(request))

    def _created(self, request: Request, given: JsonObject) -> Answer:
        changes = self._changes(given, None)
        record = self._made(changes)
        self.wrote(request, record, "create")
        return self._one(record, self.created_message, 201)

    def added(self, given: JsonObject) -> Record:
        """A record that no call of the API makes, by the same rules; its webhook goes out. Raises Refusal."""
        record = self._made(self._changes(given, None))
        self.office.emit(self.change(record, "create"), {})
        return record

    def _made(self, changes: JsonObject) -> Record:
        now = self.office.clock.now()
        record = self._put_new(self.table.new_id(), changes, now, now)
        self.table.hide(record, self.office.visibility.hidden_ms(self.plural))
        return record

    def _put_new(self, record_id: str, data: JsonObject, created_at: datetime, modified_at: datetime) -> Record:
        full = {"status": "active", **self.defaults(), "custom_field_hash": {}, **data}
        return self.table.add(Record(record_id, full, created_at, modified_at))

    def _update(self, request: Request) -> Answer:
        return self._updated(request, self.named(request), wire.body_of(request))

    def _updated(self, request: Request, record: Record, given: JsonObject) -> Answer:
        record.data.update(self._changes(given, record))
        self.saved(request, record)
        return self._one(record, self.updated_message)

    def saved(self, request: Request, record: Record) -> None:
        self._stamp(record)
        self.wrote(request, record, "update")

    def _stamp(self, record: Record) -> None:
        """Every accepted write moves the modified time, also one that changes nothing [I]."""
        record.modified_at = self.office.clock.after(record.modified_at)
        self.table.changed(record)

    def _delete(self, request: Request) -> Answer:
        record = self.named(request)
        self.check_deletable(record)
        self.remove(request, record)
        return Answer.of({"code": 0, "message": f"The {self.singular} has been deleted."})

    def check_deletable(self, record: Record) -> None:
        """Code as on Zoho Billing's item page; for contacts [I]. Seed `has_transaction` to meet it."""
        if record.data.get("has_transaction"):
            words = f"The {self.singular} is part of a transaction and cannot be deleted. Mark it as inactive instead."
            raise errors.refuse(400, 2049, words)

    def remove(self, request: Request, record: Record) -> None:
        self.table.remove(record)
        self.wrote(request, record, "delete")

    def _status(self, request: Request, status: str) -> Answer:
        """A repeated call succeeds and changes nothing: no time moves, no webhook fires [I]."""
        record = self.named(request)
        if record.data["status"] != status:
            record.data["status"] = status
            self.saved(request, record)
        return Answer.of({"code": 0, "message": f"The {self.singular} has been marked as {status}."})

    def _upsert(self, request: Request) -> Answer:
        """PUT without an id: the record with that value in a unique custom field, or a new one with X-Upsert [V]."""
        request.touch(self.plural, None)
        key = request.headers.get("x-unique-identifier-key", "")
        value = request.headers.get("x-unique-identifier-value", "")
        if not self.office.capabilities["custom_field_upsert"] or not key:
            raise errors.bad_url()
        field = self.office.custom_fields.named(self.singular, key)
        if field is None or not field.unique or not value:
            raise errors.bad_value("X-Unique-Identifier-Key")
        found = self.table.find("custom", _custom_key(key, value))
        given = wire.body_of(request)
        if found:
            return self._updated(request, found[0], given)
        if request.headers.get("x-upsert", "").lower() != "true":
            raise errors.not_found(self.label)
        others = [one for one in given.get("custom_fields") or [] if one.get("api_name") != key]
        return self._created(request, {**given, "custom_fields": [*others, {"api_name": key, "value": value}]})

    # Webhooks

    def wrote(self, request: Request, record: Record, event: str) -> None:
        request.touch(self.plural, record.id, applied=True)
        self.office.emit(self.change(record, event), request.headers)

    def change(self, record: Record, event: str, organization_id: str | None = None) -> Change:
        told = organization_id or self.office.org_id
        payload: JsonObject = {self.singular: self.shown(record), "organization_id": told}
        modified = wire.time_text(record.modified_at)
        return Change(self.plural, event, record.id, payload, modified, organization_id)

    def foreign_change(self, record_id: str, event: str, organization_id: str | None) -> Change:
        """A record that was deleted is told as it was; of one that never was there is only the id."""
        record = self.table.records.get(record_id) or self.table.removed.get(record_id)
        if record is not None:
            return self.change(record, event, organization_id)
        payload: JsonObject = {
            self.singular: {self.id_key: record_id},
            "organization_id": organization_id or self.office.org_id,
        }
        return Change(self.plural, event, record_id, payload, wire.time_text(self.office.clock.now()), organization_id)

    def stamps(self, record: Record) -> JsonObject:
        return {
            "created_time": wire.time_text(record.created_at),
            "last_modified_time": wire.time_text(record.modified_at),
        }

    # The control

    def seed(self, given: JsonObject) -> str:
        now = self.office.clock.now()
        created = wire.parse_time(given["created_time"]) if given.get("created_time") else now
        changed = given.get("last_modified_time")
        modified = wire.parse_time(changed) if changed else max(now, created)
        record_id = str(given.get(self.id_key) or self.table.new_id())
        if record_id in self.table.records:
            self.table.remove(self.table.records[record_id])
        self._put_new(record_id, self._loosely(given, None), created, modified)
        return record_id

    def _loosely(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        changes = self.loose(given, held)
        values = {**given.get("custom_field_hash", {})}
        if given.get("custom_fields"):
            values.update(self.office.custom_fields.values(self.singular, given["custom_fields"]))
        if values:
            changes["custom_field_hash"] = {**(held or {}).get("custom_field_hash", {}), **values}
        return changes

    def internal(self) -> list[JsonObject]:
        return [self._internal(record) for record in self.table.records.values()]

    def _internal(self, record: Record) -> JsonObject:
        return {**self.detail(record), "_sandbox": self.table.sandbox_times(record)}

    def edit(self, method: str, record_id: str | None, fields: JsonObject) -> JsonObject:
        if method == "POST":
            record = self._made(self._loosely(fields, None))
            self.office.emit(self.change(record, "create"), {})
            return self._internal(record)
        record = self.table.records[record_id or ""]
        if method == "DELETE":
            self.table.remove(record)
            self.office.emit(self.change(record, "delete"), {})
            return {"deleted": record.id}
        record.data.update(self._loosely(fields, record.data))
        self.edited(record)
        return self._internal(record)

    def edited(self, record: Record) -> None:
        """After a person's change."""
        self._stamp(record)
        self.office.emit(self.change(record, "update"), {})


def _custom_key(name: str, value: object) -> str:
    return f"{name}\x00{value}"


def _custom_keys(record: Record) -> Iterable[str]:
    values: JsonObject = record.data.get("custom_field_hash", {})
    return [_custom_key(name, value) for name, value in values.items() if value not in (None, "")]


def by_modified(record: Record) -> datetime:
    """Sorted at the resolution that is shown; records of one second follow each other by id [I]."""
    return record.modified_at.replace(microsecond=0)


def by_created(record: Record) -> datetime:
    return record.created_at.replace(microsecond=0)
