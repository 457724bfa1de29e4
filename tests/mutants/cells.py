"""The smallest cells in which a broken promise shows: a few records, one fault, no chance where it can be helped.

The product as it is must be green in each of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from shared.connectors.zoho_books.webhooks import SIGNATURE_HEADER
from shared.engine.context import lane_of
from shared.sync.model import Side
from tests.auditor.checks import Expect
from tests.chaos import judge
from tests.chaos.cell import DidNotStrikeError, Scene
from tests.chaos.cells.grants import accounts
from tests.chaos.cells.races import an_import
from tests.chaos.people import BOOKS_ITEMS, COMPANIES, CONTACTS, ITEMS
from tests.chaos.rig import ACCOUNTS, VENDORS, Json, Rig, Shape
from tests.chaos.shapes import CREW, PLAIN
from tests.chaos.strike import EXIT, FREEZE, SLEEP
from tests.e2e.world import BOOKS, FSM
from tests.mutants.hook import CHUNK

EVENTS, CONTROL = "worker-events", "worker-control"
FSM_ITEMS, BOOKS_SIDE = (FSM, ITEMS), (BOOKS, BOOKS_ITEMS)


@dataclass(frozen=True)
class Small:
    """`shape` without hook and mutant: whoever plays it adds them. `mutants`: those that it must catch."""

    name: str
    body: Callable[[Scene], None]
    mutants: tuple[str, ...]
    shape: Shape = PLAIN
    expect: Mapping[str, Any] = field(default_factory=dict)


class Told(Exception):
    """The auditor, or a check of the cell's own, has seen enough in the middle of it."""

    def __init__(self, findings: list[str]) -> None:
        super().__init__(f"{len(findings)} findings")
        self.findings = findings


def word(scene: Scene, n: object) -> str:
    """A value that nobody wrote before."""
    return f"m{scene.rig.cells}x{scene.cell.seed}-{n}"


def note(scene: Scene, at: int, n: object) -> None:
    """Somebody at FSM writes the description of an item of the base set."""
    scene.people.edit(*FSM_ITEMS, scene.rig.base[FSM_ITEMS][at], {"Description": word(scene, n)})


def some_notes(scene: Scene, name: str = "") -> None:
    """And at other records."""
    for at in range(scene.rig.shape.base):
        note(scene, at, f"{name}{at}")
        record = scene.rig.base[BOOKS, CONTACTS][at]
        scene.people.edit(BOOKS, CONTACTS, record, {"billing_address": {"city": word(scene, f"{name}{at}")}})


def shown(rig: Rig, vendor: str, module: str, record_id: str, name: str) -> Any:
    key = {CONTACTS: "contact_id", BOOKS_ITEMS: "item_id"}.get(module, "id")
    return next(row for row in rig.records(vendor, module) if str(row[key]) == record_id).get(name)


def sides_agree(scene: Scene, at: int, n: object) -> bool:
    twin = shown(scene.rig, *BOOKS_SIDE, scene.rig.base[BOOKS_SIDE][at], "description")
    return bool(twin == word(scene, n))


def outcomes(scene: Scene, record_id: str) -> list[tuple[Any, ...]]:
    """(outcome, reason) of the cell."""
    return scene.rig.sql(
        "SELECT outcome, reason FROM outcome WHERE record_id = %s AND id > %s", record_id, scene.mark.outcome_id
    )


def look(scene: Scene, *promises: str, **expect: Any) -> None:
    """The auditor's word in the middle of a cell, as far as it is about these promises. Raises Told where it is red."""
    report = judge.look(scene.rig, scene, Expect(time_scale=scene.rig.shape.scale, **expect))
    told = [f"{one.promise} {one.what} [{one.subject}]" for one in report.findings if one.promise in promises]
    if told:
        raise Told(told)


def is_worked_off(scene: Scene) -> bool:
    return not any(scene.rig.redis.xlen(stream) for stream in ("bw:results", "bw:results:live"))


# Processes that die or stop at a step


