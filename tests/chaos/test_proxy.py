"""The proxy does to connections what it says, and nothing else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.chaos.proxy import Proxy
from tests.e2e.world import await_that


class Echo:
    """A server that sends back what it is sent, and remembers it."""

    def __init__(self) -> None:
        self.heard = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while piece := connection.recv(1024):
                    self.heard += piece
                    connection.sendall(piece)
            except OSError:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.port) as proxy:
        yield proxy


@pytest.fixture
def line(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection:
        connection.sendall(b"hello")
        assert connection.recv(100) == b"hello"
        yield connection


def is_silent(connection: socket.socket) -> bool:
    connection.settimeout(0.2)
    try:
        connection.recv(100)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(5)
    return False


def test_cut_resets_what_is_open_and_refuses_what_is_new(proxy: Proxy, line: socket.socket) -> None:
    assert proxy.cut(refuse=True) == 1
    with pytest.raises(ConnectionResetError):
        line.recv(100)
    # The reset may come while it still connects.
    with (
        pytest.raises(ConnectionResetError),
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as second,
    ):
        second.recv(100)
    assert proxy.struck == 2
    proxy.heal()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as third:
        third.sendall(b"again")
        assert third.recv(100) == b"again"


def test_a_stall_keeps_what_is_sent_and_delivers_it_afterwards(proxy: Proxy, line: socket.socket, echo: Echo) -> None:
    proxy.stall()
    line.sendall(b" there")
    assert is_silent(line)
    assert echo.heard == b"hello"
    assert proxy.struck
    proxy.heal()
    assert line.recv(100) == b" there"
    assert echo.heard == b"hello there"


def test_a_half_open_line_loses_what_is_sent_and_tells_nobody(proxy: Proxy, line: socket.socket, echo: Echo) -> None:
    assert proxy.half_open() == 1
    line.sendall(b" there")
    assert is_silent(line)
    assert echo.heard == b"hello"
    proxy.heal()
    with pytest.raises(ConnectionResetError):
        line.recv(100)


def test_a_dropped_answer_was_carried_out(proxy: Proxy, line: socket.socket, echo: Echo) -> None:
    proxy.drop_reply(2, lambda answer: answer.startswith(b"x"))
    for piece in (b"a", b"x1", b"b"):
        line.sendall(piece)
        assert line.recv(100) == piece
    line.sendall(b"x2")
    with pytest.raises(ConnectionResetError):
        line.recv(100)
    await_that(lambda: echo.heard == b"helloax1bx2", "the server heard it all")
    assert proxy.struck == 1


def test_a_delay_makes_everything_late(proxy: Proxy, line: socket.socket) -> None:
    proxy.delay(0.5)
    line.sendall(b" there")
    assert is_silent(line)
    assert line.recv(100) == b" there"


def test_a_far_end_that_closes_closes_the_near_one(proxy: Proxy, line: socket.socket) -> None:
    line.shutdown(socket.SHUT_WR)
    assert line.recv(100) == b""
    await_that(lambda: proxy.open_lines == 0, "the line is gone")
