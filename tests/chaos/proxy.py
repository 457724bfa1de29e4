"""A TCP proxy with an event loop in a thread of its own: cut, stall, delay, drop an answer, leave a line half open."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

CHUNK = 65_536

T = TypeVar("T")


@dataclass(eq=False)
class _Line:
    """One connection through the proxy: to whom it answers, and what stands behind."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    muted: bool = False


class Proxy:
    """Listens on a free port of 127.0.0.1 and passes on to `host:port`, as it is told. All methods may be called from
    any thread; they return once the change is in force.

    A stall keeps bytes and delivers them afterwards, as TCP does across a gap in the network. A half-open line loses
    them: the far end is gone and the near end is not told, until `heal`.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._target = (host, port)
        self.port = 0
        self.lines_made = 0
        self.struck = 0
        """How many connections, bytes or answers trouble has met since the last `heal`."""
        self._lines: set[_Line] = set()
        self._refuse = False
        self._delay_s = 0.0
        self._drop_reply: Callable[[bytes], bool] | None = None
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def start(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the proxy did not start")
        return self

    def stop(self) -> None:
        """Ends every connection. Safe to call twice."""
        if self._thread.is_alive():
            self._call(self._close)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def open_lines(self) -> int:
        return len(self._lines)

    # Trouble

    def cut(self, *, refuse: bool = False) -> int:
        """Resets every connection, and with `refuse` every new one until `heal`. How many there were."""

        async def do() -> int:
            self._refuse = self._refuse or refuse
            cut = list(self._lines)
            for line in cut:
                self._reset(line)
            self.struck += len(cut)
            return len(cut)

        return self._call(do)

    def stall(self) -> None:
        """A black hole: nothing passes, either way, nobody is told; new connections are taken and are as silent."""

        async def do() -> None:
            self._open.clear()

        self._call(do)

    def half_open(self) -> int:
        """The far end of each connection is closed; the near end learns nothing, and what it sends is lost."""

        async def do() -> int:
            for line in self._lines:
                line.muted = True
                _abort(line.far)
            self.struck += len(self._lines)
            return len(self._lines)

        return self._call(do)

    def delay(self, seconds: float) -> None:
        """Each piece, either way, waits so long."""

        async def do() -> None:
            self._delay_s = seconds

        self._call(do)

    def drop_reply(self, n: int = 1, where: Callable[[bytes], bool] | None = None) -> None:
        """The n-th answer from now (of those for which `where` is true) is lost, and its connection with it."""

        async def do() -> None:
            left = n

            def drops(answer: bytes) -> bool:
                nonlocal left
                if where is not None and not where(answer):
                    return False
                left -= 1
                if left == 0:
                    self._drop_reply = None
                return left == 0

            self._drop_reply = drops

        self._call(do)

    def heal(self) -> None:
        """Everything passes again. Half-open connections are reset: that is how their owners learn of it."""

        async def do() -> None:
            self._refuse, self._delay_s, self._drop_reply = False, 0.0, None
            for line in [line for line in self._lines if line.muted]:
                self._reset(line)
            self.struck = 0
            self._open.set()

        self._call(do)

    # The loop

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._open = asyncio.Event()
        self._open.set()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=512))
        self.port = self._server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        self._loop.close()

    def _call(self, do: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(10)

    async def _close(self) -> None:
        self._server.close()
        self._open.set()
        tasks = [task for line in self._lines for task in line.tasks]
        for line in list(self._lines):
            self._reset(line)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        if self._refuse:
            self.struck += 1
            _abort(near)
            return
        await self._gap()
        try:
            far_reader, far = await asyncio.open_connection(*self._target)
        except OSError:
            _abort(near)
            return
        line = _Line(near, far)
        self._lines.add(line)
        self.lines_made += 1
        line.tasks = [
            asyncio.create_task(self._carry(line, reader, far, answers=False)),
            asyncio.create_task(self._carry(line, far_reader, near, answers=True)),
        ]

    async def _carry(
        self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        try:
            while piece := await reader.read(CHUNK):
                await self._gap()
                if line.muted:
                    continue
                if self._delay_s:
                    self.struck += 1
                    await asyncio.sleep(self._delay_s)
                if answers and self._drop_reply is not None and self._drop_reply(piece):
                    self.struck += 1
                    self._reset(line)
                    return
                writer.write(piece)
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        if not line.muted or not answers:
            self._reset(line, gently=True)

    async def _gap(self) -> None:
        if not self._open.is_set():
            self.struck += 1
            await self._open.wait()

    def _reset(self, line: _Line, *, gently: bool = False) -> None:
        if line not in self._lines:
            return
        self._lines.discard(line)
        for writer in (line.near, line.far):
            if gently:
                writer.close()  # what was written still goes out
            else:
                _abort(writer)
        for task in line.tasks:
            if task is not asyncio.current_task():
                task.cancel()


def _abort(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN, as a machine does that knows nothing of the connection."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
