"""What one call is made of: the request as the vendors see it, the answer, and a refusal on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from deploy.sandbox import jsonio


@dataclass(slots=True)
class Caller:
    """Who a token speaks for: the user who granted it, and what was granted (lower case)."""

    user: str
    scopes: frozenset[str]
    token: str


@dataclass(slots=True)
class Request:
    """`path` starts after the vendor's own prefix; header names are lower case; `base_url` has no closing slash."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    base_url: str
    request_id: str = ""
    params: dict[str, str] = field(default_factory=dict)
    caller: Caller | None = None
    # What the handler tells the call log; `fault` is one that struck within it, `inner` what lives inside the record.
    fault: str | None = None
    module: str | None = None
    record: str | None = None
    inner: str | None = None
    applied: bool = False

    @property
    def write(self) -> bool:
        return self.method != "GET"

    def touch(self, module: str, record: str | None, applied: bool = False) -> None:
        self.module, self.record = module, record
        self.applied = self.applied or applied


@dataclass(slots=True)
class Answer:
    """After `sent_bytes` of the body the connection ends; None sends all of it."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json;charset=UTF-8"
    sent_bytes: int | None = None

    @classmethod
    def of(cls, value: object, status: int = 200) -> Answer:
        return cls(status, jsonio.dumps(value))


class Refusal(Exception):
    """Ends a handler with the vendor's own words."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


Handler = Callable[[Request], Answer]
