"""Finding the twin of a record that has no binding yet (DU-2). Never a choice among several."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from shared.sync.model import RecordId, Value
from shared.sync.values import number_text


def fold_key(value: Value) -> str:
    """The one place that says which match keys are equal: canonical form, trimmed, case folded; "" for blank.

    White space inside a key counts: "Acme  Ltd" is another name than "Acme Ltd".
    """
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return number_text(value)
    text = value if isinstance(value, str) else str(value)
    if text.isascii():
        return text.strip().lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold()).strip()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record of the other side that the vendor's search, or a staged list, offered. `taken`: bound to another."""

    id: RecordId
    key: str
    taken: bool = False


@dataclass(frozen=True, slots=True)
class One:
    id: RecordId


@dataclass(frozen=True, slots=True)
class NoTwin:
    pass


@dataclass(frozen=True, slots=True)
class Ambiguous:
    ids: tuple[RecordId, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """Every record with this key is bound to another one already."""

    ids: tuple[RecordId, ...]


Resolution = One | NoTwin | Ambiguous | Taken


def resolve(source_key: Value, candidates: Sequence[Candidate]) -> Resolution:
    """Compares keys again by `fold_key`: a vendor's search may fold less, or more. A blank key has no twin."""
    wanted = fold_key(source_key)
    fits = {c.id: c for c in candidates if wanted and fold_key(c.key) == wanted}
    free = tuple(c.id for c in fits.values() if not c.taken)
    if len(free) == 1:
        return One(free[0])
    if free:
        return Ambiguous(free)
    return Taken(tuple(fits)) if fits else NoTwin()


@dataclass(frozen=True, slots=True)
class Keyed:
    id: RecordId
    key: Value


@dataclass(frozen=True, slots=True)
class Matches:
    """Whole lists matched; every record given is in exactly one of these, in the order it was given."""

    pairs: tuple[tuple[RecordId, RecordId], ...] = ()
    ambiguous_left: tuple[RecordId, ...] = ()
    ambiguous_right: tuple[RecordId, ...] = ()
    only_left: tuple[RecordId, ...] = ()
    only_right: tuple[RecordId, ...] = ()
    no_key_left: tuple[RecordId, ...] = ()
    no_key_right: tuple[RecordId, ...] = ()


_Index = dict[str, list[RecordId]]


def match_sides(left: Iterable[Keyed], right: Iterable[Keyed]) -> Matches:
    """Unbound records of both sides by key.

    A key that more than one record of either side has makes all records with it ambiguous, on both sides; a
    record that is listed twice (pages shift) is one record, with the key it was seen with last. A key that
    several records of one side have and none of the other is ambiguous too: whichever were created first would
    take the name.
    """
    lefts, rights = _index(left), _index(right)
    pairs = tuple((lefts[k][0], rights[k][0]) for k in lefts if k and _single(lefts, rights, k))
    return Matches(
        pairs=pairs,
        ambiguous_left=_ambiguous(lefts, rights),
        ambiguous_right=_ambiguous(rights, lefts),
        only_left=_alone(lefts, rights),
        only_right=_alone(rights, lefts),
        no_key_left=tuple(lefts.get("", ())),
        no_key_right=tuple(rights.get("", ())),
    )


def _index(rows: Iterable[Keyed]) -> _Index:
    last = {row.id: fold_key(row.key) for row in rows}
    index: _Index = {}
    for record_id, key in last.items():
        index.setdefault(key, []).append(record_id)
    return index


def _single(mine: _Index, theirs: _Index, key: str) -> bool:
    return len(mine[key]) == 1 and len(theirs.get(key, ())) == 1


def _ambiguous(mine: _Index, theirs: _Index) -> tuple[RecordId, ...]:
    return tuple(i for k, ids in mine.items() if k and (len(ids) > 1 or len(theirs.get(k, ())) > 1) for i in ids)


def _alone(mine: _Index, theirs: _Index) -> tuple[RecordId, ...]:
    return tuple(ids[0] for k, ids in mine.items() if k and len(ids) == 1 and k not in theirs)
