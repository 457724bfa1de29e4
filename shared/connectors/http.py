"""One httpx transport per connection and process: deadlines, the token, the budget, and errors that say what is known.

Nothing is ever repeated here but a call whose token was refused, since then nothing was applied (reliability.md 5).
Of httpx the client is left out: its redirects, cookies, authentication and hooks we have no use for, and they cost a
third of a call.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Self, TypeVar
from urllib.parse import quote, urlencode

import httpx
from pydantic import BaseModel, ValidationError

from shared.connectors import wire
from shared.connectors.base import CallClass
from shared.connectors.errors import Answer, ErrorRules, error_of, unclear
from shared.connectors.transport import DeadlineTransport, call_deadline
from shared.connectors.vendor import AccessToken, Limiter, TokenSource
from shared.correlation import request_id
from shared.errors import BothwaysError, RateLimited, RetryableError

log = logging.getLogger(__name__)

# httpx logs whole addresses (query values) at INFO, httpcore whole headers (tokens) at DEBUG.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)

_TIMEOUT = httpx.Timeout(connect=5.0, read=25.0, write=25.0, pool=5.0).as_dict()
_ALWAYS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
    "Connection": "keep-alive",
    "User-Agent": f"python-httpx/{httpx.__version__}",
}
_LEAST_SHARE = 0.05
"""Of a call's time: with less left, nothing is sent any more."""
_MOST_BODY_BYTES = 64_000_000
DEFAULT_BLOCK_S = 60.0
"""After a refusal of which neither the vendor nor its table of errors says how long it lasts."""
CONCURRENT_BLOCK_S = 1.0

# Raised before a byte of the request was on the wire.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)


class _NotSent(RetryableError):
    """The vendor was not reached: it cannot have counted the call."""


