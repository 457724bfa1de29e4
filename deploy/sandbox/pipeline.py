"""One call from arrival to answer: faults, identity, limits, handler, faults again, call log."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass

from deploy.sandbox.calls import Call
from deploy.sandbox.faults import Fault
from deploy.sandbox.messages import Answer, Refusal, Request
from deploy.sandbox.poison import with_bad_utf8
from deploy.sandbox.vendor import Vendor
from deploy.sandbox.waits import Ended

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


@dataclass(slots=True)
class Served:
    """A call that has been carried out, or not, and is not answered yet. Without an answer the connection is cut."""

    vendor: Vendor
    call: Call
    era: int
    answer: Answer | None = None

    def ended(self, replied: bool) -> None:
        """Into the log, which a reset in the meantime has closed to this call."""
        self.call.replied = replied
        if self.era == self.vendor.era:
            self.vendor.calls.add(self.call)


async def serve(vendor: Vendor, request: Request) -> Served:
    """The caller sends the answer, then says so with `ended`."""
    started = time.perf_counter()
    request.request_id = request.headers.get("x-request-id") or uuid.uuid4().hex
    call = Call(
        request.request_id, time.time() * 1000, request.method, request.path, request.query, request.write
    )  # fmt: skip
    served = Served(vendor, call, vendor.era)
    strike = _Strike.of(vendor.faults.for_call(request.method, request.path, lambda: vendor.user_of(request)))
    try:
        served.answer = await _answer(vendor, request, strike)
    except (ReplyLost, Ended):
        pass
    except Exception:
        served.ended(replied=False)
        raise
    finally:
        call.ms = (time.perf_counter() - started) * 1000
        call.status = served.answer.status if served.answer else 0
        call.module, call.record, call.inner = request.module, request.record, request.inner
        call.applied = request.applied
        call.fault = strike.name or request.fault
        call.user = request.caller.user if request.caller else None
    return served


async def _answer(vendor: Vendor, request: Request, strike: _Strike) -> Answer:
    try:
        if strike.before:
            await vendor.waits.wait(strike.before_ms)
            answer = _spoilt(vendor, request, strike.before)
            await vendor.waits.wait(strike.after_ms)
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
    await vendor.waits.wait(strike.before_ms or (ALONE_MS if vendor.limits.settings.get("concurrent") else 0))
    try:
        answer = vendor.handle(request)
    except Refusal as refusal:
        answer = refusal.answer
    await vendor.waits.wait(strike.after_ms)
    return answer


def _spoilt(vendor: Vendor, request: Request, fault: Fault, answer: Answer | None = None) -> Answer:
    if fault.kind in REPLIES:
        return _spoilt_reply(vendor, fault, answer or Answer(200))
    if fault.kind == "429":
        return _later(fault, vendor.over_limit(fault.code if fault.code in ("day", "concurrent") else "minute"))
    if fault.kind == "expired_token":
        vendor.end_token(request)
        return vendor.token_error()
    if fault.kind == "body_code":
        return vendor.body_error(fault)
    return _later(fault, vendor.server_error(fault.status))


REPLIES = frozenset({"reply_lost", "malformed", "truncated_body", "bad_utf8"})


def _spoilt_reply(vendor: Vendor, fault: Fault, answer: Answer) -> Answer:
    """What was answered, damaged on its way."""
    if fault.kind == "reply_lost" or (fault.kind == "truncated_body" and not answer.body):
        raise ReplyLost
    half = max(1, len(answer.body) // 2)
    if fault.kind == "truncated_body":
        answer.sent_bytes = half
        return answer
    if fault.kind == "bad_utf8":
        names = (str(fault.code),) if fault.code else vendor.text_fields
        return Answer(answer.status, with_bad_utf8(answer.body, names), answer.headers, answer.content_type)
    return Answer(answer.status, answer.body[:half] or b'{"code":')


def _later(fault: Fault, answer: Answer) -> Answer:
    """Neither vendor is known to send Retry-After: only when the fault asks for it."""
    if fault.retry_after_s is not None:
        answer.headers["Retry-After"] = str(fault.retry_after_s)
    return answer
