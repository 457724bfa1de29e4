"""Records in memory: tables with hash indexes, cached orders and cached renderings, so that a call stays near 1 ms."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

import orjson

from deploy.sandbox.jsonio import JsonObject


@dataclass(slots=True)
class Record:
    """`created_at` and `modified_at` are by the vendor's clock; `written_ms`, epoch milliseconds, by this machine's."""

    id: str
    data: JsonObject
    created_at: datetime
    modified_at: datetime
    seq: int = 0
    written_ms: float = 0
    rendered: dict[str, orjson.Fragment] = field(default_factory=dict)


IndexKeys = Callable[[Record], Iterable[str]]


class Table:
    """One module. `indexes` maps a name to the keys under which a record is to be found."""

    def __init__(self, name: str, first_id: int, indexes: Mapping[str, IndexKeys] | None = None) -> None:
        self.name = name
        self.records: dict[str, Record] = {}
        self.removed: dict[str, Record] = {}
        # Ids that lists and searches do not show yet, until when by the monotonic clock.
        self._hidden: dict[str, float] = {}
        self._next_id = first_id
        self._next_seq = 1
        self._keys_of = dict(indexes or {})
        self._indexes: dict[str, dict[str, dict[str, Record]]] = {key: {} for key in self._keys_of}
        self._held: dict[str, list[tuple[str, str]]] = {}
        self._views: dict[object, list[Record]] = {}

    def new_id(self) -> str:
        while str(self._next_id) in self.records:
            self._next_id += 1
        self._next_id += 1
        return str(self._next_id - 1)

    def add(self, record: Record) -> Record:
        record.seq, self._next_seq = self._next_seq, self._next_seq + 1
        self.records[record.id] = record
        self.removed.pop(record.id, None)
        record.written_ms = time.time() * 1000
        self._index(record)
        return record

    def changed(self, record: Record) -> None:
        """Call after the data of a record was altered."""
        record.rendered.clear()
        record.written_ms = time.time() * 1000
        self._unindex(record)
        self._index(record)

    def remove(self, record: Record) -> None:
        self.removed[record.id] = self.records.pop(record.id)
        self._hidden.pop(record.id, None)
        self._unindex(record)
        self._views.clear()

    def hide(self, record: Record, ms: int) -> None:
        if ms > 0:
            self._hidden[record.id] = time.monotonic() + ms / 1000

    def is_hidden(self, record: Record) -> bool:
        return self._hidden.get(record.id, 0) > time.monotonic()

    def listed(self, records: list[Record]) -> list[Record]:
        """Those that lists and searches show by now."""
        if not self._hidden:
            return records
        now = time.monotonic()
        self._hidden = {record_id: until for record_id, until in self._hidden.items() if until > now}
        return [record for record in records if record.id not in self._hidden] if self._hidden else records

    def sandbox_times(self, record: Record) -> JsonObject:
        """What `state` adds to a record."""
        return {
            "created_ms": epoch_ms(record.created_at), "modified_ms": epoch_ms(record.modified_at),
            "written_ms": record.written_ms, "hidden": self.is_hidden(record),
        }  # fmt: skip

    def forget_renderings(self) -> None:
        """For a module whose rows show something of another module's record."""
        for record in self.records.values():
            record.rendered.clear()

    def ids(self, which: str, count: int) -> list[str]:
        """`existing`, `deleted`, or `unknown`: ids that no record has or had. At most `count` of them."""
        if which == "unknown":
            return [self.new_id() for _ in range(count)]
        if which not in ("existing", "deleted"):
            raise ValueError(f"which is existing, deleted or unknown, not {which!r}")
        return list(islice(self.records if which == "existing" else self.removed, count))

    def find(self, index: str, key: str) -> list[Record]:
        return list(self._indexes[index].get(key, {}).values())

    def has_index(self, index: str) -> bool:
        return index in self._indexes

    def view(self, name: object, build: Callable[[], list[Record]]) -> list[Record]:
        """A filtered or sorted list, kept until the next write. Do not alter it."""
        found = self._views.get(name)
        if found is None:
            found = self._views[name] = build()
        return found

    def _index(self, record: Record) -> None:
        held = [(name, key) for name, keys in self._keys_of.items() for key in keys(record) if key]
        for name, key in held:
            self._indexes[name].setdefault(key, {})[record.id] = record
        self._held[record.id] = held
        self._views.clear()

    def _unindex(self, record: Record) -> None:
        for name, key in self._held.pop(record.id, ()):
            bucket = self._indexes[name].get(key)
            if bucket is not None:
                bucket.pop(record.id, None)
                if not bucket:
                    del self._indexes[name][key]


def epoch_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
