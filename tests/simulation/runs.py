"""A run as `shared.engine.run` goes through it: take, list both sides, match, queue an event per record, finish."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from shared.bus import BULK
from shared.connectors.base import ListOrder, Page
from shared.engine.agreed import listed_hash
from shared.engine.classes import bulk_lanes
from shared.engine.context import Context, Ports
from shared.engine.known import binding_row
from shared.errors import LeaseLost, RateLimited, RetryableError
from shared.lease import Held, Lease, run_holder
from shared.sync.events import ChangeEvent, Hint, Origin, encode
from shared.sync.guards import may_start
from shared.sync.match import Keyed, fold_key, match_sides
from shared.sync.model import Record, RecordId, Side
from shared.sync.reasons import Code
from shared.sync.states import RunKind, RunState, end_of, may_move
from shared.sync.watermark import advanced, may_advance, window_start
from tests.simulation.faults import Mutant
from tests.simulation.keeper import SimKeeper
from tests.simulation.postgres import Key, Listing, Run, Staged, Tables, _watch_fence, raw_binding
from tests.simulation.vendors import PAIR

QUEUE_CHUNK = 500
INTEGRATION = 1


def advance(ports: Ports, keeper: SimKeeper, context: Context, run_id: int, mutant: Mutant | None) -> None:
    tables: Tables = ports.db  # type: ignore[assignment]
    owner = f"{ports.bus.worker}/r{tables.number()}"
    with tables.transaction(f"claim run {run_id}"):
        run, now = tables.runs[run_id], tables.sched.now
        if run.ended_ms is not None or run.claimed_until > now or (run.resume_ms or 0) > now:
            return
        run.claimed_by, run.claimed_until = owner, tables.sched.now + keeper.claim_ms
    again, not_before_ms = False, 0
    try:
        with keeper.claim(run_id, owner):
            again = _RunWork(ports, keeper, context, run, owner, mutant).go()
    except RetryableError as error:
        not_before_ms = int((error.retry_after_s or 10.0) * 1000)
        if isinstance(error, RateLimited) and not_before_ms > ports.settings.quota_patience_s * 1000:
            _park(ports, run, owner, not_before_ms)
    except LeaseLost:
        again = True
    finally:
        with tables.transaction("unclaim"):
            if run.claimed_by == owner:
                run.claimed_by, run.claimed_until = None, tables.sched.now + not_before_ms if not_before_ms else 0
    if again or _all_settled(tables, run):
        ports.wake.run(run_id)


def _park(ports: Ports, run: Run, owner: str, ms: int) -> None:
    """It waits long for quota: others get the orgs, and its backlog rests."""
    tables: Tables = ports.db  # type: ignore[assignment]
    with tables.transaction("park"):
        if run.claimed_by != owner or run.ended_ms is not None:
            return
        run.resume_ms = tables.sched.now + ms
        tables.sched.note("run", run.id, "parked for", ms)
        name = f"run:{run.id}"
        ports.leases.leave(tables, name, ports.leases.held(tables, name))  # type: ignore[arg-type]
    for lane in bulk_lanes(INTEGRATION, ports.settings.shards):
        ports.bus.pause(lane, ms / 1000)
    _wake_idle(ports)


def _wake_idle(ports: Ports) -> None:
    for lane in ports.bus.idle_lanes():
        ports.wake.drain(lane)


def _all_settled(tables: Tables, run: Run) -> bool:
    if run.state != RunState.DRAINING or run.pending:
        return False
    row, now = tables.lease, tables.sched.now
    joined = row.holder == f"run:{run.id}"
    return not any(joined and fence == row.fence and until > now for fence, until in tables.open_batches.values())


class _RunWork:
    def __init__(
        self, ports: Ports, keeper: SimKeeper, context: Context, run: Run, owner: str, mutant: Mutant | None
    ) -> None:
        self._ports, self._keeper, self._context, self._run, self._mutant = ports, keeper, context, run, mutant
        self._owner = owner
        self._tables: Tables = ports.db  # type: ignore[assignment]
        self._sched = self._tables.sched

    def go(self) -> bool:
        lease = self._take()
        if lease is None:
            return False
        self._lease = lease
        self._keeper.keep(lease)
        if self._run.state == RunState.QUEUED:
            self._begin()
        while self._run.state == RunState.LISTING:
            self._list_page()
        if self._run.state == RunState.MATCHING:
            self._match()
        if self._run.state == RunState.DRAINING:
            return self._queue_or_finish()
        return False

    def _take(self) -> Lease | None:
        with self._tables.transaction("take"):
            holder = run_holder(self._run.id, self._context.id, self._context.workspace_id)
            before = replace(self._tables.lease)
            got = self._ports.leases.take(self._tables, self._context.org_ids, holder)  # type: ignore[arg-type]
            if isinstance(got, Held):
                return None
            if self._run.claimed_by != self._owner or self._run.ended_ms is not None:
                self._tables.lease = before
                raise LeaseLost("It goes on elsewhere, or has ended.")
            parked, self._run.resume_ms = self._run.resume_ms, None
        if parked is not None:
            for lane in bulk_lanes(self._context.id, self._ports.settings.shards):
                self._ports.bus.resume(lane)
                self._ports.wake.drain(lane)
        return got

    def _check(self) -> None:
        self._ports.leases.check(self._tables, self._lease)  # type: ignore[arg-type]
        _watch_fence(self._tables, self._lease.holder.name, self._lease.fence)

    def _move(self, state: RunState) -> None:
        if not may_move(RunState(self._run.state), state):
            raise AssertionError(f"{self._run.state} to {state}")
        self._run.state = state
        self._sched.note("run", self._run.id, state)

    def _begin(self) -> None:
        with self._tables.transaction("begin run"):
            self._check()
            if self._run.state != RunState.QUEUED:
                return
            if may_start(RunKind.SYNC, fetched=True, enabled=True, connections_live=True) is not None:
                raise AssertionError("it may start")
            for side in Side:
                whole = self._context.facts[PAIR.name, side].order is ListOrder.WHOLE
                mark = None if whole else self._tables.watermarks.get(side)
                since = window_start(mark, self._ports.settings.overlap_s)
                self._run.listings[side] = Listing(since, since is None)
            self._run.started_ms = self._sched.now
            self._move(RunState.PREFLIGHT)
            self._move(RunState.LISTING)

    # Listing

    def _list_page(self) -> None:
        side = next((one for one in Side if not self._run.listings[one].done), None)
        if side is None:
            with self._tables.transaction("listed"):
                self._check()
                if self._run.state == RunState.LISTING:
                    self._move(RunState.MATCHING)
            return
        listing = self._run.listings[side]
        asked, read_ms = listing.cursor, self._sched.now
        connector, module = self._context.connectors[side], PAIR.module(side)
        page = connector.list_page(module, cursor=asked, since=listing.since)
        rows, done = self._cut(page, side, listing)
        with self._tables.transaction(f"stage {len(rows)}"):
            self._check()
            for row in rows:
                self._stage(side, row, read_ms)
            if asked is None and listing.vendor_at is None:
                listing.vendor_at = page.at
            listing.cursor, listing.done, listing.rows = page.next_cursor, done, listing.rows + len(page.rows)

    def _cut(self, page: Page, side: Side, listing: Listing) -> tuple[Sequence[Record], bool]:
        facts, since = self._context.facts[PAIR.name, side], listing.since
        if since is None or facts.order is not ListOrder.MODIFIED_DESC:
            return page.rows, page.next_cursor is None
        edge = since if self._mutant is Mutant.EXCLUSIVE else since - timedelta(seconds=1)
        inside = [row for row in page.rows if row.modified_at is None or row.modified_at >= edge]
        if self._mutant is Mutant.EXCLUSIVE:
            inside = [row for row in inside if row.modified_at is None or row.modified_at > since]
        return inside, page.next_cursor is None or len(inside) < len(page.rows)

    def _stage(self, side: Side, row: Record, read_ms: int) -> None:
        if self._unchanged(side, row):
            self._tables.counts[self._run.id, "unchanged", ""] += 1
            self._tables.listed[self._run.id] += 1
            return
        key = fold_key(row.get(PAIR.key(side)))
        before = self._run.staged.get((side, row.id))
        if before is None:
            self._run.staged[side, row.id] = Staged(row, read_ms, key)
        else:
            before.record, before.read_ms, before.key = row, read_ms, key

    def _unchanged(self, side: Side, row: Record) -> bool:
        raw = self._tables.binding(side, row.id)
        if raw is None or not raw["base"] or raw["pending"] or raw["state"] != "live":
            return False
        facts, binding = self._context.facts[PAIR.name, side], binding_row(raw)
        if listed_hash(PAIR, side, row, facts.list_fields) != binding.hash(side):
            return False
        if facts.list_fields is None:
            return True
        settled = row.modified_at is not None and binding.seen_at(side) is None
        return settled and row.modified_at == binding.modified(side)

    # Matching

    def _match(self) -> None:
        with self._tables.transaction("match"):
            self._check()
            if self._run.state != RunState.MATCHING:
                return
            self._mark_bound()
            whole = all(listing.whole for listing in self._run.listings.values())
            if whole:
                self._bind_matches()
                self._mark_bound()
            for side in Side:
                self._mark_rest(side, whole)
            for keep in (Side.LEFT, Side.RIGHT):
                self._ride(keep, only_newer=keep is Side.LEFT)
            for key, due in self._tables.due.items():
                if due.why == "failed" and key not in self._run.staged:
                    record = Record(key[1], {}, complete=False)
                    self._run.staged[key] = Staged(record, -(10**9), "", verdict="look")
            self._move(RunState.DRAINING)

    def _open(self, side: Side) -> dict[RecordId, Staged]:
        found = self._run.staged.items()
        return {key[1]: row for key, row in found if key[0] is side and row.verdict is None}

    def _mark_bound(self) -> None:
        for (side, record_id), row in self._run.staged.items():
            raw = self._tables.binding(side, record_id)
            if row.verdict is None and raw is not None:
                row.verdict, row.twin_id = "pair", raw[f"{side.other}_id"]

    def _bind_matches(self) -> None:
        lefts, rights = self._open(Side.LEFT), self._open(Side.RIGHT)
        found = match_sides(
            [Keyed(one, row.key) for one, row in lefts.items()], [Keyed(one, row.key) for one, row in rights.items()]
        )
        for rows, ids in ((lefts, found.ambiguous_left), (rights, found.ambiguous_right)):
            for one in ids:
                rows[one].verdict = "ambiguous"
        making = self._making()
        for left, right in found.pairs:
            if lefts[left].key in making:
                continue
            raw = raw_binding(left, right, self._lease.fence, self._sched.when(-(10**9)))
            self._tables.insert_binding(raw)

    def _making(self) -> set[str]:
        """Keys of twins that are just being made, or may have been: their own results bind them."""
        return {intent.folded_key for intent in self._tables.intents.values()}

    def _mark_rest(self, side: Side, whole: bool) -> None:
        facts = self._context.facts[PAIR.name, side.other]
        sure = facts.unique_key is not None or self._run.listings[side.other].rows < facts.page_size
        bound = {row.key for key, row in self._run.staged.items() if key[0] is side.other and row.verdict == "pair"}
        making = self._making()
        for row in self._open(side).values():
            taken = (row.key != "" and row.key in bound) or row.key in making
            row.verdict = "look" if taken or not (whole and sure) else "create"

    def _ride(self, keep: Side, *, only_newer: bool) -> None:
        """Both ends were listed: the one that changed later brings the other along."""
        staged = self._run.staged
        for (side, _), row in staged.items():
            if side is not keep or row.verdict != "pair" or row.state != "listed" or row.twin_id is None:
                continue
            twin = staged.get((keep.other, row.twin_id))
            if twin is None or twin.verdict != "pair" or twin.state != "listed":
                continue
            if only_newer and not _later(row.record, twin.record):
                continue
            twin.verdict, twin.state, row.verdict = "twin", "done", "both"

    # Draining

    def _queue_or_finish(self) -> bool:
        self._look_at_quota()
        self._resend_lost()
        while True:
            with self._tables.transaction("queue"):
                self._check()
                rows = [key for key, row in self._run.staged.items() if row.state == "listed"][:QUEUE_CHUNK]
                for key in rows:
                    self._run.staged[key].state = "queued"
                self._run.pending += len(rows)
            self._send(rows)
            if not rows:
                return self._finish()

    def _look_at_quota(self) -> None:
        with self._tables.transaction("look at quota"):
            mine = [row for row in self._tables.due.values() if row.run_id == self._run.id and row.sent_ms is None]
            waiting = [row.due_ms for row in mine if row.reason == Code.RATE_LIMITED]
            in_s = (min(waiting) - self._sched.now) / 1000 if waiting else 0.0
            left = self._run.pending - len(waiting)
        lanes = bulk_lanes(self._context.id, self._ports.settings.shards)
        left -= self._ports.bus.length(lanes)
        if waiting and left <= 0 and in_s > self._ports.settings.quota_patience_s:
            raise RateLimited("quota", retry_after_s=in_s)

    def _send(self, rows: Sequence[Key]) -> None:
        items = []
        for side, record_id in rows:
            event = ChangeEvent(
                event_id=f"{self._run.id}:{PAIR.name}:{side}:{record_id}",
                correlation_id=f"run:{self._run.id}",
                integration_id=self._context.id,
                pair=PAIR.name,
                side=side,
                record_id=record_id,
                hint=Hint.UPSERT,
                origin=Origin.POLL,
                received_at=int(self._sched.time() * 1000),
                run_id=self._run.id,
                staged=True,
            )
            items.append((self._context.lane(BULK, PAIR.name, side, record_id), json.dumps(encode(event))))
        if items:
            for lane in dict.fromkeys(self._ports.bus.add(items)):
                self._ports.wake.drain(lane)

    def _resend_lost(self) -> None:
        lanes = [lane for lane in self._context.lanes() if lane.cls == BULK]
        if self._ports.bus.length(lanes) or self._ports.bus.results_waiting():
            return
        with self._tables.transaction("resend"):
            due = {key for key, row in self._tables.due.items() if row.run_id == self._run.id}
            rows = [key for key, row in self._run.staged.items() if row.state == "queued" and key not in due]
        self._send(rows)

    def _finish(self) -> bool:
        with self._tables.transaction("finish"):
            self._ports.leases.lock(self._tables, self._lease)  # type: ignore[arg-type]
            _watch_fence(self._tables, self._lease.holder.name, self._lease.fence)
            unsettled = sum(row.state != "done" for row in self._run.staged.values())
            if unsettled or not self._ports.leases.may_end(self._tables, self._lease):  # type: ignore[arg-type]
                return False
            failed = self._failed()
            ended = end_of(failed)
            started = self._sched.when(self._run.started_ms)
            if not may_advance(ended, unsettled=unsettled, lists_done=all(x.done for x in self._run.listings.values())):
                raise AssertionError("a run ended that may not")
            for side in Side:
                told = self._run.listings[side].vendor_at
                start = started if told is None else min(started, told)
                self._tables.watermarks[side] = advanced(self._tables.watermarks.get(side), start)
            self._run.ended_ms, self._run.pending = self._sched.now, 0
            self._move(ended)
            self._run.staged = {}
            self._ports.leases.release(self._tables, self._lease)  # type: ignore[arg-type]
        _wake_idle(self._ports)
        return False

    def _failed(self) -> int:
        return sum(
            n for (run, outcome, _), n in self._tables.counts.items() if run == self._run.id and outcome == "failed"
        )


def _later(left: Record, right: Record) -> bool:
    if left.modified_at is None or right.modified_at is None:
        return False
    return left.modified_at > right.modified_at
