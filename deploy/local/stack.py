"""The whole product on one machine: `python -m deploy.local.stack`, or `Stack.start(StackOptions(...))`. Linux only."""

import argparse
import base64
import http.client
import json
import logging
import os
import secrets
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from deploy.local import folder
from deploy.local.postgres import PostgresServer
from deploy.local.process import LocalStackError, log_tail
from deploy.local.server import EmbeddedServer
from deploy.local.supervisor import Process, Spec, StopAskedError, Supervisor
from deploy.local.valkey import ValkeyServer

log = logging.getLogger(__name__)

CELERY = ("celery", "-A", "workers.app")
WORKER_STOP_S = 45.0  # a worker ends its open pushes within 30 s


@dataclass(frozen=True)
class Worker:
    """A worker process. Queues that must not starve each other have workers of their own."""

    name: str
    queues: tuple[str, ...]
    threads: int = 4

    def command(self) -> tuple[str, ...]:
        """What runs after `python -m`; docker-compose.yml must say the same, and a test compares them."""
        pool = ("-P", "threads", "--without-gossip", "--without-mingle", "-c", str(self.threads))
        # INFO, for that is the level at which a worker says that it is ready.
        return (*CELERY, "worker", "-l", "INFO", *pool, "-Q", ",".join(self.queues), "-n", f"{self.name}@%h")


DEFAULT_WORKERS = (
    Worker("worker-events", ("events",), threads=8),
    Worker("worker-control", ("runs", "results", "housekeeping")),
)


@dataclass(frozen=True)
class StackOptions:
    """Ports that are None are found. `restart=False` is for tests that kill things and watch what follows."""

    data_dir: Path = Path(".bothways")
    sandbox: bool = False
    sandbox_args: tuple[str, ...] = ()
    beat: bool = True
    flower: bool = True
    workers: tuple[Worker, ...] = DEFAULT_WORKERS
    api_port: int | None = None
    flower_port: int | None = None
    sandbox_port: int | None = None
    durable: bool = True
    restart: bool = True
    restart_servers: bool = True
    env: Mapping[str, str] = field(default_factory=dict)
    """Settings for the processes, before those of our own environment."""
    ready: Mapping[str, Callable[[Process], bool]] = field(default_factory=dict)
    """Readiness checks by process name, in place of the usual ones; the name `worker` stands for every worker."""
    ready_timeout_s: float = 60.0
    worker_stop_s: float = WORKER_STOP_S
    orphans_grace_s: float = 10.0
    """How long the processes may take to end by themselves when this one is killed."""


