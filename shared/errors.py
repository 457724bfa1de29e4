"""The error tree, split by who must act.

    BothwaysError
    ├── RetryableError      time: 429, 5xx before the write was sent, timeouts of reads
    ├── UnsureWrite         we look first: the vendor may or may not have applied a write
    ├── OrgHeld             time, not an attempt: another run or an import holds the org
    ├── LeaseLost           nobody: whoever took over goes on, this worker writes nothing more
    ├── SkipRecord          nobody: the record is outside what is synced
    ├── RecordRejected      whoever edits that record: it goes into the failure log
    ├── RunStopped          a guard: the run ends
    ├── ConfigError         an admin: sign-in, scope, setting; the connection is marked
    ├── Unauthenticated     whoever calls the API: a token is missing or no longer good
    ├── NotAllowed          an admin: the token's role or permissions
    ├── Throttled           time: too many bad tokens from one address
    └── Unavailable         an operator: Postgres or Redis cannot be reached

Anything else that is raised is a bug. Messages carry ids and codes, never field values or secrets.
"""

from __future__ import annotations

from datetime import datetime


class BothwaysError(Exception):
    """Root: `code` is stable and machine-readable, `str()` is a sentence that a user can act on."""

    code = "ERROR"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class RetryableError(BothwaysError):
    """Try again in `retry_after_s` seconds (None: the caller's own backoff). Nothing was written."""

    code = "RETRY_LATER"

    def __init__(self, message: str, *, retry_after_s: float | None = None, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class RateLimited(RetryableError):
    """The vendor's limit, or our own budget of it, is used up for `retry_after_s` seconds.

    `limit` names it as the connector declares it (per_minute, per_day, concurrent …); "" where nobody said.
    """

    code = "RATE_LIMITED"

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, code: str | None = None, limit: str = ""
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s, code=code)
        self.limit = limit


class UnsureWrite(BothwaysError):
    """A write was sent and its answer did not come (timeout, cut connection, 5xx): reconcile first."""

    code = "IN_DOUBT"


class OrgHeld(BothwaysError):
    """Another holder has one of the orgs; `holder` names it in words, `since` is aware UTC."""

    code = "ORG_HELD"

    def __init__(self, message: str, *, holder: str, since: datetime) -> None:
        super().__init__(message)
        self.holder = holder
        self.since = since


class LeaseLost(BothwaysError):
    """The lease ended or was taken over; what was not committed must be dropped."""

    code = "LEASE_LOST"


class SkipRecord(BothwaysError):
    code = "SKIPPED"


class RecordRejected(BothwaysError):
    """The vendor, or a rule of ours, refuses this record; `vendor_message` is scrubbed text of the vendor."""

    code = "VENDOR_REJECTED"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        vendor_code: str | None = None,
        vendor_message: str | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.vendor_code = vendor_code
        self.vendor_message = vendor_message


class RunStopped(BothwaysError):
    """`disables`: the integration stops as well, until support lets it go on (ST-4)."""

    code = "RUN_STOPPED"

    def __init__(self, message: str, *, code: str | None = None, disables: bool = False) -> None:
        super().__init__(message, code=code)
        self.disables = disables


class ConfigError(BothwaysError):
    code = "CONFIG"


class ConnectionBroken(ConfigError):
    """The vendor no longer accepts our grant: a person must connect again."""

    code = "CONNECTION_BROKEN"


class NotFound(BothwaysError):
    code = "NOT_FOUND"


class Refused(BothwaysError):
    """A rule forbids what was asked for now; the sentence names the rule and what to do."""

    code = "REFUSED"


class Unauthenticated(BothwaysError):
    """Nobody that we know: no token, or one that is unknown, ended or revoked."""

    code = "BAD_TOKEN"


class NotAllowed(BothwaysError):
    """`permission` is the one that is missing."""

    code = "NOT_ALLOWED"

    def __init__(self, permission: str) -> None:
        super().__init__(f"This needs the permission {permission!r}, which you do not have. Ask an admin for it.")
        self.permission = permission


class Throttled(BothwaysError):
    code = "TOO_MANY_TRIES"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class WebhookRefused(BothwaysError):
    """`status` is the HTTP status for the door: 401 bad signature, 400 unreadable body, 413 too large."""

    code = "WEBHOOK_REFUSED"

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class Unavailable(BothwaysError):
    """Postgres or Redis does not answer; `retry_after_s` is a hint for the caller."""

    code = "UNAVAILABLE"

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
