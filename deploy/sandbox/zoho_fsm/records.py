"""The records of one FSM module: what is kept, how it is shown, how it is found."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import orjson

from deploy.sandbox import jsonio
from deploy.sandbox.clock import Clock
from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.store import Record, Table
from deploy.sandbox.visibility import Visibility
from deploy.sandbox.zoho_fsm import errors, wire
from deploy.sandbox.zoho_fsm.custom_fields import CustomFields
from deploy.sandbox.zoho_fsm.fields import Module, check_value, spread_tax


def _index_key(value: Any) -> Iterable[str]:
    return (str(value).casefold(),) if value not in (None, "") else ()


def search_value(record: Record, name: str) -> Any:
    """A lookup is searched by the id of what it names [I]."""
    value = record.data.get(name)
    return value.get("id") if isinstance(value, dict) else value


def newest_first(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda record: (record.created_at, record.seq), reverse=True)


class Records:
    def __init__(
        self, module: Module, others: dict[str, Records], clock: Clock, visibility: Visibility, custom: CustomFields
    ) -> None:
        self.module = module
        self._custom = custom
        self.clock = clock
        self._visibility = visibility
        self._others = others
        self._next_address = module.first_id + 600_000_000
        self.clear()

    def clear(self) -> None:
        indexes = {
            name: (lambda record, name=name: _index_key(search_value(record, name))) for name in self.module.searchable
        }
        self.table = Table(self.module.name, self.module.first_id, indexes)

    # Reading

    def newest_first(self) -> list[Record]:
        return self.table.view("created", lambda: newest_first(self.table.records.values()))

    def get(self, record_id: str) -> Record:
        record = self.table.records.get(record_id)
        if record is None:
            raise errors.unknown_record()
        return record

    def row(self, record: Record) -> orjson.Fragment:
        """As in a list that shows no times."""
        return self._rendered(record, "row", False)

    def listed(self, record: Record, timed: bool) -> orjson.Fragment:
        """As in a list."""
        return self.detail(record) if timed else self.row(record)

    def detail(self, record: Record) -> orjson.Fragment:
        return self._rendered(record, "detail", True)

    def _rendered(self, record: Record, kind: str, times: bool) -> orjson.Fragment:
        shown = record.rendered.get(kind)
        if shown is None:
            shown = orjson.Fragment(jsonio.dumps_raw(self.show(record, times)))
            record.rendered[kind] = shown
        return shown

    def show(self, record: Record, times: bool = True) -> JsonObject:
        data = record.data
        shown: JsonObject = {"Owner": wire.OWNER, **self.module.constant}
        for name, rule in self.module.fields.items():
            shown[name] = self._show_value(name, rule.kind, rule.module, data.get(name))
        shown.update({name: value for name, value in data.items() if name not in shown})
        shown = {**self._custom.shown(self.module.name), **shown}
        if times:
            shown.update(self.stamps(record))
        return {**shown, "id": record.id}

    def _show_value(self, name: str, kind: str, module: str | None, value: Any) -> Any:
        if kind == "address":
            return wire.show_address(value, name)
        if kind == "tax":
            return wire.show_tax(value)
        if kind == "lookup" and value and module:
            return self._others[module].as_lookup(value["id"])
        return value

    def as_lookup(self, record_id: str) -> JsonObject | None:
        record = self.table.records.get(record_id)
        name = self.module.name_field or self.module.required[0]
        return {"name": record.data.get(name), "id": record_id} if record else None

    def stamps(self, record: Record) -> JsonObject:
        person = {"name": wire.OWNER["name"], "id": wire.OWNER["id"]}
        return {
            "Modified_Time": wire.time_text(record.modified_at), "Modified_By": person,
            "Created_Time": wire.time_text(record.created_at), "Created_By": person,
        }  # fmt: skip

    # Writing

    def cleaned(self, given: JsonObject, held: JsonObject | None, writable: frozenset[str]) -> JsonObject:
        """What a write changes, checked. Fields that FSM does not know, or does not let be written, are dropped [I]."""
        given = wire.cut_text(given)
        changes: JsonObject = {}
        for name, rule in self.module.fields.items():
            if name not in given or name not in writable or rule.kind == "tax":
                continue
            changes[name] = self._cleaned_value(name, given[name], held)
        if "Tax" in self.module.fields and (given.get("Tax") or any(key in given for key in wire.TAX_KEYS)):
            changes["Tax"] = spread_tax(given, (held or {}).get("Tax"))
        changes.update(self._custom.checked(self.module.name, given, held))
        if "$inactive" in writable and isinstance(given.get("$inactive"), bool):
            changes["$inactive"] = given["$inactive"]
        self._check_required({**(held or {}), **changes})
        return changes

    def _cleaned_value(self, name: str, value: Any, held: JsonObject | None) -> Any:
        rule = self.module.fields[name]
        checked = check_value(name, rule, value)
        if rule.kind == "lookup" and checked is not None:
            target = str(checked.get("id", ""))
            if rule.module and target not in self._others[rule.module].table.records:
                raise errors.invalid_data(name, expected_data_type="bigint")
            return {"id": target}
        if rule.kind == "address" and checked is not None:
            return self.merged_address(name, (held or {}).get(name), checked)
        return checked

    def merged_address(self, group: str, held: JsonObject | None, given: JsonObject) -> JsonObject:
        if held and given.get("id") not in (None, held["id"]):
            raise errors.invalid_data("id", group)
        self._next_address += 1
        return wire.merge_address(held, given, str(self._next_address))

    def _check_required(self, after: JsonObject) -> None:
        for name in self.module.required:
            if after.get(name) in (None, ""):
                raise errors.missing(name)

    def create(self, changes: JsonObject) -> Record:
        now = self.clock.now()
        record = self.put_new(self.table.new_id(), changes, now, now)
        self.table.hide(record, self._visibility.hidden_ms(self.module.name))
        return record

    def put_new(self, record_id: str, data: JsonObject, created_at: datetime, modified_at: datetime) -> Record:
        full = {**self.module.defaults, "$inactive": False, **data}
        return self.table.add(Record(record_id, full, created_at, modified_at))

    def made_inside(self, made: list[Record]) -> JsonObject:
        """What the answer of a create tells besides the records."""
        return {}

    def update(self, record: Record, changes: JsonObject) -> None:
        """Every accepted write moves Modified_Time, also one that changes nothing [I]."""
        record.data.update(changes)
        record.modified_at = self.clock.after(record.modified_at)
        self._saved(record)

    def naming(self, module: str, record_id: str) -> list[Record]:
        """Those whose lookup names a record of another module."""
        lookups = [name for name, rule in self.module.fields.items() if rule.module == module]
        held = self.table.records.values()
        return [one for one in held if any((one.data.get(name) or {}).get("id") == record_id for name in lookups)]

    def delete(self, record: Record) -> None:
        self.table.remove(record)
        self._forget_lookups()

    def _saved(self, record: Record) -> None:
        self.table.changed(record)
        self._forget_lookups()

    def _forget_lookups(self) -> None:
        """Rows of other modules show this one's name."""
        for other in self._others.values():
            own = self.module.name
            if own in other.module.inner or any(rule.module == own for rule in other.module.fields.values()):
                other.table.forget_renderings()

    # Seeds and a person's edits: past the rules, in either spelling of an address

    def loose(self, given: JsonObject, held: JsonObject | None = None) -> JsonObject:
        changes = {key: value for key, value in given.items() if key not in ("id", "Created_Time", "Modified_Time")}
        for name, rule in self.module.fields.items():
            value = changes.get(name)
            if rule.kind == "address" and isinstance(value, dict):
                plain = wire.address_from_read(value, name)
                self._next_address += 1
                new_id = str(value.get("id") or self._next_address)
                changes[name] = wire.merge_address((held or {}).get(name), plain, new_id)
            elif rule.kind == "lookup" and isinstance(value, str):
                changes[name] = {"id": value}
            elif rule.choices and isinstance(value, str) and value in rule.choices:
                changes[name] = rule.choices[value]
        return changes

    def seed(self, given: JsonObject) -> str:
        now = self.clock.now()
        created = wire.parse_time(given["Created_Time"]) if given.get("Created_Time") else now
        modified = wire.parse_time(given["Modified_Time"]) if given.get("Modified_Time") else max(now, created)
        record_id = str(given.get("id") or self.table.new_id())
        if record_id in self.table.records:
            self.table.remove(self.table.records[record_id])
        self.put_new(record_id, self.loose(given), created, modified)
        return record_id
