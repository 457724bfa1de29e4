"""Vendors in trouble: over their limits, failing before or after the deed, slow, silent, talking nonsense; clocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.chaos.cell import Cell, Scene
from tests.chaos.rig import VENDORS
from tests.chaos.shapes import PLAIN, TRUE
from tests.e2e.world import BOOKS

Body = Callable[[Scene], None]
WRITES = ("POST", "PUT")
VENDORS_MINUTE_S = 60.0


def faulty(
    kind: str,
    *,
    method: str = "",
    lasts_s: float = 30.0,
    per_s: float = 3.0,
    vendors: Sequence[str] = VENDORS,
    **more: Any,
) -> Body:
    """The vendors do it, as often as `count` and `share` say, for so much of the product's time at most.

    A vendor that says no with a 200 has refused the record: it may have failed until the next sync.
    """

    def body(scene: Scene) -> None:
        if kind == "body_code":
            scene.expect["failed_reasons"] = frozenset({"VENDOR_REJECTED", "PARENT_NOT_SYNCED"})  # and its people
            scene.closing_sync = True
        wanted: dict[str, Any] = {"share": 0.4, "count": 6, **more}
        if method:
            wanted["match"] = {"method": method}
        for vendor in vendors:
            scene.rig.fault(vendor, kind, seed=scene.cell.seed, **wanted)
        scene.load(per_s=per_s)
        scene.await_strike(lambda: struck(scene, kind) > 0, f"a call meets {kind}")
        ends = time.monotonic() + scene.scaled(lasts_s)
        while time.monotonic() < ends and _left(scene):
            time.sleep(0.05)
        for vendor in VENDORS:
            scene.rig.control("DELETE", vendor, "faults")
        scene.over()

    return body


def struck(scene: Scene, kind: str) -> int:
    calls = [call for vendor in VENDORS for call in scene.rig.calls(vendor, scene.call_mark[vendor])]
    return sum(call["fault"] == kind for call in calls)


def _left(scene: Scene) -> bool:
    return any(scene.rig.control("GET", vendor, "faults")["faults"] for vendor in VENDORS)


def over_its_limit(scene: Scene) -> None:
    """A real limit, not a fault: so many calls at once, so many in a short minute."""
    for vendor in VENDORS:
        scene.rig.control("POST", vendor, "limits", {"concurrent": 1, "per_minute": 30, "window_s": 2})
    scene.load(16)
    scene.await_strike(lambda: any(_refused(scene, vendor) for vendor in VENDORS), "a call is refused")
    scene.sleep(30)
    for vendor in VENDORS:
        scene.rig.control("POST", vendor, "limits", {})
    scene.over()


def _refused(scene: Scene, vendor: str) -> int:
    refused = scene.rig.control("GET", vendor, "limits")["refused"]
    return sum(sum(one.values()) if isinstance(one, dict) else int(one) for one in refused.values())


def hidden(scene: Scene) -> None:
    """New records are seen late, and the answers to creates are lost: absence must not be believed too soon."""
    hidden_ms = int(scene.scaled(30) * 1000)
    for vendor in VENDORS:
        scene.rig.control("POST", vendor, "visibility", {"new_records_hidden_ms": hidden_ms})
        scene.rig.fault(vendor, "reply_lost", match={"method": "POST"}, share=0.4, count=6, seed=scene.cell.seed)
    scene.expect["hidden_ms"] = float(hidden_ms)
    try:
        scene.load()
        scene.await_strike(lambda: struck(scene, "reply_lost") > 0, "an answer is lost")
        scene.sleep(30)
    finally:
        scene.rig.wait(lambda: not _hidden(scene), "every record is shown", 30)
        for vendor in VENDORS:
            scene.rig.control("POST", vendor, "visibility", {})
    scene.over()
    scene.closing_sync = True


def _hidden(scene: Scene) -> bool:
    states = [scene.rig.control("GET", vendor, "state")["modules"] for vendor in VENDORS]
    return any(row.get("_sandbox", {}).get("hidden") for state in states for rows in state.values() for row in rows)


# Clocks


def vendor_clock(first_s: float, then_s: float) -> Body:
    """A sync by one time, edits by another that no webhook tells of, and a sync that must find them."""

    def body(scene: Scene) -> None:
        scene.expect["clocks_moved"] = True
        _set_clocks(scene, first_s)
        try:
            scene.load(6)
            scene.rig.ended(scene.sync_id or 0)
            scene.people.stop()
            scene.rig.await_quiet("quiet before the clocks change", 60)
            _set_clocks(scene, then_s)
            for vendor in VENDORS:
                scene.rig.fault(vendor, "webhook_lost", share=1.0)
            for _ in range(30):
                scene.people.some_edit()
            _settle(scene)
            scene.sync_id = scene.rig.begin()
            scene.rig.ended(scene.sync_id)
            scene.over()
            for vendor in VENDORS:
                scene.rig.control("DELETE", vendor, "faults")
            _settle(scene)
            scene.rig.ended(scene.rig.begin())
        finally:
            scene.rig.await_quiet("quiet before the clocks are right again", 60)
        scene.settled_sync = True

    return body


def _set_clocks(scene: Scene, offset_s: float) -> None:
    for vendor in VENDORS:
        scene.rig.control("POST", vendor, "clock", {"offset_s": offset_s})


def _settle(scene: Scene) -> None:
    """A version of this very second may still change without a new time."""
    time.sleep(2.5)


def _cells() -> Iterator[Cell]:
    yield Cell("vendor_429", "g, Retry-After", 1, faulty("429", retry_after_s=1, count=4), PLAIN)
    # Without Retry-After a minute is waited, and the vendors' minutes are not scaled.
    yield Cell("vendor_429", "g, plain", 1, faulty("429", count=2, share=1.0), TRUE, bound_s=VENDORS_MINUTE_S + 60)
    # FSM's answer does not tell this limit from that of a minute.
    yield Cell("vendor_429", "g, at once", 1, faulty("429", code="concurrent", count=4, vendors=[BOOKS]), PLAIN)
    yield Cell("vendor_429", "limits", 1, over_its_limit, PLAIN)
    for method in WRITES:
        yield Cell("vendor_5xx", f"g {method} before", 1, faulty("5xx", method=method), PLAIN)
        yield Cell("vendor_5xx", f"h {method} after", 1, faulty("5xx", method=method, applied="after"), PLAIN)
        yield Cell("vendor_reply_lost", f"h {method}", 1, faulty("reply_lost", method=method), PLAIN)
        yield Cell("vendor_slow", f"g {method}", 1, faulty("latency", method=method, ms=4500, count=3), PLAIN)
        yield Cell(
            "vendor_slow", f"h {method}", 1, faulty("latency", method=method, ms=4500, count=3, applied="after"), PLAIN
        )
        yield Cell("vendor_body", f"malformed {method}", 1, faulty("malformed", method=method), PLAIN)
        if method == "POST":
            yield Cell("vendor_body", f"truncated {method}", 1, faulty("truncated_body", method=method), PLAIN)
        yield Cell("vendor_body", f"error in 200 {method}", 1, faulty("body_code", method=method), PLAIN)
    yield Cell("vendor_5xx", "e", 1, faulty("5xx", method="GET"), PLAIN)
    yield Cell("vendor_reply_lost", "e", 1, faulty("reply_lost", method="GET"), PLAIN)
    yield Cell("vendor_slow", "e", 1, faulty("latency", method="GET", ms=4500, count=3), PLAIN)
    for kind in ("malformed", "bad_utf8", "body_code"):
        yield Cell("vendor_body", f"{kind.replace('_', ' ')} e", 1, faulty(kind, method="GET"), PLAIN)
    yield Cell("vendor_body", "short page n", 1, faulty("short_page", method="GET", share=1.0, count=2), PLAIN)
    yield Cell("vendor_body", "hidden records", 1, hidden, PLAIN)
    yield Cell("vendor_reply_lost", "h POST", 3, faulty("reply_lost", method="POST", count=4), TRUE)
    for first_s, then_s in ((300.0, 0.0), (0.0, -300.0), (-300.0, 0.0)):
        yield Cell(
            "clock_vendor", f"{first_s:+.0f} to {then_s:+.0f} s", 1, vendor_clock(first_s, then_s), PLAIN, fresh=True
        )
    yield Cell("clock_vendor", "+300 to +0 s", 2, vendor_clock(300.0, 0.0), TRUE, fresh=True)


CELLS: list[Cell] = list(_cells())
