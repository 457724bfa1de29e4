"""Finding the twin of a record that has no binding yet (DU-2). Never a choice among several."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from shared.sync.model import Pair, Record, RecordId, Side, Value
from shared.sync.values import is_unreadable, number_text


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


def key_of(pair: Pair, side: Side, record: Record) -> str:
    """The folded match key of a record; where it has none and the pair matches by names too, its folded name."""
    return fold_key(record.get(pair.key(side))) or fold_key(full_name(pair, side, record))


def name_of(pair: Pair, side: Side, record: Record) -> str:
    """The same as people wrote it."""
    return str(record.get(pair.key(side)) or "").strip() or full_name(pair, side, record)


def full_name(pair: Pair, side: Side, record: Record) -> str:
    """ "" for a pair that does not match by names."""
    parts = (str(record.get(name) or "").strip() for name in pair.names.get(side, ()))
    return " ".join(part for part in parts if part)


def alike(pair: Pair, side: Side, mine: Record, theirs: Record) -> bool:
    """Whether two records have one match key: by the key where both have it, else by their names (DU-2)."""
    a, b = fold_key(mine.get(pair.key(side))), fold_key(theirs.get(pair.key(side.other)))
    if a and b:
        return a == b
    name = fold_key(full_name(pair, side, mine))
    return bool(name) and name == fold_key(full_name(pair, side.other, theirs))


def staged_keys(pair: Pair, side: Side, record: Record, family_root: str = "") -> tuple[str, str]:
    """(match key, second key) by which listed records are joined; "" never joins. Inside `family_root`, the parent at
    the left side, where the pair has parents: two families may have a person of one name each."""
    value = record.get(pair.key(side))
    if any(is_unreadable(record.get(name)) for name in (pair.key(side), *pair.names.get(side, ()))):
        return "", ""  # what cannot be read is like nothing
    key = fold_key(value)
    if tie := pair.breaks_ties.get(side):
        second = fold_key(record.get(tie)) if key else ""
        return key, f"{key}\n{second}" if second else ""
    if pair.parent is None:
        return key, ""
    name = fold_key(full_name(pair, side, record))
    return (f"{family_root}\n{key}" if key else "", f"{family_root}\n{name}" if name else "")


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
    """`second`: see `staged_keys`."""

    id: RecordId
    key: Value
    second: str = ""


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


def match_sides(left: Iterable[Keyed], right: Iterable[Keyed], *, ties: bool = False) -> Matches:
    """Unbound records of both sides by key.

    A key that more than one record of either side has makes all records with it ambiguous, on both sides; a
    record that is listed twice (pages shift) is one record, with the key it was seen with last. A key that
    several records of one side have and none of the other is ambiguous too: whichever were created first would
    take the name.

    `ties`: of several records of one key those whose second key is alike, one on each side, are a pair; of the others
    none is chosen, but that a side's alone, each with a second key of its own, are so many records. Else the second
    key joins records of which one has no key.
    """
    sides = (_Rows(left), _Rows(right))
    pairs, ambiguous = _take_ties(sides) if ties else ([], _take_ambiguous(sides, "key"))
    pairs += _take_pairs(sides, "key")
    if not ties:
        for second in _keyless(sides):
            rows = [side.having("second", second) for side in sides]
            if len(rows[0]) == 1 and len(rows[1]) == 1:
                pairs.append((sides[0].take(rows[0][0]), sides[1].take(rows[1][0])))
            else:
                for side, found, told in zip(sides, rows, ambiguous, strict=True):
                    told += [side.take(record_id) for record_id in found]
    return Matches(
        pairs=tuple(pairs),
        ambiguous_left=tuple(ambiguous[0]),
        ambiguous_right=tuple(ambiguous[1]),
        only_left=sides[0].left_over(keyed=True),
        only_right=sides[1].left_over(keyed=True),
        no_key_left=sides[0].left_over(keyed=False),
        no_key_right=sides[1].left_over(keyed=False),
    )


class _Rows:
    """The records of one side that have not been dealt with, in the order they were given."""

    def __init__(self, rows: Iterable[Keyed]) -> None:
        last = {row.id: row for row in rows}
        self._rows = {row.id: {"key": fold_key(row.key), "second": row.second} for row in last.values()}

    def keys(self, which: str) -> dict[str, list[RecordId]]:
        index: dict[str, list[RecordId]] = {}
        for record_id, row in self._rows.items():
            if row[which]:
                index.setdefault(row[which], []).append(record_id)
        return index

    def having(self, which: str, key: str) -> list[RecordId]:
        return self.keys(which).get(key, [])

    def second(self, record_id: RecordId) -> str:
        return self._rows[record_id]["second"]

    def take(self, record_id: RecordId) -> RecordId:
        del self._rows[record_id]
        return record_id

    def without_key(self, second: str) -> bool:
        return any(not row["key"] and row["second"] == second for row in self._rows.values())

    def left_over(self, *, keyed: bool) -> tuple[RecordId, ...]:
        return tuple(record_id for record_id, row in self._rows.items() if bool(row["key"]) is keyed)


_Sides = tuple[_Rows, _Rows]


def _take_ties(sides: _Sides) -> tuple[list[tuple[RecordId, RecordId]], tuple[list[RecordId], list[RecordId]]]:
    """(pairs, the ambiguous of each side). Only where the key alone does not tell."""
    keys = [side.keys("key") for side in sides]
    tied = [key for key in (keys[0] | keys[1]) if any(len(one.get(key, ())) > 1 for one in keys)]
    groups = [(key, [set(one.get(key, ())) for one in keys]) for key in tied]
    lefts, rights = (side.keys("second") for side in sides)
    among = set().union(*(ids for _, group in groups for ids in group))
    single = [key for key in lefts if len(lefts[key]) == 1 and len(rights.get(key, ())) == 1]
    found = [(lefts[key][0], rights[key][0]) for key in single if lefts[key][0] in among]
    pairs = [(sides[0].take(a), sides[1].take(b)) for a, b in found]
    ambiguous: tuple[list[RecordId], list[RecordId]] = ([], [])
    for key, _ in groups:
        rest = [side.having("key", key) for side in sides]
        for side, mine, theirs, told in zip(sides, rest, reversed(rest), ambiguous, strict=True):
            seconds = [side.second(one) for one in mine]
            alone = len(mine) == 1 and not theirs
            unclear = [one for one in mine if theirs or "" in seconds or seconds.count(side.second(one)) > 1]
            told += [] if alone else unclear
    for side, told in zip(sides, ambiguous, strict=True):
        for one in told:
            side.take(one)
    return pairs, ambiguous


def _take_ambiguous(sides: _Sides, which: str) -> tuple[list[RecordId], list[RecordId]]:
    lefts, rights = sides[0].keys(which), sides[1].keys(which)
    many = [key for key in (lefts | rights) if len(lefts.get(key, ())) > 1 or len(rights.get(key, ())) > 1]
    return (
        [sides[0].take(record_id) for key in many for record_id in lefts.get(key, ())],
        [sides[1].take(record_id) for key in many for record_id in rights.get(key, ())],
    )


def _take_pairs(sides: _Sides, which: str) -> list[tuple[RecordId, RecordId]]:
    lefts, rights = sides[0].keys(which), sides[1].keys(which)
    both = [key for key in lefts if key in rights]
    return [(sides[0].take(lefts[key][0]), sides[1].take(rights[key][0])) for key in both]


def _keyless(sides: _Sides) -> list[str]:
    """Second keys that both sides have, and that a record without a key has."""
    lefts, rights = sides[0].keys("second"), sides[1].keys("second")
    return [key for key in lefts if key in rights and any(side.without_key(key) for side in sides)]
