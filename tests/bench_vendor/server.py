"""The bench vendor: `python -m tests.bench_vendor.server --port 0 [--window-s 60]`. Shares no code with the product.

Limits are Xero's as published: 60 calls a minute, 5 at the same time and 5,000 a day per org, 10,000 a minute over all
orgs; windows are fixed; each answer tells what is left, a refusal which limit it was and, for minute and day, when to
come again. One call creates or updates up to 100 records, reads up to 100 by id, or lists up to 1,000, those changed
since `If-Modified-Since` where it is given. It prints one line of JSON, its address, and keeps a log of calls.

GET  /{org}/{module}?page=&pageSize= | ?ids=a,b | ?name=   {"rows": [...], "more": bool}
POST /{org}/{module} {"rows": [{id?, name, ...}]}          {"rows": [{...} | {"error": code}]}
POST /_bench/{org}/limits {minute, day, concurrent, app, window_s, latency_s, behind_s} (of the org's clock)
POST /_bench/{org}/seed/{module} [{...}]
PUT  /_bench/{org}/{module}/{id} {...} · GET /_bench/{org}/state · GET, DELETE /_bench/log · POST /_bench/reset
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import uvicorn

Json = dict[str, Any]
Message = MutableMapping[str, Any]
MOST_ROWS, MOST_PAGE = 100, 1000


@dataclass
class Windows:
    """Calls counted in fixed windows, which begin at the server's start, not at ours."""

    began: float
    count: int = 0
    number: int = -1

    def used(self, now: float, window_s: float) -> int:
        number = math.floor((now - self.began) / window_s)
        if number != self.number:
            self.number, self.count = number, 0
        return self.count

    def left_s(self, now: float, window_s: float) -> float:
        return window_s - (now - self.began) % window_s


@dataclass
class Org:
    """None: no limit. `rows` by module and id."""

    began: float
    minute: int | None = 60
    day: int | None = 5000
    concurrent: int | None = 5
    latency_s: float = 0.05
    behind_s: float = 0.0
    inside: int = 0
    minutes: Windows = field(init=False)
    days: Windows = field(init=False)
    rows: dict[str, dict[str, Json]] = field(default_factory=dict)
    names: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.minutes, self.days = Windows(self.began), Windows(self.began)


