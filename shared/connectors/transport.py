"""An httpx transport whose every socket operation ends at the call's deadline.

httpx bounds each read, not the whole: an answer that trickles in byte by byte could hold a thread for ever, and
a thread has no time limit of its own (reliability.md, decision 3). Here the remaining time of the call caps each
connect, read and write.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import httpcore
import httpx

from shared.points import at

_deadline: ContextVar[float | None] = ContextVar("call_deadline", default=None)


@contextmanager
def call_deadline(at: float) -> Iterator[None]:
    """Within it, no socket operation of this thread outlives `at` (time.monotonic seconds)."""
    token = _deadline.set(at)
    try:
        yield
    finally:
        _deadline.reset(token)


def _capped(timeout: float | None, error: type[Exception]) -> float | None:
    at = _deadline.get()
    if at is None:
        return timeout
    left = at - time.monotonic()
    if left <= 0:
        raise error("the call's deadline has passed")
    return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner
        self._unanswered = False

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._unanswered:
            self._unanswered = False
            at("request.sent")
        return self._inner.read(max_bytes, _capped(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _capped(timeout, httpcore.WriteTimeout))
        self._unanswered = self._unanswered or not buffer.startswith(b"GET ")  # that of a write

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        capped = _capped(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, capped))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        capped = _capped(timeout, httpcore.ConnectTimeout)
        return _Stream(super().connect_tcp(host, port, capped, local_address, socket_options))


@cache
def _ssl_context() -> ssl.SSLContext:
    """One for the process: reading the root certificates takes some 20 ms."""
    return httpx.create_ssl_context(trust_env=False)


class DeadlineTransport(httpx.HTTPTransport):
    """HTTP/1.1, no retries, no proxy from the environment; only the pool differs from httpx's own."""

    def __init__(self, *, connections: int = 10) -> None:
        super().__init__(verify=_ssl_context(), retries=0, trust_env=False)
        self._pool.close()
        self._pool = httpcore.ConnectionPool(
            ssl_context=_ssl_context(),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=5.0,
            retries=0,
            network_backend=_Backend(),
        )
