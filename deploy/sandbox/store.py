"""Records in memory: tables with hash indexes, cached orders and cached renderings, so that a call stays near 1 ms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

import orjson

from deploy.sandbox.jsonio import JsonObject


def now_ms() -> datetime:
    """Aware UTC at millisecond resolution; the vendors show less of it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


@dataclass(slots=True)
class Record:
    id: str
    data: JsonObject
    created_at: datetime
    modified_at: datetime
    seq: int = 0
    rendered: dict[str, orjson.Fragment] = field(default_factory=dict)


IndexKeys = Callable[[Record], Iterable[str]]


class Table:
    """One module. `indexes` maps a name to the keys under which a record is to be found."""

    def __init__(self, name: str, first_id: int, indexes: Mapping[str, IndexKeys] | None = None) -> None:
        self.name = name
        self.records: dict[str, Record] = {}
        self.removed: dict[str, Record] = {}
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
        self._index(record)
        return record

    def changed(self, record: Record) -> None:
        """Call after the data of a record was altered."""
        record.rendered.clear()
        self._unindex(record)
        self._index(record)

    def remove(self, record: Record) -> None:
        self.removed[record.id] = self.records.pop(record.id)
        self._unindex(record)
        self._views.clear()

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
