"""Which of the product's writes brought which change, by the vendors' own call logs. Times are epoch milliseconds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.bench.changes import Change, other
from tests.e2e.world import Json

Where = tuple[str, str]
"""(vendor, id of the record)"""


@dataclass(frozen=True)
class Arrival:
    """`delay_ms`: from the moment the person's call arrived at its vendor to the moment the other one answered the
    product's write. `vendors_ms`: what the vendors themselves took of it: for the person's call, the product's reads of
    both records meanwhile, and the write."""

    change: Change
    delay_ms: float
    vendors_ms: float


@dataclass
class Calls:
    """Of items, by record, in the order in which they came. Those of people and of the product that changed something,
    and the product's reads."""

    people: dict[Where, list[Json]] = field(default_factory=lambda: defaultdict(list))
    writes: dict[Where, list[Json]] = field(default_factory=lambda: defaultdict(list))
    reads: dict[Where, list[Json]] = field(default_factory=lambda: defaultdict(list))
    creates: dict[str, list[Json]] = field(default_factory=lambda: defaultdict(list))


def sorted_calls(logs: Mapping[str, Iterable[Json]]) -> Calls:
    """Of the logs by vendor."""
    found = Calls()
    for vendor, log in logs.items():
        for call in sorted(log, key=lambda call: float(call["at"])):
            where = (vendor, str(call["record"]))
            if not call["write"]:
                found.reads[where].append(call)
            elif call["applied"] and str(call["user"]).startswith("person@"):
                found.people[where].append(call)
            elif call["applied"]:
                found.writes[where].append(call)
                if call["method"] == "POST":
                    found.creates[vendor].append(call)
    return found


def arrivals(
    changes: Sequence[Change], ids: Mapping[tuple[str, str], str], born_ms: Mapping[Where, float], calls: Calls
) -> list[Arrival]:
    """Raises AssertionError where a change was not made, or has not arrived.

    `ids` by (vendor, name), of all records as they are at the end; `born_ms`: when each was made, by its vendor. A
    write brings one change: the next of its record that came before it.
    """
    of_record: dict[tuple[str, str], list[Change]] = defaultdict(list)
    for change in changes:
        of_record[change.vendor, change.name].append(change)
    found = []
    for (vendor, name), made in of_record.items():
        here, there = (vendor, ids[vendor, name]), (other(vendor), ids[other(vendor), name])
        asked = calls.people[here]
        assert len(asked) == len(made), f"{name}: {len(made)} changes at {vendor}, and {len(asked)} calls of a person"
        writes = [_birth(calls, there, born_ms[there])] if made[0].new else list(calls.writes[there])
        for change, call in zip(made, asked, strict=True):
            while writes and writes[0]["at"] < call["at"]:
                writes.pop(0)
            assert writes, f"{name}: a change at {vendor} has not arrived"
            found.append(_arrival(change, call, writes.pop(0), [*calls.reads[here], *calls.reads[there]]))
    return found


def _birth(calls: Calls, where: Where, born_ms: float) -> Json:
    """The call that made a record: the log names one record a call, and a call may make several."""
    made = [call for call in calls.writes[where] if call["method"] == "POST"]
    around = [call for call in calls.creates[where[0]] if call["at"] - 1 <= born_ms <= call["at"] + call["ms"] + 1]
    assert made or around, f"nobody made {where}"
    return (made or around)[0]


def _arrival(change: Change, call: Json, write: Json, reads: Iterable[Json]) -> Arrival:
    meanwhile = sum(read["ms"] for read in reads if call["at"] <= read["at"] <= write["at"])
    delay_ms = float(write["at"] + write["ms"] - call["at"])
    return Arrival(change, delay_ms, float(call["ms"] + meanwhile + write["ms"]))
