"""Trouble on request: which calls or webhook deliveries are to go wrong, how, and how often."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deploy.sandbox.jsonio import JsonObject

WEBHOOK_KINDS = frozenset({"webhook_lost", "webhook_doubled", "webhook_late", "webhook_reordered"})
CALL_KINDS = frozenset(
    {"429", "5xx", "latency", "reply_lost", "expired_token", "body_code", "malformed", "truncated_body", "bad_utf8"}
)
# These strike a page of a list of two rows or more, not a call.
PAGE_KINDS = frozenset({"short_page"})
KINDS = WEBHOOK_KINDS | CALL_KINDS | PAGE_KINDS
# These strike after the handler has run: the reply is what goes wrong.
ALWAYS_AFTER = frozenset({"reply_lost", "malformed", "truncated_body", "bad_utf8"})


# A reordered webhook is held back behind so many later ones, and no longer than this.
REORDERED_BY = (1, 3)
REORDERED_MS = 5000


class BadFault(ValueError):
    """A fault that cannot be understood."""


@dataclass(slots=True)
class Fault:
    """`count` strikes are left, or each match is struck with probability `share`."""

    id: int
    kind: str
    count: int | None
    share: float | None
    method: str | None
    path: re.Pattern[str] | None
    module: str | None
    event: str | None
    user: str | None
    ms: int
    status: int
    code: Any
    after: bool
    by: int | None = None
    retry_after_s: int | None = None
    struck: int = 0

    def concerns(self, method: str, path: str, user: Callable[[], str | None]) -> bool:
        if self.method not in (None, method) or (self.path and not self.path.search(path)):
            return False
        return self.user is None or self.user == user()

    def describe(self) -> JsonObject:
        return {
            "id": self.id, "kind": self.kind, "count": self.count, "share": self.share, "ms": self.ms, "by": self.by,
            "status": self.status, "code": self.code, "retry_after_s": self.retry_after_s,
            "applied": "after" if self.after else "before",
            "match": {"method": self.method, "path": self.path.pattern if self.path else None,
                      "module": self.module, "event": self.event, "user": self.user},
            "struck": self.struck,
        }  # fmt: skip


def _kind_and_status(given: JsonObject) -> tuple[str, int]:
    kind = str(given.get("kind", ""))
    status = int(given.get("status") or 0)
    if re.fullmatch(r"5\d\d", kind):
        return "5xx", int(kind)
    if kind not in KINDS:
        raise BadFault(f"unknown kind {kind!r}; there are {sorted(KINDS)}")
    return kind, status or {"429": 429, "5xx": 503}.get(kind, 200)


def _strikes(given: JsonObject) -> tuple[int | None, float | None]:
    count, share = given.get("count"), given.get("share")
    if share is None:
        return (1 if count is None else int(count)), None
    return (None if count is None else int(count)), float(share)


def parse_fault(number: int, given: JsonObject) -> Fault:
    """Shape: {kind, count | share, match: {method, path, module, event, user}, ms, by, status, code, retry_after_s,
    applied}."""
    kind, status = _kind_and_status(given)
    count, share = _strikes(given)
    match = given.get("match") or {}
    try:
        path = re.compile(match["path"]) if match.get("path") else None
    except re.error as error:
        raise BadFault(f"path is no regular expression: {error}") from error
    return Fault(
        id=number, kind=kind, count=count, share=share,
        method=str(match["method"]).upper() if match.get("method") else None, path=path,
        module=match.get("module"), event=match.get("event"), user=match.get("user"),
        ms=_ms(kind, given), by=_by(given),
        retry_after_s=None if given.get("retry_after_s") is None else int(given["retry_after_s"]),
        status=status, code=given.get("code"), after=kind in ALWAYS_AFTER or given.get("applied") == "after",
    )  # fmt: skip


def _ms(kind: str, given: JsonObject) -> int:
    default = REORDERED_MS if kind == "webhook_reordered" else 0
    return default if given.get("ms") is None else int(given["ms"])


def _by(given: JsonObject) -> int | None:
    by = given.get("by")
    if by is not None and int(by) < 1:
        raise BadFault("by is 1 or more")
    return None if by is None else int(by)


class FaultBook:
    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._last = 0
        self._random = random.Random(0)

    def add(self, given: Any) -> list[JsonObject]:
        wanted = given if isinstance(given, list) else [given]
        parsed = []
        for one in wanted:
            if not isinstance(one, dict):
                raise BadFault("a fault is an object")
            if "seed" in one:
                self._random.seed(one["seed"])
            self._last += 1
            parsed.append(parse_fault(self._last, one))
        self._faults.extend(parsed)
        return [fault.describe() for fault in parsed]

    def left(self) -> list[JsonObject]:
        return [fault.describe() for fault in self._faults]

    def clear(self) -> None:
        self._faults.clear()
        self._random.seed(0)

    def for_call(self, method: str, path: str, user: Callable[[], str | None]) -> list[Fault]:
        """The faults that strike this call: any latency, and at most one that spoils it."""
        if not self._faults:
            return []
        struck: list[Fault] = []
        for fault in list(self._faults):
            spoilt = any(other.kind != "latency" for other in struck)
            if fault.kind not in CALL_KINDS or (spoilt and fault.kind != "latency"):
                continue
            if fault.concerns(method, path, user) and self._strike(fault):
                struck.append(fault)
        return struck

    def for_page(self, method: str, path: str, user: Callable[[], str | None]) -> Fault | None:
        for fault in list(self._faults):
            if fault.kind in PAGE_KINDS and fault.concerns(method, path, user) and self._strike(fault):
                return fault
        return None

    def for_delivery(self, module: str, event: str) -> Fault | None:
        for fault in list(self._faults):
            if fault.kind not in WEBHOOK_KINDS or fault.module not in (None, module):
                continue
            if fault.event in (None, event) and self._strike(fault):
                return fault
        return None

    def by_of(self, fault: Fault) -> int:
        """Behind how many later ones a reordered delivery is held."""
        return fault.by if fault.by is not None else self._random.randint(*REORDERED_BY)

    def _strike(self, fault: Fault) -> bool:
        if fault.share is not None and self._random.random() >= fault.share:
            return False
        fault.struck += 1
        if fault.count is not None:
            fault.count -= 1
            if fault.count <= 0:
                self._faults.remove(fault)
        return True
