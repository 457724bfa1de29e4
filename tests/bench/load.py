"""Deliveries at a webhook door, from a process of its own: `python -m tests.bench.load`, a Plan on standard input.

Raw connections that are kept, and requests built before the clock starts: a general client would be slower than the
door. Prints one line of JSON, an Answered.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

SIGNATURE = "X-Zoho-Webhook-Signature"
MARK = "@record@"
"""Where the record's id stands in a plan's body."""
FIRST_ID = 460_000_000_000_000_000


@dataclass(frozen=True)
class Plan:
    """Each delivery is of another record: number `first`, and the `count` from there on.

    `per_s` None: a closed loop, each connection sends its next delivery when it has the answer to the one before, until
    `seconds` are over or all `count` are sent. Else an open loop: so many a second, whatever the answers do.
    """

    url: str
    secret: str
    body: str
    first: int
    count: int
    seconds: float
    connections: int = 32
    per_s: float | None = None


@dataclass(frozen=True)
class Answered:
    """`statuses`: how many answers had which; `seconds`: from the first request to the last answer; `ms`: how long each
    answer took, without the time that this process was late itself; `busy`: the part of `seconds` in which it worked.
    Near 1 it was the load that could do no more."""

    statuses: dict[str, int]
    seconds: float
    ms: list[float]
    busy: float

    @property
    def per_s(self) -> float:
        return sum(self.statuses.values()) / self.seconds


def deliver(plan: Plan) -> Answered:
    """Raises what the process died of, as CalledProcessError."""
    command = [sys.executable, "-m", "tests.bench.load"]
    done = subprocess.run(command, input=json.dumps(asdict(plan)), stdout=subprocess.PIPE, text=True, check=True)
    return Answered(**json.loads(done.stdout))


def requests_of(plan: Plan) -> list[bytes]:
    """Whole requests, signed as Zoho Books signs (no query)."""
    url = urlsplit(plan.url)
    key = plan.secret.encode()
    found = []
    for number in range(plan.first, plan.first + plan.count):
        body = plan.body.replace(MARK, str(FIRST_ID + number)).encode()
        lines = (
            f"POST {url.path} HTTP/1.1",
            f"Host: {url.netloc}",
            "User-Agent: ZohoSandbox",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            f"{SIGNATURE}: {hmac.new(key, body, hashlib.sha256).hexdigest()}",
        )
        found.append("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    return found


class Line(asyncio.Protocol):
    """A connection that is kept, with one request on it at a time."""

    def __init__(self) -> None:
        self._got = b""
        self._answer: asyncio.Future[str] | None = None
        self._transport: asyncio.WriteTransport

    @classmethod
    async def open(cls, url: str) -> Line:
        parts = urlsplit(url)
        _, line = await asyncio.get_running_loop().create_connection(cls, parts.hostname or "", parts.port or 80)
        return line

    def ask(self, request: bytes) -> asyncio.Future[str]:
        """The answer's status. ConnectionError: a connection that ends is a fault of the measurement."""
        if self._transport.is_closing():
            raise ConnectionError("closed while it rested")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, ended, body = self._got.partition(b"\r\n\r\n")
        if not ended or self._answer is None:
            return
        _, told, rest = head.lower().partition(b"content-length:")
        if told and len(body) < int(rest.partition(b"\r\n")[0]):
            return
        answer, self._answer, self._got = self._answer, None, b""
        answer.set_result(head[9:12].decode())

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("closed"))


async def closed_loop(plan: Plan, requests: Sequence[bytes]) -> Answered:
    lines = [await Line.open(plan.url) for _ in range(plan.connections)]
    left = iter(requests)
    statuses: Counter[str] = Counter()
    took: list[float] = []
    worked = time.process_time()
    began = last = time.perf_counter()

    async def send(line: Line) -> None:
        nonlocal last
        while last - began < plan.seconds and (request := next(left, None)) is not None:
            sent = time.perf_counter()
            statuses[await line.ask(request)] += 1
            last = time.perf_counter()
            took.append((last - sent) * 1000)

    await asyncio.gather(*(send(line) for line in lines))
    return Answered(dict(statuses), last - began, took, (time.process_time() - worked) / (last - began))


async def open_loop(plan: Plan, requests: Sequence[bytes], per_s: float) -> Answered:
    """A delivery that finds all connections busy waits for one, and that counts."""
    # The one that rested longest goes next: one that rested for five seconds is closed by the server.
    free: asyncio.Queue[Line] = asyncio.Queue()
    for _ in range(plan.connections):
        free.put_nowait(await Line.open(plan.url))
    statuses: Counter[str] = Counter()
    took: list[float] = []

    async def send(request: bytes) -> None:
        wanted = time.perf_counter()
        line = await free.get()
        statuses[await line.ask(request)] += 1
        took.append((time.perf_counter() - wanted) * 1000)
        free.put_nowait(line)

    worked = time.process_time()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as under_way:
        for number, request in enumerate(requests):
            await asyncio.sleep(began + number / per_s - time.perf_counter())
            under_way.create_task(send(request))
    seconds = time.perf_counter() - began
    return Answered(dict(statuses), seconds, took, (time.process_time() - worked) / seconds)


def main() -> None:
    plan = Plan(**json.loads(sys.stdin.read()))
    requests = requests_of(plan)
    loop = closed_loop(plan, requests) if plan.per_s is None else open_loop(plan, requests, plan.per_s)
    print(json.dumps(asdict(asyncio.run(loop))))


if __name__ == "__main__":
    main()
