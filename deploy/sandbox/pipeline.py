"""One call from arrival to answer: faults, identity, limits, handler, faults again, call log."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass

from deploy.sandbox.calls import Call
from deploy.sandbox.faults import Fault
from deploy.sandbox.messages import Answer, Refusal, Request
from deploy.sandbox.vendor import Vendor

ALONE_MS = 5


class ReplyLost(Exception):
    """The connection is to be cut without an answer."""


@dataclass(slots=True)
class _Strike:
    """The faults that hit one call, sorted by when they act."""

    before_ms: int
    after_ms: int
    before: Fault | None
    after: Fault | None

    @classmethod
    def of(cls, faults: list[Fault]) -> _Strike:
        slow = [fault for fault in faults if fault.kind == "latency"]
        spoils = [fault for fault in faults if fault.kind != "latency"]
        return cls(
            sum(fault.ms for fault in slow if not fault.after),
            sum(fault.ms for fault in slow if fault.after),
            next((fault for fault in spoils if not fault.after), None),
            next((fault for fault in spoils if fault.after), None),
        )

    @property
    def name(self) -> str | None:
        fault = self.before or self.after
        return fault.kind if fault else ("latency" if self.before_ms or self.after_ms else None)


async def serve(vendor: Vendor, request: Request) -> Answer:
    """Raises ReplyLost when the caller is to get nothing at all."""
    started, at = time.perf_counter(), time.time() * 1000
    request.request_id = request.headers.get("x-request-id") or uuid.uuid4().hex
    seq = vendor.calls.next_seq()
    strike = _Strike.of(vendor.faults.for_call(request.method, request.path, lambda: vendor.user_of(request)))
    status = 0
    try:
        answer = await _answer(vendor, request, strike)
        status = answer.status
        return answer
    finally:
        ms = (time.perf_counter() - started) * 1000
        user = request.caller.user if request.caller else None
        vendor.calls.add(
            Call(seq, request.request_id, at, request.method, request.path, request.query, status, ms, request.module,
                 request.record, request.write, request.applied, strike.name, user)
        )  # fmt: skip


async def _answer(vendor: Vendor, request: Request, strike: _Strike) -> Answer:
    try:
        if strike.before:
            await _wait(strike.before_ms)
            answer = _spoilt(vendor, request, strike.before)
        else:
            vendor.identify(request)
            answer = await _limited(vendor, request, strike)
    except Refusal as refusal:
        answer = refusal.answer
    if strike.after:
        answer = _spoilt(vendor, request, strike.after, answer)
    answer.headers.setdefault("x-request-id", request.request_id)
    answer.headers["date"] = vendor.clock.http_date()
    return answer


async def _limited(vendor: Vendor, request: Request, strike: _Strike) -> Answer:
    key = vendor.limit_key(request)
    verdict = vendor.limits.enter(key)
    if verdict.exceeded:
        answer = vendor.over_limit(verdict.exceeded)
    else:
        try:
            answer = await _slowly(vendor, request, strike)
        finally:
            vendor.limits.leave(key)
    answer.headers.update(vendor.limit_headers(verdict))
    return answer


async def _slowly(vendor: Vendor, request: Request, strike: _Strike) -> Answer:
    """Slow calls count among those at once. With that limit on a call takes some time, else no two ever meet."""
    await _wait(strike.before_ms or (ALONE_MS if vendor.limits.settings.get("concurrent") else 0))
    try:
        answer = vendor.handle(request)
    except Refusal as refusal:
        answer = refusal.answer
    await _wait(strike.after_ms)
    return answer


async def _wait(ms: int) -> None:
    if ms:
        await asyncio.sleep(ms / 1000)


def _spoilt(vendor: Vendor, request: Request, fault: Fault, answer: Answer | None = None) -> Answer:
    if fault.kind == "reply_lost":
        raise ReplyLost
    if fault.kind == "malformed":
        body = answer.body if answer else b""
        return Answer(answer.status if answer else 200, body[: max(1, len(body) // 2)] or b'{"code":')
    if fault.kind == "429":
        return _later(fault, vendor.over_limit(fault.code if fault.code in ("day", "concurrent") else "minute"))
    if fault.kind == "expired_token":
        vendor.end_token(request)
        return vendor.token_error()
    if fault.kind == "body_code":
        return vendor.body_error(fault)
    return _later(fault, vendor.server_error(fault.status))


def _later(fault: Fault, answer: Answer) -> Answer:
    """Neither vendor is known to send Retry-After: only when the fault asks for it."""
    if fault.retry_after_s is not None:
        answer.headers["Retry-After"] = str(fault.retry_after_s)
    return answer
