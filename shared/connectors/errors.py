"""How a vendor's answer becomes an error of ours: each vendor's errors.py is a table of `Rule`s, read here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Protocol

from shared.connectors.wire import JsonObject, scrub
from shared.errors import BothwaysError, ConfigError, RateLimited, RecordRejected, RetryableError, UnsureWrite


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers` keys are lower case. `body` None: empty, or no JSON object (`readable` False then)."""

    method: str
    status: int
    headers: Mapping[str, str]
    body: JsonObject | None
    readable: bool = True

    @property
    def at(self) -> datetime | None:
        """The vendor's clock as it answered (`Date`), aware UTC."""
        try:
            told = parsedate_to_datetime(self.headers.get("date", ""))
        except (ValueError, TypeError):
            return None
        return told.astimezone(UTC) if told.tzinfo else told.replace(tzinfo=UTC)

    @property
    def is_write(self) -> bool:
        return self.method not in ("GET", "HEAD")


class Kind(StrEnum):
    RATE_LIMITED = "rate_limited"
    CONFIG = "config"
    REJECTED = "rejected"
    INTERNAL = "internal"
    """The vendor failed: nobody knows whether a write was applied."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Where it fits, the answer is an error of `kind`; None fits all. `phrase` is looked for in the message.

    `reason` is our code: one of sync.reasons for REJECTED. `retry_after_s` is used where no header says more. `limit`
    is the name of the limit that a RATE_LIMITED speaks of.
    """

    kind: Kind
    reason: str
    status: int | None = None
    code: str | None = None
    phrase: str | None = None
    retry_after_s: float | None = None
    limit: str = ""

    def fits(self, status: int, code: str, message: str) -> bool:
        return (
            self.status in (None, status)
            and self.code in (None, code)
            and (self.phrase is None or self.phrase in message.lower())
        )


@dataclass(frozen=True, slots=True)
class Complaint:
    """What the vendor said is wrong: `code` and `message` as text, empty where it said nothing."""

    code: str
    message: str


class ErrorRules(Protocol):
    """A vendor's half of reading errors."""

    @property
    def vendor(self) -> str: ...

    @property
    def table(self) -> Sequence[Rule]: ...

    def complaint(self, answer: Answer) -> Complaint | None:
        """None where the answer is a success by status and body."""
        ...

    def token_refused(self, answer: Answer) -> bool:
        """The access token is not (or no longer) valid; nothing was applied."""
        ...


_LAST = (
    Rule(Kind.RATE_LIMITED, "RATE_LIMITED", status=429, retry_after_s=60),
    Rule(Kind.CONFIG, "SIGN_IN_REFUSED", status=401),
    Rule(Kind.CONFIG, "SCOPE_MISSING", status=403),
)


def error_of(rules: ErrorRules, answer: Answer, sent: Iterable[object] = ()) -> BothwaysError | None:
    """The error that an answer stands for, None for a success. An unknown 4xx is RecordRejected, never a retry."""
    if answer.status >= 500 or 300 <= answer.status < 400:
        return unclear(rules.vendor, answer.is_write, f"answered HTTP {answer.status}")
    complaint = rules.complaint(answer)
    if complaint is None:
        return None
    if answer.status == 404 and not answer.readable:
        # A gateway's page, not the vendor's word that the record is gone.
        return unclear(rules.vendor, answer.is_write, "answered HTTP 404 with a body that cannot be read")
    rule = _rule_for(rules, answer.status, complaint)
    return _made(rules.vendor, rule, answer, complaint, sent)


def complaint_error(
    rules: ErrorRules, complaint: Complaint, *, status: int, answer: Answer, sent: Iterable[object]
) -> BothwaysError:
    """The error of one element of a batch answer."""
    return _made(rules.vendor, _rule_for(rules, status, complaint), answer, complaint, sent)


def _rule_for(rules: ErrorRules, status: int, complaint: Complaint) -> Rule:
    for rule in (*rules.table, *_LAST):
        if rule.fits(status, complaint.code, complaint.message):
            return rule
    return Rule(Kind.REJECTED, "VENDOR_REJECTED")


def _made(vendor: str, rule: Rule, answer: Answer, complaint: Complaint, sent: Iterable[object]) -> BothwaysError:
    said = f"HTTP {answer.status}, code {scrub(complaint.code) or 'none'}"
    match rule.kind:
        case Kind.RATE_LIMITED:
            return RateLimited(
                f"{vendor} accepts no more calls for now ({said}).", retry_after_s=rule.retry_after_s, limit=rule.limit
            )
        case Kind.INTERNAL:
            return unclear(vendor, answer.is_write, f"failed inside ({said})")
        case Kind.CONFIG:
            return ConfigError(f"{vendor} refused the call ({said}): {_what_to_do(rule.reason)}", code=rule.reason)
        case Kind.REJECTED:
            return RecordRejected(
                f"{vendor} refused the record ({said}).",
                code=rule.reason,
                vendor_code=scrub(complaint.code),
                vendor_message=scrub(complaint.message, sent),
            )


def _what_to_do(reason: str) -> str:
    return "connect again and grant every scope." if reason == "SCOPE_MISSING" else "connect again."


def unclear(vendor: str, is_write: bool, what: str) -> BothwaysError:
    """The vendor's trouble after the call was sent: a read may be repeated, a write must be looked for first."""
    if is_write:
        return UnsureWrite(f"{vendor} {what}; the write may or may not have been applied.")
    return RetryableError(f"{vendor} {what}.")
