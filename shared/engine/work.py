"""One record of a batch on its way, and the small things that every step does with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from shared.connectors.base import Written
from shared.engine.known import BindingRow, IntentRow, StagedRow
from shared.engine.outcome import Result
from shared.sync.events import ChangeEvent, Folded
from shared.sync.match import key_of, name_of
from shared.sync.model import Action, Base, Change, Family, Fields, Pair, Record, RecordId, Side

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Work:
    """`result` is set when the record is done, `deferred` when it must come again (its root is locked).

    `again`: it was tried before in this drainer's hands; `earlier` is the record as read by that. `listed` tells that
    `source` is a row that a run listed, and `twin_listed` the same of `twin`. `late`: the source is not read yet;
    `fresh` are sides that were read since, just before they may be written. `pair` is that of the event, or the one of
    its module that the record belongs to.
    `follow` are events to be sent once this one has ended. `bare`: the parent was made a moment ago, with nothing
    inside it.
    """

    folded: Folded
    pair: Pair
    side: Side
    binding: BindingRow | None = None
    intent: IntentRow | None = None
    staged: StagedRow | None = None
    again: bool = False
    earlier: Record | None = None
    roots: tuple[str, ...] = ()
    source: Record | None = None
    listed: bool = False
    late: bool = False
    twin: Record | None = None
    twin_listed: bool = False
    fresh: set[Side] = field(default_factory=set)
    twin_id: RecordId | None = None
    family: Family | None = None
    bare: bool = False
    follow: list[ChangeEvent] = field(default_factory=list)
    original: RecordId | None = None
    """By the policy Clone: the record with its key at the other side, which is to be left alone."""
    drafted: Base | None = None
    """One of the two was made by an earlier try of ours, at `made_side`, and this is what was agreed by that."""
    made_side: Side = Side.RIGHT
    read_at: dict[Side, datetime] = field(default_factory=dict)
    """Our own time before each side's record was asked for, or written."""
    alone: Action | None = None
    """Planned without a twin, to see whether one would be wanted."""
    action: Action | None = None
    written: dict[Side, Written] = field(default_factory=dict)
    refused: set[Side] = field(default_factory=set)
    written_ms: int | None = None
    result: Result | None = None
    deferred: bool = False
    _keyed: tuple[Record, str] | None = None
    """Of which source this is the key."""

    @property
    def id(self) -> RecordId:
        return self.folded.record_id

    @property
    def attempt(self) -> int:
        """1 for the first try."""
        return self.folded.attempt + 1

    @property
    def open(self) -> bool:
        return self.result is None and not self.deferred

    @property
    def key(self) -> str:
        """The folded match key of the source; "" where it is gone or blank."""
        source = self.source
        if source is None:
            return ""
        if self._keyed is None or self._keyed[0] is not source:
            self._keyed = (source, key_of(self.pair, self.side, source))
        return self._keyed[1]

    @property
    def name(self) -> str:
        """The match key as people wrote it, for a search."""
        return name_of(self.pair, self.side, self.source) if self.source else ""

    @property
    def left_id(self) -> RecordId | None:
        return self.id if self.side is Side.LEFT else self.twin_id

    def record(self, side: Side) -> Record | None:
        """As read in this batch, or listed (a twin guessed from the base was neither)."""
        return self.source if side is self.side else self.twin

    def listed_row(self, side: Side) -> Record | None:
        """None: it was read."""
        return self.record(side) if (self.listed if side is self.side else self.twin_listed) else None

    def sides(self, twin: Record | None) -> tuple[Record | None, Record | None]:
        """(left, right), with `twin` at the other side."""
        return (self.source, twin) if self.side is Side.LEFT else (twin, self.source)


def still_open(works: Iterable[Work]) -> list[Work]:
    return [work for work in works if work.open]


def new_values(changes: Iterable[Change]) -> Fields:
    return {change.field: change.new for change in changes}


def chunks(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    for start in range(0, len(items), max(1, size)):
        yield items[start : start + size]