class Bench:
    def __init__(self, window_s: float) -> None:
        self.first_window_s = window_s
        self.reset()

    def reset(self) -> None:
        self.window_s = self.first_window_s
        self.app: int | None = 10_000
        self.began = time.monotonic()
        self.apps = Windows(self.began)
        self.orgs: dict[str, Org] = {}
        self.log: list[Json] = []
        self.ids = itertools.count(1)

    def org(self, name: str) -> Org:
        return self.orgs.setdefault(name, Org(self.began))

    # Limits.

    def exceeded(self, org: Org, now: float) -> tuple[str, float | None] | None:
        """(problem, seconds to wait where they are told); None: the call is counted."""
        checks = (
            ("concurrent", org.inside, org.concurrent, None),
            ("minute", org.minutes.used(now, self.window_s), org.minute, org.minutes.left_s(now, self.window_s)),
            ("appminute", self.apps.used(now, self.window_s), self.app, None),
            ("day", org.days.used(now, 86_400), org.day, org.days.left_s(now, 86_400)),
        )
        for problem, used, limit, left_s in checks:
            if limit is not None and used >= limit:
                return problem, left_s
        for windows in (org.minutes, self.apps, org.days):
            windows.count += 1
        return None

    def headers(self, org: Org) -> dict[str, str]:
        told = {
            "X-MinLimit-Remaining": (org.minute, org.minutes.count),
            "X-DayLimit-Remaining": (org.day, org.days.count),
            "X-AppMinLimit-Remaining": (self.app, self.apps.count),
        }
        return {name: str(max(0, limit - used)) for name, (limit, used) in told.items() if limit is not None}

    # Records.

    def listed(self, org: Org, module: str, query: dict[str, str], since: str) -> Json:
        rows = org.rows.get(module, {})
        if "ids" in query:
            return {"rows": [rows[one] for one in query["ids"].split(",")[:MOST_ROWS] if one in rows], "more": False}
        if "name" in query:
            found = org.names.get(module, {}).get(query["name"].casefold())
            return {"rows": [rows[found]] if found else [], "more": False}
        shown = [row for row in rows.values() if not since or row["modified"] >= since]
        page, size = int(query.get("page", "1")), min(MOST_PAGE, int(query.get("pageSize", "100")))
        end = page * size
        return {"rows": shown[end - size : end], "more": end < len(shown)}

    def written(self, org: Org, module: str, rows: list[Json]) -> list[Json]:
        return [self.write(org, module, row) for row in rows]

    def write(self, org: Org, module: str, row: Json) -> Json:
        known, names = org.rows.setdefault(module, {}), org.names.setdefault(module, {})
        record_id = str(row.get("id") or "")
        if record_id and record_id not in known:
            return {"error": "gone"}
        before = known.get(record_id, {})
        name = str(row.get("name", before.get("name", "")))
        if not name:
            return {"error": "name_missing"}
        if names.get(name.casefold(), record_id) != record_id:
            return {"error": "duplicate"}
        record_id = record_id or f"{module[0]}{next(self.ids)}"
        names.pop(str(before.get("name", "")).casefold(), None)
        names[name.casefold()] = record_id
        modified = (datetime.now(UTC) - timedelta(seconds=org.behind_s)).isoformat(timespec="milliseconds")
        known[record_id] = {**before, **row, "id": record_id, "name": name, "modified": modified}
        return known[record_id]

    # HTTP.

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        parts = scope["path"].strip("/").split("/")
        if parts[0] == "_bench":
            headers: dict[str, str] = {}
            status, answer = 200, self.control(scope["method"], parts[1:], body)
        else:
            status, answer, headers = await self.api(scope, parts, body)
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        raw.append((b"content-type", b"application/json"))
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    async def api(self, scope: Message, parts: list[str], body: bytes) -> tuple[int, Any, dict[str, str]]:
        name, module = parts
        org, now = self.org(name), time.monotonic()
        row: Json = {"at": now, "org": name, "method": scope["method"], "window": -1, "status": 429, "records": 0}
        row["asks"] = _asks(scope)
        self.log.append(row)
        refused = self.exceeded(org, now)
        row["window"] = math.floor((now - self.began) / self.window_s)
        if refused is not None:
            problem, left_s = refused
            row["problem"] = problem
            headers = self.headers(org) | {"X-Rate-Limit-Problem": problem.capitalize()}
            if left_s is not None:
                headers["Retry-After"] = str(math.ceil(left_s))
            return 429, {"error": "rate_limited"}, headers
        org.inside += 1
        row["inside"] = org.inside
        try:
            await asyncio.sleep(org.latency_s)
            status, answer = self.answered(org, module, scope, body)
        finally:
            org.inside -= 1
        row |= {"status": status, "records": len(answer.get("rows", ())), "ended": time.monotonic()}
        return status, answer, self.headers(org)

    def answered(self, org: Org, module: str, scope: Message, body: bytes) -> tuple[int, Json]:
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        if headers.get("authorization") != "Bearer bench":
            return 401, {"error": "unauthorized"}
        if scope["method"] == "GET":
            query = {key: value[0] for key, value in parse_qs(scope["query_string"].decode()).items()}
            return 200, self.listed(org, module, query, headers.get("if-modified-since", ""))
        rows = json.loads(body)["rows"]
        if len(rows) > MOST_ROWS:
            return 400, {"error": "too_many"}
        return 200, {"rows": self.written(org, module, rows)}

    def control(self, method: str, parts: list[str], body: bytes) -> Any:
        given: Any = json.loads(body) if body else {}
        match method, parts:
            case "POST", ["reset"]:
                self.reset()
            case "GET", ["log"]:
                return {"log": self.log, "began": self.began, "window_s": self.window_s, "now": time.monotonic()}
            case "DELETE", ["log"]:
                self.log.clear()
            case "POST", [org, "limits"]:
                for key in ("minute", "day", "concurrent", "latency_s", "behind_s"):
                    if key in given:
                        setattr(self.org(org), key, given[key])
                self.app = given.get("app", self.app)
                self.window_s = given.get("window_s", self.window_s)
            case "POST", [org, "seed", module]:
                return [row["id"] for row in self.written(self.org(org), module, given)]
            case "PUT", [org, module, record_id]:
                return self.write(self.org(org), module, {**given, "id": record_id})
            case "GET", [org, "state"]:
                return {module: list(rows.values()) for module, rows in self.org(org).rows.items()}
            case _:
                raise ValueError(f"no such control: {method} {parts}")
        return {}


def _asks(scope: Message) -> str:
    """What a call is: "write", "list", or a look for records by "ids" or by "name"."""
    if scope["method"] != "GET":
        return "write"
    query = parse_qs(scope["query_string"].decode())
    return next((name for name in ("ids", "name") if name in query), "list")


def main() -> None:
    parser = argparse.ArgumentParser(description="The bench vendor.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--window-s", type=float, default=60.0)
    given = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", given.port), backlog=512)
    print(json.dumps({"base_url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
    config = uvicorn.Config(Bench(given.window_s), log_config=None, access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
