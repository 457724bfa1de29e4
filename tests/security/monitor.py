"""What clients send to a Redis server, as the server itself tells it (MONITOR)."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

_LINE = re.compile(r'^\+\d+\.\d+ \[\d+ (?P<who>\S+)\] (?P<words>".*")$')
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass
class Monitor:
    """`lines` are (client's address or "lua", command in upper case, the rest as shown), without our own."""

    lines: list[tuple[str, str, str]] = field(default_factory=list)

    def commands(self) -> set[str]:
        return {command for who, command, _ in self.lines if who != "lua"}

    def of_scripts(self) -> set[str]:
        return {command for who, command, _ in self.lines if who == "lua"}


@contextmanager
def monitoring(url: str) -> Iterator[Monitor]:
    """Everything from here to the end of the block. `url` is one with all rights."""
    given = httpx.URL(url)
    seen = Monitor()
    line = socket.create_connection((given.host, given.port or 6379), timeout=10)
    line.sendall(f"AUTH {given.password}\r\nMONITOR\r\n".encode())
    replies = line.makefile("rb")
    assert [replies.readline(), replies.readline()] == [b"+OK\r\n"] * 2
    line.settimeout(None)

    def read() -> None:
        for raw in replies:
            found = _LINE.match(raw.decode(errors="replace").rstrip("\r\n"))
            if found is not None:
                words = _WORD.findall(found["words"])
                seen.lines.append((found["who"], words[0].upper(), " ".join(words[1:])))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        line.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        replies.close()
        line.close()