class ServerUnit:
    """An embedded server, as the supervisor sees it."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.name = server.what
        self.wanted = True
        self._server = server

    @property
    def running(self) -> bool:
        return self._server.running

    def start_again(self) -> None:
        self._server.restart()


class Stack:
    """A running stack. Use `start`; `stop` ends everything it started, the servers last."""

    def __init__(
        self, options: StackOptions, stop_asked: threading.Event | None = None, hurry: threading.Event | None = None
    ) -> None:
        """Use `start`."""
        self.options = options
        self.data_dir = folder.data_folder(options.data_dir)
        self.postgres: PostgresServer | None = None
        self.valkey: ValkeyServer | None = None
        self.sandbox: dict[str, Any] = {}
        self.flower_user = "bothways"
        self.flower_password = ""
        self._env: dict[str, str] = {}
        self._units: list[ServerUnit] = []
        self._stopped = threading.Event()
        self._lock = folder.FolderLock(self.data_dir, "Bothways")
        self._supervisor = Supervisor(
            self.data_dir / "logs", orphans_grace_s=options.orphans_grace_s, stop_asked=stop_asked, hurry=hurry
        )
        self._api_port = options.api_port or folder.free_port()
        self._flower_port = options.flower_port or folder.free_port()

    @classmethod
    def start(
        cls,
        options: StackOptions | None = None,
        *,
        stop_asked: threading.Event | None = None,
        hurry: threading.Event | None = None,
    ) -> Self:
        """Everything up and ready. Errors: LocalStackError with a sentence; what was started is stopped again.

        Setting `stop_asked` while it starts makes it give up (StopAskedError); afterwards it ends `wait`. Once `hurry`
        is set, `stop` kills instead of waiting. Both may be set by a signal handler.
        """
        stack = cls(options or StackOptions(), stop_asked, hurry)
        try:
            stack._start()
        except BaseException:
            stack.stop()
            raise
        return stack

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self._api_port}"

    @property
    def flower_url(self) -> str:
        return f"http://127.0.0.1:{self._flower_port}"

    @property
    def processes(self) -> dict[str, Process]:
        """By name: api, beat, flower, sandbox and each worker. The servers are `postgres` and `valkey`."""
        return self._supervisor.processes

    @property
    def env(self) -> dict[str, str]:
        """What every process is given, for a test that starts one of its own. Holds secrets."""
        return dict(self._env)

    def add_worker(self, worker: Worker) -> Process:
        """Start one more worker, and wait until it is ready."""
        process = self._supervisor.add(self._worker_spec(worker))
        process.start()
        process.wait_ready(self._supervisor.stop_asked)
        return process

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until a stop is asked for; False when the time ran out first."""
        return self._supervisor.stop_asked.wait(timeout_s)

    def stop(self) -> None:
        """Beat first, so nothing new begins; then workers, api, flower, sandbox; servers last. Safe to call twice."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._env_file.unlink(missing_ok=True)
        for unit in self._units:
            unit.wanted = False
        workers = [name for name in self.processes if name not in ("api", "beat", "flower", "sandbox")]
        try:
            self._supervisor.stop([["beat"], workers, ["api"], ["flower"], ["sandbox"]])
        finally:
            for server in (self.valkey, self.postgres):
                if server is not None:
                    server.stop()
            self._supervisor.close()
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _start(self) -> None:
        self._env_file.unlink(missing_ok=True)  # of a stack that was killed
        self._env = self._settings()
        self._start_servers()
        if self.options.sandbox:
            self._start_sandbox()
        self._migrate()
        for spec in self._specs():
            self._supervisor.add(spec).start()
        for process in self.processes.values():
            process.wait_ready(self._supervisor.stop_asked)
        self._leave_settings()
        if self.options.restart:
            self._supervisor.watch()

    @property
    def _env_file(self) -> Path:
        return self.data_dir / "env.json"

    def _leave_settings(self) -> None:
        """For the owner's `bothways` in another terminal, as long as this stack runs. Holds secrets."""
        ours = ("DATABASE_URL", "REDIS_URL")
        told = {name: value for name, value in self._env.items() if name in ours or name.startswith("BOTHWAYS_")}
        folder.kept(self._env_file, lambda: json.dumps(told, indent=1))

    def _settings(self) -> dict[str, str]:
        """Ours, over the caller's, over the environment's without FLOWER_*: Flower fails on any it does not know."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("FLOWER_")}
        given = {**outside, **self.options.env}
        given.setdefault("BOTHWAYS_KEY_FILE", str(self._key_file()))
        if not given.get("DATABASE_URL"):  # of the database in this folder
            given.setdefault("BOTHWAYS_EPOCH_FILE", str(self.data_dir / "epoch"))
        return {
            **given,
            "BOTHWAYS_API_HOST": "127.0.0.1",
            "BOTHWAYS_API_PORT": str(self._api_port),
            "BOTHWAYS_API_URL": self.api_url,
            "PYTHONUNBUFFERED": "1",
        }

    def _key_file(self) -> Path:
        path = self.data_dir / "keys.json"
        folder.kept(path, new_key_ring)
        return path

    def _start_servers(self) -> None:
        """Both at once: each spends its time waiting."""
        with ThreadPoolExecutor(2) as pool:
            postgres = pool.submit(self._start_postgres) if not self._env.get("DATABASE_URL") else None
            valkey = pool.submit(self._start_valkey) if not self._env.get("REDIS_URL") else None
        for future in (postgres, valkey):
            if future is not None:
                future.result()
        self._give_up_if_asked()

    def _start_postgres(self) -> None:
        self.postgres = PostgresServer.start(self.data_dir, durable=self.options.durable)
        self._env["DATABASE_URL"] = self.postgres.url
        self._look_after(self.postgres)

    def _start_valkey(self) -> None:
        self.valkey = ValkeyServer.start(self.data_dir, durable=self.options.durable)
        self._env["REDIS_URL"] = self.valkey.url
        self._look_after(self.valkey)

    def _look_after(self, server: EmbeddedServer) -> None:
        if self.options.restart_servers:
            unit = ServerUnit(server)
            self._units.append(unit)
            self._supervisor.bring_back(unit)

    def _give_up_if_asked(self) -> None:
        if self._supervisor.stop_asked.is_set():
            raise StopAskedError("The stack was asked to stop while it was starting.")

    def _start_sandbox(self) -> None:
        port = self.options.sandbox_port or folder.free_port()
        argv = _python("deploy.sandbox", "--port", str(port), *self.options.sandbox_args)
        process = self._supervisor.add(self._spec("sandbox", argv, _has_told_its_address))
        process.start()
        process.wait_ready(self._supervisor.stop_asked)
        self.sandbox = json_line(process.output()) or {}
        self._env["BOTHWAYS_SANDBOX_URL"] = f"http://127.0.0.1:{port}"

    def _migrate(self) -> None:
        """To its end before anything looks at the schema. Its own process: it may hang, and is then stopped with us."""
        migration = self._supervisor.add(Spec("migrate", _python("shared.db.migrate"), self._env))
        migration.start()
        while migration.running and not self._supervisor.stop_asked.wait(0.05):
            pass
        self._give_up_if_asked()
        if migration.exit_code != 0:
            raise LocalStackError(f"The database could not be migrated: {log_tail(migration.log_path)}")
        migration.stop()
        del self.processes["migrate"]

    def _specs(self) -> list[Spec]:
        specs = [self._spec("api", _python("api"), answers_http(self._api_port, "/healthz"))]
        specs += [self._worker_spec(worker) for worker in self.options.workers]
        if self.options.beat:
            (self.data_dir / "beat").mkdir(exist_ok=True)
            schedule = str(self.data_dir / "beat" / "schedule")
            specs.append(self._spec("beat", _python(*CELERY, "beat", "-s", schedule, "--pidfile="), None))
        if self.options.flower:
            specs.append(self._flower_spec())
        return specs

    def _worker_spec(self, worker: Worker) -> Spec:
        ready = self.options.ready.get("worker", says_ready)
        return self._spec(worker.name, _python(*worker.command()), ready, self.options.worker_stop_s)

    def _flower_spec(self) -> Spec:
        """Settings by environment, since others can read a command line."""
        self.flower_password = folder.kept_secret(self.data_dir / "flower.password")
        settings = {
            **FLOWER_SETTINGS,
            "FLOWER_ADDRESS": "127.0.0.1",
            "FLOWER_PORT": str(self._flower_port),
            "FLOWER_BASIC_AUTH": f"{self.flower_user}:{self.flower_password}",
        }
        ready = answers_http(self._flower_port, "/healthcheck")
        return self._spec("flower", _python(*CELERY, "flower"), ready, env=settings)

    def _spec(
        self,
        name: str,
        argv: Sequence[str],
        ready: Callable[[Process], bool] | None,
        stop_timeout_s: float = 10.0,
        env: Mapping[str, str] | None = None,
    ) -> Spec:
        return Spec(
            name,
            argv,
            {**self._env, **(env or {})},
            ready=self.options.ready.get(name, ready),
            ready_timeout_s=self.options.ready_timeout_s,
            stop_timeout_s=stop_timeout_s,
        )


FLOWER_SETTINGS = {"FLOWER_READ_ONLY": "true", "FLOWER_MAX_TASKS": "10000", "FLOWER_PERSISTENT": "false"}


def _python(*module_and_arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *module_and_arguments)


def new_key_ring() -> str:
    """A key ring with one fresh key of 256 bits, as JSON."""
    name = secrets.token_hex(4)
    return json.dumps({"current": name, "keys": {name: base64.b64encode(secrets.token_bytes(32)).decode()}})


def answers_http(port: int, path: str) -> Callable[[Process], bool]:
    """A readiness check: GET `path` answers 200."""

    def check(process: Process) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return check


def accepts(port: int) -> Callable[[Process], bool]:
    """A readiness check: something listens on the port."""

    def check(process: Process) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return check


def says_ready(process: Process) -> bool:
    """A Celery worker logs `name@host ready.` once it consumes."""
    return " ready." in process.output()


def json_line(text: str) -> dict[str, Any] | None:
    """The first line that is a JSON object."""
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                found = json.loads(line)
            except ValueError:  # half a line, so far
                return None
            return found if isinstance(found, dict) else None
    return None


def _has_told_its_address(process: Process) -> bool:
    return json_line(process.output()) is not None


def up(options: StackOptions, say: Callable[[str], object], kind: type[Stack] = Stack) -> int:
    """Run a stack until Ctrl-C, SIGTERM or SIGHUP; a second one stops it by force. Returns an exit code.

    Must be called on the main thread. `say` gets lines for the person at the terminal; one holds Flower's password.
    """
    asked, hurry = threading.Event(), threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        (hurry if asked.is_set() else asked).set()

    before = {n: signal.signal(n, on_signal) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        say("Starting (the first time takes a few seconds) ...")
        with kind.start(options, stop_asked=asked, hurry=hurry) as stack:
            for line in summary(stack):
                say(line)
            stack.wait()
            say("Stopping; Ctrl-C again to stop by force ...")
        return 0
    except StopAskedError:
        return 0
    except LocalStackError as error:
        say(str(error))
        return 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def summary(stack: Stack) -> list[str]:
    """What a person needs to know about a running stack."""
    lines = [f"Console  {stack.api_url}"]
    if stack.options.flower:
        lines.append(f"Flower   {stack.flower_url}  user {stack.flower_user}, password {stack.flower_password}")
    if stack.options.sandbox:
        lines.append(f"Sandbox  {stack.env['BOTHWAYS_SANDBOX_URL']}")
    lines.append(f"Data     {stack.data_dir} (logs in logs/)")
    here = f"BOTHWAYS_DATA_DIR={shlex.quote(str(stack.data_dir))}"
    lines.append(f"Token    the REST API needs one: {here} bothways tokens add NAME --role admin --logs")
    if stack.postgres is not None and stack.postgres.note:
        lines.append(stack.postgres.note)
    return lines


def options_from(argv: Sequence[str] | None = None) -> StackOptions:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.stack", description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path(".bothways"), help="where everything is kept")
    parser.add_argument("--sandbox", action="store_true", help="start the sandbox vendors as well")
    parser.add_argument("--api-port", type=int, help="a free one is found if not given")
    parser.add_argument("--flower-port", type=int)
    parser.add_argument("--no-flower", dest="flower", action="store_false")
    return StackOptions(**vars(parser.parse_args(argv)))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    sys.exit(up(options_from(), _say))
