"""The people's journal: what people did at the vendors, by whoever made them do it.

The auditor knows from it which values must be there at the end, and which records are people's own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from tests.auditor.fields import SIDES, Values, pairs_of, sent


@dataclass(frozen=True, slots=True)
class Edit:
    """One thing that a person did. `fields` is the body as it was sent, in the vendor's names, nested or dotted.

    `begin_ms`, `end_ms`: epoch milliseconds round the call. `sure` False: its answer was lost, so it may not have been
    applied. A create's `record_id` is the one that the vendor gave; a person's names their customer, as in `fields`.
    """

    vendor: str
    module: str
    record_id: str
    fields: Mapping[str, Any]
    begin_ms: float
    end_ms: float
    kind: Literal["edit", "create", "delete"] = "edit"
    sure: bool = True

    @property
    def side(self) -> str:
        return SIDES[self.vendor]

    def values(self) -> Values:
        """Its mapped fields, under the auditor's names; nothing for a module that nothing maps, or a deletion.

        Of a module that two pairs share, those of both: what is the same has the same name.
        """
        found: Values = {}
        for pair in pairs_of(self.vendor, self.module) if self.kind != "delete" else ():
            found.update(sent(pair, self.side, self.fields))
        return found


_EDITS = TypeAdapter(list[Edit])


@dataclass(slots=True)
class Journal:
    """Appended to by any thread."""

    edits: list[Edit] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def append(self, edit: Edit) -> None:
        with self._lock:
            self.edits.append(edit)

    def extend(self, edits: Iterable[Edit]) -> None:
        with self._lock:
            self.edits.extend(edits)

    def of(self, vendor: str, record_id: str) -> Iterator[Edit]:
        return (one for one in self.edits if one.vendor == vendor and one.record_id == record_id)

    def save(self, path: Path) -> None:
        with self._lock:
            path.write_bytes(_EDITS.dump_json(self.edits, indent=1))

    @classmethod
    def load(cls, path: Path) -> Journal:
        return cls(_EDITS.validate_json(path.read_bytes()))