def killed_at(point: str, process: str, work: Callable[[Scene], None] = some_notes) -> Callable[[Scene], None]:
    def body(scene: Scene) -> None:
        scene.rig.strikes.arm(point, EXIT, process=process)
        work(scene)
        scene.struck(point)

    return body


def tellings(scene: Scene) -> None:
    """Deliveries of no change: they have no echo that would wait for their outcome."""
    for vendor, module in (FSM_ITEMS, (BOOKS, CONTACTS)):
        scene.rig.control("POST", vendor, "deliveries/flood", {"module": module, "count": 6})


def poisoned(scene: Scene) -> None:
    """An event whose work ends the process, four times if nobody stops it: after three tries it is a dead letter."""
    victim = scene.rig.base[FSM_ITEMS][0]
    scene.expect["poison"] = frozenset({victim})
    scene.rig.strikes.arm("source.read", EXIT, times=4, process=EVENTS)
    note(scene, 0, "poison")
    scene.struck("source.read", 3, within_s=90)
    scene.rig.wait(lambda: outcomes(scene, victim), "the event has an outcome", 60)


def told_to_stop(scene: Scene) -> None:
    """A worker is stopped with a batch in its hands, and looked at while it is away."""
    scene.rig.strikes.arm("batch.claimed", SLEEP, ms=1500, times=4, process=EVENTS)
    some_notes(scene)
    scene.struck("batch.claimed")
    process, asked = scene.rig.process(EVENTS), time.monotonic()
    process.stop()
    took_s = time.monotonic() - asked
    scene.rig.wait(lambda: is_worked_off(scene), "what it had handed over is committed", 20)
    try:
        look(scene, "P10", stopped=True, quiet=False, exit_s=took_s)
    finally:
        process.start()


# Writes that nobody knows the fate of


def made_in_the_dark(scene: Scene) -> None:
    """A create is applied and its answer lost; for a while the record is in no list, and no webhook tells of it."""
    hidden_ms = 2500
    scene.expect["hidden_ms"] = float(hidden_ms)
    scene.rig.control("POST", FSM, "visibility", {"new_records_hidden_ms": hidden_ms})
    scene.rig.fault(FSM, "webhook_lost", share=1.0)
    scene.rig.fault(FSM, "reply_lost", match={"method": "POST"}, count=1)
    made = scene.people.make(*BOOKS_SIDE, {"name": word(scene, "dark"), "rate": 2.5, "product_type": "service"})
    scene.await_strike(lambda: applied(scene, FSM, "reply_lost"), "the answer to the create is lost")
    scene.rig.wait(lambda: outcomes(scene, made), "the record has its outcome", 40)


def applied(scene: Scene, vendor: str, fault: str) -> bool:
    return any(call["fault"] == fault for call in scene.rig.calls(vendor, scene.call_mark.get(vendor, 0)))


def edited_before_it_was_saved(scene: Scene) -> None:
    """Our own value came to Books and the worker died before that was saved. Then a person writes again at FSM, and
    later another one something else at Books: what is there of the first value must not count as that one's."""
    strikes = scene.rig.strikes
    strikes.arm("reply.read", EXIT, process=EVENTS)
    note(scene, 0, "first")
    scene.struck("reply.read")
    strikes.arm("batch.claimed", SLEEP, ms=3000, times=3, process=EVENTS)
    note(scene, 0, "second")
    time.sleep(1.2)  # the vendors' times have a resolution of a second
    scene.people.edit(*BOOKS_SIDE, scene.rig.base[BOOKS_SIDE][0], {"sku": word(scene, "sku")})
    scene.must_strike(not sides_agree(scene, 0, "second"), "the worker was back before the second edit was there")


# Two who want the same


def saved_after_a_take_over(scene: Scene) -> None:
    """Results are in the hands of a frozen worker while an import takes the orgs; then it goes on."""
    scene.rig.strikes.arm("results.taken", FREEZE, process=CONTROL)
    note(scene, 0, "late")
    (strike,) = scene.struck("results.taken")
    with an_import(scene, scene.rig.cells) as one:
        lease, _ = one.take(60)
        scene.frozen(strike)
        scene.rig.thaw(strike.pid)
        scene.rig.wait(lambda: is_worked_off(scene), "the worker has done with them", 30)
        one.release(lease)