class VendorHttp:
    """Calls of one connection. `base_url` has no slash at its end; `org_query` goes with every call.

    Errors: RateLimited, RetryableError (nothing was sent, or a read failed), UnsureWrite (a write was sent and its
    answer did not come or could not be read), ConfigError, RecordRejected, Unavailable (the budget's Redis).
    """

    def __init__(
        self,
        *,
        base_url: str,
        tokens: TokenSource,
        limiter: Limiter,
        rules: ErrorRules,
        auth_scheme: str,
        call_class: CallClass = CallClass.RUN,
        limit_wait_s: float = 10.0,
        org_query: Sequence[tuple[str, str]] = (),
        call_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._base_url = base_url
        self._host = httpx.URL(base_url).netloc.decode()
        self._tokens = tokens
        self._limiter = limiter
        self._rules = rules
        self._auth_scheme = auth_scheme
        self._class = call_class
        self._limit_wait_s = limit_wait_s
        self._org_query = tuple(org_query)
        self._call_s = call_s
        self._least_s = call_s * _LEAST_SHARE
        self._transport = transport or DeadlineTransport()

    def with_class(self, cls: CallClass) -> Self:
        """The same connections and token, with calls that count for another class."""
        other = copy.copy(self)
        other._class = cls
        return other

    def naming_no_org(self) -> Self:
        """The same, for the calls that are of no org."""
        other = copy.copy(self)
        other._org_query = ()
        return other

    def close(self) -> None:
        self._transport.close()

    @property
    def rules(self) -> ErrorRules:
        return self._rules

    def call(
        self,
        method: str,
        template: str,
        *,
        path: Mapping[str, str] | None = None,
        query: Iterable[tuple[str, str]] = (),
        json: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """A successful answer with a readable body (or an empty one). `template` is logged, what fills it is not."""
        ends_at = time.monotonic() + self._call_s
        url = self._url(template, path or {}, query)
        content = None if json is None else wire.dumps(json)
        answer = self._attempt(method, template, url, content, headers or {}, ends_at)
        error = error_of(self._rules, answer, wire.leaves(json))
        if error is None and not answer.readable:
            error = unclear(self._rules.vendor, answer.is_write, "answered with a body that cannot be read")
        if isinstance(error, RateLimited):
            raise self._blocked(answer, error)
        if error is not None:
            raise error
        return answer

    def _url(self, template: str, path: Mapping[str, str], query: Iterable[tuple[str, str]]) -> str:
        filled = template.format_map({name: quote(value, safe="") for name, value in path.items()})
        encoded = urlencode([*query, *self._org_query], quote_via=quote)
        return f"{self._base_url}{filled}" + (f"?{encoded}" if encoded else "")

    def _attempt(
        self, method: str, template: str, url: str, content: bytes | None, headers: Mapping[str, str], ends_at: float
    ) -> Answer:
        token = self._tokens.token()
        answer = self._send(method, template, url, content, headers, token, ends_at)
        if not self._rules.token_refused(answer):
            return answer
        self._tokens.invalidate(token.version)
        return self._send(method, template, url, content, headers, self._tokens.token(), ends_at)

    def _send(
        self,
        method: str,
        template: str,
        url: str,
        content: bytes | None,
        headers: Mapping[str, str],
        token: AccessToken,
        ends_at: float,
    ) -> Answer:
        left = ends_at - time.monotonic()
        wait_s = max(0.0, min(self._limit_wait_s, left - self._least_s))
        taken = self._limiter.acquire(self._class, wait_s=wait_s, hold_s=max(0.0, left))
        sent, learnt = False, None
        try:
            if ends_at - time.monotonic() < self._least_s:
                raise RetryableError(f"The call to {self._rules.vendor} was not sent: signing in took its time.")
            request = _request(method, url, content, self._headers(headers, token))
            began = time.monotonic()
            sent = True
            result = self._exchange(request, method, ends_at)
            took_ms = round((time.monotonic() - began) * 1000)
            outcome = str(result.status) if isinstance(result, Answer) else type(result).__name__
            log.info("%s %s %s -> %s in %d ms", self._rules.vendor, method, template, outcome, took_ms)
            if isinstance(result, _NotSent):
                sent = False
            if not isinstance(result, Answer):
                raise result
            learnt = result.headers
            return result
        finally:
            self._limiter.release(taken, sent=sent, headers=learnt)

    def _headers(self, extra: Mapping[str, str], token: AccessToken) -> dict[str, str]:
        signed = f"{self._auth_scheme} {token.value.get_secret_value()}"
        headers = {"Host": self._host, **_ALWAYS, "Authorization": signed}
        if asked_by := request_id():
            headers["X-Request-Id"] = asked_by
        return headers | dict(extra)

    def _exchange(self, request: httpx.Request, method: str, ends_at: float) -> Answer | BothwaysError:
        """The failure is returned, not raised: raised here it would carry httpx's own, and with it the request."""
        is_write = method not in ("GET", "HEAD")
        try:
            with call_deadline(ends_at):
                return self._read(self._transport.handle_request(request), method)
        except _NOT_SENT as error:
            return _NotSent(f"{self._rules.vendor} could not be reached ({type(error).__name__}).")
        except httpx.HTTPError as error:
            return unclear(self._rules.vendor, is_write, f"did not answer ({type(error).__name__})")

    def _read(self, response: httpx.Response, method: str) -> Answer:
        headers = dict(response.headers.items())  # their names are lowered
        # As it came where it is not packed: httpx's way through it costs a tenth of a call.
        stream, packed = response.stream, "content-encoding" in headers
        chunks, size = [], 0
        try:
            for chunk in stream if isinstance(stream, httpx.SyncByteStream) and not packed else response.iter_bytes():
                chunks.append(chunk)
                size += len(chunk)
                if size > _MOST_BODY_BYTES:
                    return Answer(method, response.status_code, headers, None, readable=False)
        finally:
            response.close()
        body, readable = _parsed(b"".join(chunks))
        return Answer(method, response.status_code, headers, body, readable)

    def _blocked(self, answer: Answer, error: RateLimited) -> RateLimited:
        """Tells the budget, and says for how long; a reset header speaks of the short window only."""
        problem = answer.headers.get("x-rate-limit-problem", "")
        said = retry_after_s(answer.headers, datetime.now(UTC), resets=error.limit in ("", "per_minute"))
        otherwise_s = DEFAULT_BLOCK_S if error.retry_after_s is None else error.retry_after_s
        if error.limit == "concurrent":  # over as soon as a call ends
            otherwise_s = CONCURRENT_BLOCK_S
        error.limit, error.retry_after_s = self._limiter.block(
            limit=error.limit, problem=problem, said_s=said, otherwise_s=otherwise_s
        )
        return error


def _request(method: str, url: str, content: bytes | None, headers: dict[str, str]) -> httpx.Request:
    """By `stream`: else httpx looks four times for headers that it might add."""
    if content is not None:
        headers["Content-Type"] = "application/json"
    if content is not None or method in ("POST", "PUT"):
        headers["Content-Length"] = str(len(content or b""))
    stream, within = httpx.ByteStream(content or b""), {"timeout": _TIMEOUT}
    return httpx.Request(method, _address(url), stream=stream, headers=headers, extensions=within)


@lru_cache(maxsize=64)
def _address(url: str) -> httpx.URL:
    """Those of creates and of lists come again and again, and reading one takes as long as reading an answer."""
    return httpx.URL(url)


_M = TypeVar("_M", bound=BaseModel)


def parsed(rules: ErrorRules, model: type[_M], answer: Answer) -> _M:
    """A success's body as `model`. Another shape is trouble of the vendor's; what was in it is not shown."""
    try:
        return model.model_validate(answer.body)
    except ValidationError:
        pass
    raise unclear(rules.vendor, answer.is_write, "answered with a body of another shape")


def _parsed(content: bytes) -> tuple[wire.JsonObject | None, bool]:
    if not content.strip():
        return None, True
    try:
        body = wire.loads(content)
    except ValueError:
        return None, False
    return (body, True) if isinstance(body, dict) else (None, False)


_MOST_WAIT_S = 86_400.0
_EPOCH_FROM = 1_000_000_000
_EPOCH_MS_FROM = 1_000_000_000_000


def retry_after_s(headers: Mapping[str, str], now: datetime, *, resets: bool = True) -> float | None:
    """Seconds to wait by `Retry-After`, else (`resets`) by a reset header; None where there is neither.

    The unit of the vendor's reset headers is not documented: small figures are taken as seconds, large ones as a
    time since 1970 (seconds or milliseconds).
    """
    for name in ("retry-after", "x-rate-limit-reset", "x-ratelimit-reset") if resets else ("retry-after",):
        seconds = _seconds(headers.get(name, ""), now)
        if seconds is not None:
            return min(max(seconds, 0.0), _MOST_WAIT_S)
    return None


def _seconds(value: str, now: datetime) -> float | None:
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) < 16:
        figure = float(value)
        if figure >= _EPOCH_MS_FROM:
            return figure / 1000 - now.timestamp()
        return figure - now.timestamp() if figure >= _EPOCH_FROM else figure
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now.timestamp()
