"""Outgoing webhooks: immediate, in order for each record, at most a few at a time, every try noted."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlencode

from deploy.sandbox.deliveries import Delivery, DeliveryLog, epoch_now_ms
from deploy.sandbox.faults import Fault, FaultBook
from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.poster import Poster
from deploy.sandbox.shelf import Shelf

AT_ONCE = 8
FLOOD_AT_ONCE = 64
FLOOD_AT_ONCE_MAX = 512


@dataclass(frozen=True, slots=True)
class Change:
    """`payload` is the record as the vendor would send it, taken when the change was made; `modified` is shown text.

    `organization_id` is another than the vendor's own, for a forged one."""

    module: str
    event: str
    id: str
    payload: JsonObject
    modified: str
    organization_id: str | None = None


@dataclass(frozen=True, slots=True)
class Hook:
    """One subscription. Empty `modules` or `events` means all of them."""

    id: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    secret: str = ""
    query: dict[str, str] = field(default_factory=dict)
    modules: frozenset[str] = frozenset()
    events: frozenset[str] = frozenset()
    retries: int = 0
    retry_delay_ms: int = 0

    def wants(self, change: Change) -> bool:
        return change.module in (self.modules or {change.module}) and change.event in (self.events or {change.event})

    def full_url(self) -> str:
        if not self.query:
            return self.url
        return f"{self.url}{'&' if '?' in self.url else '?'}{urlencode(self.query)}"

    def describe(self) -> JsonObject:
        return {**asdict(self), "modules": sorted(self.modules), "events": sorted(self.events)}


def parse_hook(number: int, given: JsonObject) -> Hook:
    """Shape: {url, secret, header_name, header_value, headers, query_parameters, modules, events, retries,
    retry_delay_ms}; only `url` is needed."""
    headers = {str(key): str(value) for key, value in (given.get("headers") or {}).items()}
    if given.get("header_name"):
        headers[str(given["header_name"])] = str(given.get("header_value") or "")
    return Hook(
        id=str(given.get("id") or number), url=str(given["url"]), headers=headers,
        secret=str(given.get("secret") or ""),
        query={str(key): str(value) for key, value in (given.get("query_parameters") or {}).items()},
        modules=frozenset(given.get("modules") or ()), events=frozenset(given.get("events") or ()),
        retries=int(given.get("retries") or 0), retry_delay_ms=int(given.get("retry_delay_ms") or 0),
    )  # fmt: skip


Message = tuple[bytes, dict[str, str]]
# (hook, change) -> body and headers: each vendor's own.
Compose = Callable[[Hook, Change], Message]


@dataclass(frozen=True, slots=True)
class Job:
    """`number` counts up in the order of the changes."""

    number: int
    hook: Hook
    change: Change
    message: Message


class Dispatcher:
    def __init__(self, compose: Compose, faults: FaultBook) -> None:
        self._compose = compose
        self._faults = faults
        self._numbers = itertools.count(1)
        self._waiting: dict[tuple[str, str, str], deque[Job]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._poster = Poster()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._shelf: Shelf[Job] = Shelf(self._queue)
        self.sources: list[Callable[[], list[Hook]]] = [lambda: self.hooks]
        self.hooks: list[Hook] = []
        self.log = DeliveryLog()

    def configure(self, given: object) -> list[JsonObject]:
        wanted = given if isinstance(given, list) else [given] if given else []
        self.hooks = [parse_hook(number, one) for number, one in enumerate(wanted, 1)]
        return [hook.describe() for hook in self.hooks]

    def emit(self, change: Change) -> None:
        for hook in self._hooks_for(change):
            fault = self._faults.for_delivery(change.module, change.event)
            if fault is not None and fault.kind == "webhook_lost":
                lost = self._note(hook, change)
                lost.lost = True
                self.log.end(lost)
                continue
            self._send(Job(next(self._numbers), hook, change, self._compose(hook, change)), fault)

    def flood(self, changes: Iterable[Change], copies: int, at_once: int) -> int:
        """Each of the changes `copies` times, with no regard to order or to faults; how many that makes."""
        pairs = [(hook, change) for change in changes for hook in self._hooks_for(change)]
        jobs = [Job(next(self._numbers), hook, change, self._compose(hook, change)) for hook, change in pairs]
        waiting = deque(job for _ in range(copies) for job in jobs)
        count = len(waiting)
        for _ in range(min(at_once, count)):
            self._start(self._flood(waiting))
        return count

    def flush(self) -> int:
        """Sends what is held back or late; how many that were."""
        return self._shelf.flush()

    @property
    def held(self) -> int:
        return len(self._shelf)

    def idle(self) -> bool:
        return not self._tasks and not self._shelf

    def clear(self) -> None:
        self._shelf.clear()
        for task in self._tasks:
            task.cancel()
        self.hooks = []
        self.log.clear()
        self._waiting.clear()

    async def aclose(self) -> None:
        self._shelf.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._poster.aclose()

    def _hooks_for(self, change: Change) -> list[Hook]:
        return [hook for source in self.sources for hook in source() if hook.wants(change)]

    def _send(self, job: Job, fault: Fault | None) -> None:
        kind = fault.kind if fault else ""
        if fault is not None and kind == "webhook_late":
            self._shelf.put(job, fault.ms)
        elif fault is not None and kind == "webhook_reordered":
            self._shelf.put(job, fault.ms, self._faults.by_of(fault))
        else:
            for _ in range(2 if kind == "webhook_doubled" else 1):
                self._queue(job)

    def _queue(self, job: Job) -> None:
        key = (job.hook.id, job.change.module, job.change.id)
        queue = self._waiting.get(key)
        if queue is not None:  # an earlier one of this record is under way: its order is kept
            queue.append(job)
            return
        self._waiting[key] = deque([job])
        self._start(self._drain(key))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self, key: tuple[str, str, str]) -> None:
        queue = self._waiting[key]
        try:
            while queue:
                await self._deliver(queue.popleft())
        finally:
            if self._waiting.get(key) is queue:
                del self._waiting[key]

    async def _deliver(self, job: Job) -> None:
        for attempt in range(1, job.hook.retries + 2):
            delivery = self._note(job.hook, job.change, attempt)
            async with self._slots:
                await self._post(delivery, job.message)
            if delivery.accepted or attempt > job.hook.retries:
                break
            await asyncio.sleep(job.hook.retry_delay_ms / 1000)
        self._shelf.gone(job)

    async def _flood(self, waiting: deque[Job]) -> None:
        while waiting:
            job = waiting.popleft()
            delivery = self._note(job.hook, job.change)
            delivery.flood = True
            await self._post(delivery, job.message)
            self._shelf.gone(job)

    async def _post(self, delivery: Delivery, message: Message) -> None:
        started = time.perf_counter()
        delivery.at = epoch_now_ms()
        try:
            delivery.status = await self._poster.post(delivery.url, *message)
            delivery.answered_at = epoch_now_ms()
            delivery.accepted = 200 <= delivery.status < 300
        except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError, IndexError) as error:
            delivery.error = f"{type(error).__name__}: {error}"
        delivery.ms = (time.perf_counter() - started) * 1000
        self.log.end(delivery)

    def _note(self, hook: Hook, change: Change, attempt: int = 1) -> Delivery:
        delivery = Delivery(
            self.log.new_id(), hook.id, change.module, change.id, change.event, hook.full_url(), epoch_now_ms(), attempt
        )
        delivery.organization_id = change.organization_id
        return self.log.begin(delivery)
