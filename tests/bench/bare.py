"""The vendor calls alone: a loop of httpx on so many threads. No product could make the same calls sooner in Python."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import httpx

Call = Callable[[httpx.Client], httpx.Response]


def seconds(calls: Iterator[Call], threads: int) -> float:
    """From the first call to the last answer. Raises what a call raised, and on an answer that is no success."""
    lock = threading.Lock()
    errors: list[Exception] = []

    def work(http: httpx.Client) -> None:
        try:
            while not errors:
                with lock:
                    call = next(calls, None)
                if call is None:
                    return
                call(http).raise_for_status().json()
        except Exception as error:  # noqa: BLE001  raised below, where it is waited for
            errors.append(error)

    with httpx.Client(timeout=30, trust_env=False) as http:
        workers = [threading.Thread(target=work, args=(http,)) for _ in range(threads)]
        began = time.monotonic()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        took_s = time.monotonic() - began
    if errors:
        raise errors[0]
    return took_s