def both_ends(scene: Scene) -> None:
    """FSM's edit is about to be pushed, as it was read; meanwhile it is written again, and the other end is too."""
    rig, at = scene.rig, _on_two_lanes(scene.rig)
    rig.strikes.arm("pending.committed", SLEEP, ms=2500, process=EVENTS)
    note(scene, at, "first")
    scene.struck("pending.committed")
    note(scene, at, "second")
    scene.people.edit(*BOOKS_SIDE, rig.base[BOOKS_SIDE][at], {"sku": word(scene, "sku")})
    ends = time.monotonic() + 2.5
    while time.monotonic() < ends:
        time.sleep(0.05)


def _on_two_lanes(rig: Rig) -> int:
    shards = rig.settings().shards
    for at in range(rig.shape.base):
        ends = ((Side.LEFT, rig.base[FSM_ITEMS][at]), (Side.RIGHT, rig.base[BOOKS_SIDE][at]))
        lanes = {lane_of(rig.world.integration, "live", "items", side, record, shards) for side, record in ends}
        if len(lanes) == 2:
            return at
    raise DidNotStrikeError("both ends of every record are on one lane")


def edited_after_it_was_listed(scene: Scene) -> None:
    """A run has listed the first value and waits; a webhook brings the second; then the run goes on."""
    rig = scene.rig
    rig.fault(FSM, "webhook_lost", share=1.0)
    note(scene, 0, "first")
    rig.wait(lambda: rig.is_quiet(), "nobody was told of it", 30)
    rig.strikes.arm("page.saved", SLEEP, n=4, ms=6000, process=CONTROL)
    scene.sync_id = rig.begin()
    scene.struck("page.saved")
    rig.control("DELETE", FSM, "faults")
    note(scene, 0, "second")
    scene.await_strike(lambda: sides_agree(scene, 0, "second"), "the second value has come first", 5)
    listing = rig.sql("SELECT state FROM run WHERE id = %s", scene.sync_id)[0][0]
    scene.must_strike(listing == "listing", f"the run went on too early: {listing}")
    rig.ended(scene.sync_id, within_s=40)


def saved_twice(scene: Scene) -> None:
    """Results that a frozen worker holds are saved by another, and newer ones after them; then the frozen one saves
    its own. A person at Books who writes the first value once more must be heard."""
    rig = scene.rig
    rig.strikes.arm("results.taken", FREEZE, process="worker-control")
    note(scene, 0, "first")
    (strike,) = scene.struck("results.taken")
    item = rig.base[FSM_ITEMS][0]
    scene.await_strike(lambda: outcomes(scene, item), "another worker saves the results", 20)
    before = len(outcomes(scene, item))
    note(scene, 0, "second")
    scene.await_strike(lambda: len(outcomes(scene, item)) > before, "newer results are saved", 20)
    rig.wait(rig.is_quiet, "and their echo", 20)
    scene.frozen(strike)
    live = "SELECT 1 FROM org_lease WHERE expires_at > clock_timestamp() + interval '1 second' AND fence = (%s)"
    ((fence,),) = rig.sql("SELECT min(fence) FROM outcome WHERE id > %s", scene.mark.outcome_id)
    scene.must_strike(bool(rig.sql(live, fence)), "the lease is over: the frozen one is refused for that")
    rig.thaw(strike.pid)
    rig.wait(rig.is_quiet, "all is quiet", 30)
    time.sleep(0.5)  # the thawed one has nothing left to show for its work
    scene.people.edit(*BOOKS_SIDE, rig.base[BOOKS_SIDE][0], {"description": word(scene, "first")})


# Nothing happens


def notes(scene: Scene) -> None:
    """People work, and nothing goes wrong."""
    some_notes(scene)


