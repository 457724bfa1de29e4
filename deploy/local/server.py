"""What the embedded servers have in common: a locked data folder, a port, a password, and a child that dies with us."""

import os
import shutil
import signal
import socket
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from deploy.local import folder
from deploy.local.process import Child, LocalStackError, User, family, log_tail, send_signal, wait_until

_START_S = 60.0  # recovery after a kill under load has been seen to take seconds, never minutes
_STOP_S = 20.0
_PORT_TRIES = 3  # between the look for a free port and its use another process may take it


class EmbeddedServer(ABC):
    """A running server. `stop` is orderly and frees the folder; `kill`, `restart`, `freeze` are for fault tests."""

    what: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(self, data_dir: Path, durable: bool) -> None:
        """Use `start`."""
        self.data_dir = folder.data_folder(data_dir)
        self.durable = durable
        name = self.what.lower()
        self.log_path = self.data_dir / f"{name}.log"
        self.note: str | None = None  # a sentence for the person who runs it, when the data lies elsewhere
        self.port = 0
        self._child: Child | None = None
        self._lock = folder.FolderLock(self.data_dir, self.what)
        try:
            self._password = folder.kept_secret(self.data_dir / f"{name}.password")
            self._user: User | None = None
            self._home = self._prepare()
        except BaseException:
            self._lock.release()
            raise

    @classmethod
    def start(cls, data_dir: Path, *, durable: bool = True) -> Self:
        """A server on `data_dir`, with what it held before, ready for connections on a free port of 127.0.0.1.

        `durable=False` gives up power-loss safety for speed; a killed server still keeps what it acknowledged.
        Errors: LocalStackError when the folder is in use, the wheel is missing or the server does not come up.
        """
        server = cls(data_dir, durable)
        try:
            server._start_on_a_free_port()
        except BaseException:
            server.stop()
            raise
        return server

    @property
    @abstractmethod
    def url(self) -> str:
        """For clients; holds the password."""

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int:
        """Of the server's first process. Errors: LocalStackError when it was never started."""
        if self._child is None:
            raise LocalStackError(f"{self.what} was not started.")
        return self._child.pid

    def stop(self) -> None:
        """Shut down in order, by force after 20 s. Safe to call twice."""
        if self._child is not None:
            self._child.stop(self.stop_signal, _STOP_S)
        self._lock.release()

    def kill(self) -> None:
        """SIGKILL all its processes at once, as a crash of the machine would. The folder stays ours."""
        if self._child is not None:
            self._child.kill()

    def restart(self) -> None:
        """Kill it if it runs, then start again on the same port and data."""
        self.kill()
        self._launch()

    def freeze(self) -> None:
        """SIGSTOP all its processes, until `thaw`."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def destroy(self) -> None:
        """Kill it and remove its data, wherever that lies."""
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @abstractmethod
    def _prepare(self) -> Path:
        """Make ready what the server needs; returns the folder of its data."""

    @abstractmethod
    def _spawn(self) -> Child: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in [self.pid, *family(self.pid)]:
            send_signal(pid, number)

    def _start_on_a_free_port(self) -> None:
        for left in reversed(range(_PORT_TRIES)):
            self.port = folder.free_port()
            try:
                return self._launch()
            except LocalStackError:
                if left == 0 or not _is_taken(self.port):
                    raise

    def _launch(self) -> None:
        self._child = self._spawn()
        if not wait_until(lambda: self._answers() or not self.running, _START_S) or not self.running:
            self.kill()
            raise LocalStackError(f"{self.what} did not start: {log_tail(self.log_path)}")


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def bare_environment() -> dict[str, str]:
    """Nothing of ours: PGDATA, PGPORT and the like in it would bend the server."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
