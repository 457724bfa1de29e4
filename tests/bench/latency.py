"""How soon a change at one vendor is accepted by the other: twenty a second for two minutes, at both sides in turn.

An open loop: people do not wait for the product. A delay is by the sandbox's clock and call logs alone. Each change
must have arrived at the end, and both sides must hold what was said last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.bench.arrivals import Arrival, arrivals, sorted_calls
from tests.bench.changes import MODULES, PER_S, RECORDS, Change, item, make, other, planned
from tests.bench.figures import Found, Json, Row, at_most, share
from tests.bench.zoho import SETTINGS, zoho
from tests.e2e.world import BOOKS, FSM, World

SECONDS, LEAST_S = 120.0, 6.0
P50_MS, P99_MS = 150, 600
MOST_LATE_S = 1.0
"""Where a person's call begins later than that after its time, the load was not what it says."""
STAGES = """
    SELECT percentile_cont(:part) WITHIN GROUP (ORDER BY extract(epoch FROM written_at - received_at) * 1000),
        percentile_cont(:part) WITHIN GROUP (ORDER BY extract(epoch FROM at - written_at) * 1000)
    FROM outcome WHERE origin = 'webhook' AND written_at IS NOT NULL
"""


def measure(folder: Path, size: float) -> Found:
    changes = planned(round(max(SECONDS * size, LEAST_S) * PER_S))
    with zoho(folder) as world:
        _bind(world)
        world.forget_calls()
        late_s = make(world.people, _ids(world), changes)
        assert late_s <= MOST_LATE_S, f"a person's call came {late_s:.1f} s late"
        world.quiet()
        _check(world, changes)
        calls = sorted_calls({vendor: world.calls(vendor) for vendor in MODULES})
        arrived = arrivals(changes, _ids(world), _born_ms(world), calls)
        stages = {name: _stages(world, part) for name, part in (("p50_ms", 0.5), ("p99_ms", 0.99))}
    return _found(arrived, stages)


def _bind(world: World) -> None:
    """The same items on both sides, found by a Fetch; the sync after it has nothing to write."""
    items = [item(number, float(number + 1)) for number in range(RECORDS)]
    for vendor, module in MODULES.items():
        world.seed(vendor, module, [one[vendor] for one in items])
    for run in (world.fetch(), world.sync()):
        assert run["state"] == "completed", run
    world.quiet()
    assert world.writes() == []


def _ids(world: World) -> dict[tuple[str, str], str]:
    """By vendor and name."""
    left = {(FSM, str(row["Name"])): str(row["id"]) for row in world.records(FSM, MODULES[FSM])}
    return left | {(BOOKS, str(row["name"])): str(row["item_id"]) for row in world.records(BOOKS, MODULES[BOOKS])}


def _born_ms(world: World) -> dict[tuple[str, str], float]:
    """By vendor and id."""
    keys = {FSM: "id", BOOKS: "item_id"}
    return {
        (vendor, str(row[keys[vendor]])): float(row["_sandbox"]["created_ms"])
        for vendor, module in MODULES.items()
        for row in world.records(vendor, module)
    }


def _check(world: World, changes: Sequence[Change]) -> None:
    """Nothing lost, nothing doubled: the same on both sides, and of each item the price that was set last."""
    world.check_agreement()
    last = {change.name.casefold(): change.price for change in changes}
    for side in world.items():
        wrong = [name for name, price in last.items() if side[name][0]["price"] != price]
        assert not wrong, f"not the last price: {wrong[:5]}"


def _stages(world: World, part: float) -> Json:
    """Milliseconds by the product's own outcomes: from the door to the vendor's answer, from there to the commit."""
    ((written, committed),) = world.sql(STAGES, part=part)
    return {"door_to_answer": round(float(written), 1), "answer_to_commit": round(float(committed), 1)}


def _found(arrived: Sequence[Arrival], stages: Json) -> Found:
    delays = [one.delay_ms for one in arrived]
    vendors = [one.vendors_ms for one in arrived]
    by: dict[str, list[float]] = defaultdict(list)
    for one in arrived:
        what = "new" if one.change.new else "edit"
        by[f"{one.change.vendor}>{other(one.change.vendor)}, {what}"].append(one.delay_ms)
    figures = {
        **_summary(delays),
        "changes": len(delays),
        "vendors": _summary(vendors),
        "by": {name: {**_summary(some), "changes": len(some)} for name, some in sorted(by.items())},
        "stages": stages,
    }
    beside = "of which the vendors: {:.0f} ms"
    rows = [
        at_most("p50", share(delays, 0.5), P50_MS, beside.format(share(vendors, 0.5)), unit="ms", digits=0),
        at_most("p99", share(delays, 0.99), P99_MS, beside.format(share(vendors, 0.99)), unit="ms", digits=0),
        Row("longest", f"{max(delays):.0f} ms", f"{len(delays)} changes at {PER_S:.0f}/s, all arrived"),
    ]
    rows += [Row(f"p50 {name}", f"{share(some, 0.5):.0f} ms", f"{len(some)} changes") for name, some in by.items()]
    return Found(figures, rows, SETTINGS)


def _summary(values_ms: Sequence[float]) -> Json:
    return {
        "p50_ms": round(share(values_ms, 0.5), 1),
        "p99_ms": round(share(values_ms, 0.99), 1),
        "max_ms": round(max(values_ms), 1),
    }