def untold(scene: Scene) -> None:
    """Two runs, and edits that nobody tells of before each."""
    rig = scene.rig
    for vendor in VENDORS:
        rig.fault(vendor, "webhook_lost", share=1.0)
    for n in range(2):
        note(scene, n, "untold")
        contact = rig.base[BOOKS, CONTACTS][n]
        scene.people.edit(BOOKS, CONTACTS, contact, {"website": f"https://{word(scene, n)}.test"})
        rig.ended(rig.begin(), within_s=40)
        rig.wait(rig.is_quiet, "quiet after a run", 30)


# Stores, grants, bounds


def flushed(scene: Scene) -> None:
    """Redis loses everything while events lie on the lanes."""
    rig = scene.rig
    with rig.frozen_process(EVENTS):
        some_notes(scene)
        rig.wait(lambda: _told(rig), "every delivery was answered", 30)
        rig.redis.flushall()
        flushed_ms = time.time() * 1000
        scene.expect["history_lost_ms"] = ((0.0, flushed_ms),)
        rig.wait(lambda: _marked(rig), "a tick has come", 30)


def _told(rig: Rig) -> bool:
    return all(rig.control("GET", vendor, "deliveries?since=1000000000")["idle"] for vendor in VENDORS)


def _marked(rig: Rig) -> bool:
    found = rig.redis.get("bw:marker")
    return found is not None and rig.sql("SELECT redis_marker FROM installation")[0][0] == found


def killed_with_a_new_token(scene: Scene) -> None:
    """Each refresh ends the token before it at once. A worker dies at the first write after one."""
    rig = scene.rig
    with accounts(scene, rotate_refresh_tokens=True, grace_s=0):
        rig.control("POST", ACCOUNTS, "expire")
        rig.strikes.arm("pending.committed", EXIT, process=EVENTS)
        some_notes(scene)
        scene.struck("pending.committed")
        rig.wait(lambda: rig.is_quiet() or _broken(rig), "all is quiet", 60)
        look(scene, "P11", quiet=False, synced=False)


def _broken(rig: Rig) -> bool:
    return bool(rig.sql("SELECT 1 FROM connection WHERE status <> 'live'"))


def many_want_a_token(scene: Scene) -> None:
    """Two workers find the tokens ended at the same time, and the accounts server is slow."""
    rig = scene.rig
    rig.control("POST", ACCOUNTS, "expire")
    rig.fault(ACCOUNTS, "latency", ms=1500, share=1.0)
    some_notes(scene)
    rig.wait(rig.is_quiet, "all is quiet", 60)
    scene.must_strike(applied(scene, ACCOUNTS, "latency"), "no refresh was slow")


BOUND, CHUNK_ROWS, SPARE = 40, 20, 500
"""The bounds of these stacks; the auditor allows `SPARE` over a bound, for a chunk of the poller."""
NARROW = Shape(
    env={
        "BOTHWAYS_LANE_BOUND": str(BOUND),
        "BOTHWAYS_WEBHOOK_BOUND": str(BOUND),
        "BOTHWAYS_SHARDS": "1",
        CHUNK: str(CHUNK_ROWS),
    }
)
SEEN_FROM = 2 * BOUND - SPARE


def flooded(scene: Scene) -> None:
    """Nobody works, and the vendors tell more and more."""
    rig = scene.rig
    with rig.frozen_process(EVENTS):
        for vendor, module in rig.base:
            rig.control("POST", vendor, "deliveries/flood", {"module": module, "count": 12, "copies": 5})
        rig.wait(lambda: _told(rig), "the flood is over", 60)
        look(scene, "P13", stopped=True, exit_s=0.0, lane_bound=SEEN_FROM, webhook_bound=SEEN_FROM)


def listed(scene: Scene) -> None:
    """Nobody works, and a run has more to do than a lane may hold."""
    rig = scene.rig
    rows: list[Json] = [{"Company_Name": word(scene, n), "Website": "https://x.test"} for n in range(3 * BOUND)]
    rig.seed(FSM, COMPANIES, rows)
    with rig.frozen_process(EVENTS):
        scene.sync_id = rig.begin()
        rig.wait(lambda: rig.sql("SELECT 1 FROM run WHERE id = %s AND queued > 0", scene.sync_id), "a first chunk", 30)
        rig.wait(lambda: _poller_rests(rig, scene.sync_id), "the poller has stopped", 30)
        look(scene, "P13", stopped=True, exit_s=0.0, lane_bound=SEEN_FROM, webhook_bound=SEEN_FROM)
    rig.ended(scene.sync_id, within_s=90)


