"""Outgoing webhooks: immediate, in order for each record, at most a few at a time, every try noted."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from urllib.parse import urlencode

from deploy.sandbox.faults import FaultBook
from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.poster import Poster

AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Change:
    """`payload` is the record as the vendor would send it, taken when the change was made; `modified` is shown text."""

    module: str
    event: str
    id: str
    payload: JsonObject
    modified: str


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


@dataclass(slots=True)
class Delivery:
    """One try. `at` is epoch milliseconds; `accepted` is a 2xx; `lost` was never sent, by a fault."""

    id: int
    hook: str
    module: str
    record: str
    event: str
    url: str
    at: float
    attempt: int = 1
    status: int | None = None
    ms: float | None = None
    accepted: bool = False
    lost: bool = False
    error: str | None = None


Message = tuple[bytes, dict[str, str]]
# (hook, change) -> body and headers: each vendor's own.
Compose = Callable[[Hook, Change], Message]
Job = tuple[Hook, Change, Message, int]


class Dispatcher:
    def __init__(self, compose: Compose, faults: FaultBook) -> None:
        self._compose = compose
        self._faults = faults
        self._ids = itertools.count(1)
        self._waiting: dict[tuple[str, str, str], deque[Job]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._poster = Poster()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self.sources: list[Callable[[], list[Hook]]] = [lambda: self.hooks]
        self.hooks: list[Hook] = []
        self.deliveries: list[Delivery] = []

    def configure(self, given: object) -> list[JsonObject]:
        wanted = given if isinstance(given, list) else [given] if given else []
        self.hooks = [parse_hook(number, one) for number, one in enumerate(wanted, 1)]
        return [hook.describe() for hook in self.hooks]

    def emit(self, change: Change) -> None:
        hooks = [hook for source in self.sources for hook in source() if hook.wants(change)]
        for hook in hooks:
            fault = self._faults.for_delivery(change.module, change.event)
            kind = fault.kind if fault else ""
            if kind == "webhook_lost":
                self._note(hook, change).lost = True
                continue
            job = (hook, change, self._compose(hook, change), fault.ms if fault and kind == "webhook_late" else 0)
            for _ in range(2 if kind == "webhook_doubled" else 1):
                self._queue(job)

    def idle(self) -> bool:
        return not self._tasks

    def clear(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.hooks = []
        self.deliveries = []
        self._waiting.clear()

    async def aclose(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._poster.aclose()

    def _queue(self, job: Job) -> None:
        hook, change = job[0], job[1]
        key = (hook.id, change.module, change.id)
        queue = self._waiting.get(key)
        if queue is not None:  # an earlier one of this record is under way: its order is kept
            queue.append(job)
            return
        self._waiting[key] = deque([job])
        task = asyncio.get_running_loop().create_task(self._drain(key))
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
        hook, change, (body, headers), late_ms = job
        if late_ms:
            await asyncio.sleep(late_ms / 1000)
        for attempt in range(1, hook.retries + 2):
            delivery = self._note(hook, change, attempt)
            async with self._slots:
                await self._post(delivery, body, headers)
            if delivery.accepted or attempt > hook.retries:
                return
            await asyncio.sleep(hook.retry_delay_ms / 1000)

    async def _post(self, delivery: Delivery, body: bytes, headers: dict[str, str]) -> None:
        started = time.perf_counter()
        delivery.at = time.time() * 1000
        try:
            delivery.status = await self._poster.post(delivery.url, body, headers)
            delivery.accepted = 200 <= delivery.status < 300
        except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError, IndexError) as error:
            delivery.error = f"{type(error).__name__}: {error}"
        delivery.ms = (time.perf_counter() - started) * 1000

    def _note(self, hook: Hook, change: Change, attempt: int = 1) -> Delivery:
        delivery = Delivery(
            next(self._ids),
            hook.id,
            change.module,
            change.id,
            change.event,
            hook.full_url(),
            time.time() * 1000,
            attempt,
        )
        self.deliveries.append(delivery)
        return delivery