def _poller_rests(rig: Rig, sync_id: int | None) -> bool:
    return bool(rig.sql("SELECT 1 FROM run WHERE id = %s AND queued >= %s AND claimed_by IS NULL", sync_id, BOUND))


# P14, of which the auditor knows nothing


def forged(scene: Scene) -> None:
    """Deliveries by somebody who knows the addresses and not the secrets."""
    hooks = scene.rig.world.hooks
    item, company = scene.rig.base[BOOKS_SIDE][0], scene.rig.base[FSM, COMPANIES][0]
    told = (
        (hooks[BOOKS]["url"], {"item": {"item_id": item}}, {SIGNATURE_HEADER: "0" * 64}),
        (hooks[FSM]["url"], {"module": COMPANIES, "event": "update", "id": company}, {"X-Bothways-Secret": "guessed"}),
    )
    for url, body, headers in told:
        answer = httpx.post(url, json=body, headers=headers, timeout=10, trust_env=False)
        scene.must(answer.status_code == 401, f"P14 a forged delivery was answered {answer.status_code}")
        scene.must(not answer.content, "P14 a stranger was told why")
    scene.rig.wait(scene.rig.is_quiet, "all is quiet", 30)
    for record in (item, company):
        scene.must(not outcomes(scene, record), f"P14 a forged delivery has an outcome: {record}")


def canary(scene: Scene) -> None:
    """What people write is in no log of ours."""
    written = word(scene, "canary-7f3a")
    note(scene, 0, "canary-7f3a")
    name = word(scene, "canary-7f3b")
    made = scene.people.make(*BOOKS_SIDE, {"name": name, "rate": 1, "product_type": "service"})
    scene.rig.wait(lambda: outcomes(scene, made) and sides_agree(scene, 0, "canary-7f3a"), "both have come", 30)
    for log in sorted((scene.rig.folder / "logs").glob("*.log*")):
        said = log.read_text(errors="replace")
        scene.must(written not in said and name not in said, f"P14 a field's value is in {log.name}")


CELLS = (
    Small("killed before the commit", killed_at("results.taken", CONTROL, tellings), ("ack_before_commit",)),
    Small("killed before an ack", killed_at("results.committed", CONTROL), ("event_twice",)),
    Small("killed with a batch", killed_at("batch.claimed", EVENTS), ("no_sweep",)),
    Small("api killed", killed_at("door.received", "api"), ("receiver_answers_first",)),
    Small("flushed", flushed, ("no_marker_check",)),
    Small("made in the dark", made_in_the_dark, ("no_intent", "retry_without_looking")),
    Small("saved after a take-over", saved_after_a_take_over, ("no_fence_check",)),
    Small("edited before it was saved", edited_before_it_was_saved, ("no_pending",)),
    Small("both ends", both_ends, ("no_root_lock",)),
    Small("edited after it was listed", edited_after_it_was_listed, ("list_row_trusted",)),
    Small("saved twice", saved_twice, ("no_version_check",), shape=CREW),
    Small("notes", notes, ("echo_answered", "counters_twice")),
    Small("poisoned", poisoned, ("no_try_count",)),
    Small("told to stop", told_to_stop, ("stop_acks",)),
    Small("killed with a new token", killed_with_a_new_token, ("used_before_saved",)),
    Small("many want a token", many_want_a_token, ("two_refreshers",), shape=CREW),
    Small("untold", untold, ("watermark_at_end", "open_range")),
    Small("flooded", flooded, ("no_door_bound",), shape=NARROW),
    Small("listed", listed, ("no_poller_bound",), shape=NARROW),
    Small("forged", forged, ("signature_not_checked",)),
    Small("canary", canary, ("value_in_log",)),
)
