"""A stack of its own for many cells: servers, vendors, processes, proxies between them, and a hand on each.

What is read here is read past the proxies, so that looking is never part of the trouble.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psycopg
import redis
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.local.postgres import PostgresServer
from deploy.local.process import Child, LocalStackError, log_tail, send_signal, wait_until
from deploy.local.stack import DEFAULT_WORKERS, Stack, StackOptions, Worker, json_line
from deploy.local.supervisor import ROOT, Process
from deploy.local.valkey import ValkeyServer
from shared.settings import Settings
from tests.chaos import strike
from tests.chaos.proxy import Proxy
from tests.chaos.strike import Strikes
from tests.e2e import world as e2e
from tests.e2e.world import BOOKS, FSM

Json = dict[str, Any]
ACCOUNTS = "zoho_accounts"
VENDORS = (FSM, BOOKS)
START_S = 60.0
BEGIN_S = 60.0
_LOOK_S = 0.15
"""Between two looks into Postgres, each with a connection of its own: more often, and looking is half of the work."""

PERSON_IDS = 770_000
"""Persons of the base set are given ids by us: a seed tells those of the customers only."""

RUN_ENDED = ("completed", "completed_with_failures", "failed", "cancelled")


class RigError(AssertionError):
    """The rig itself cannot do what a cell asked for."""


@dataclass(frozen=True)
class Shape:
    """What a stack must be like for its cells. `env` are further settings of the product."""

    scale: float = 0.1
    proxied: bool = False
    durable: bool = True
    workers: tuple[Worker, ...] = DEFAULT_WORKERS
    env: Mapping[str, str] = field(default_factory=dict)
    base: int = 12
    """Companies, and items, that both sides have from the start."""
    sync_type: str = "IV"
    """IV: with contacts of companies, and contacts without; I: without any."""

    def __hash__(self) -> int:
        own = (self.scale, self.proxied, self.durable, self.workers, self.base, self.sync_type)
        return hash((*own, tuple(sorted(self.env.items()))))


class Rig:
    """Use `Rig.start`. `heal` ends every trouble it can make; `stop` leaves nothing behind."""

    def __init__(self, shape: Shape, folder: Path) -> None:
        self.shape = shape
        self.folder = folder
        self.strikes = Strikes(folder / "strikes")
        self.frozen: set[int] = set()
        self.cells = 0
        self.base: dict[tuple[str, str], list[str]] = {}
        self.contacts: dict[tuple[str, str], list[str]] = {}
        """As `base`, of the contacts, whose companies nobody touches; a person is `<customer>.<person>`."""
        self.proxies: dict[str, Proxy] = {}
        self._open = ExitStack()
        self._http = httpx.Client(timeout=30, trust_env=False)
        self._open.callback(self._http.close)

    @classmethod
    def start(cls, shape: Shape | None = None) -> Self:
        """Both vendors connected, their webhooks on, the base set of records fetched and synced, all quiet."""
        folder = Path(tempfile.mkdtemp(prefix="bothways-chaos-"))
        folder.chmod(0o755)  # the servers run as somebody else, who must be able to enter
        rig = cls(shape or Shape(), folder)
        try:
            rig._start()
        except BaseException:
            rig.stop()
            raise
        return rig

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        self.thaw()
        with suppress(RuntimeError):
            for proxy in self.proxies.values():
                proxy.heal()
        self._open.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # Starting

    def _start(self) -> None:
        with ThreadPoolExecutor(3) as pool:
            postgres = pool.submit(PostgresServer.start, self.folder, durable=False)
            valkey = pool.submit(ValkeyServer.start, self.folder, durable=self.shape.durable)
            sandbox = pool.submit(self._start_sandbox)
        self.postgres, self.valkey = postgres.result(), valkey.result()
        self._open.callback(self.valkey.stop)
        self._open.callback(self.postgres.stop)
        sandbox.result()
        self._connect_servers()
        self._start_stack()
        self._fill()

    def _start_sandbox(self) -> None:
        log = self.folder / "sandbox.log"
        argv = [sys.executable, "-m", "deploy.sandbox", "--port", "0"]
        self.sandbox_process = Child(argv, cwd=ROOT, env=dict(os.environ), log=log)
        self._open.callback(self.sandbox_process.kill)
        if not wait_until(lambda: json_line(log.read_text()) is not None, START_S, 0.05):
            raise RigError(f"the sandbox did not start: {log_tail(log)}")
        self.sandbox: Json = json_line(log.read_text()) or {}

    def _connect_servers(self) -> None:
        self.redis_url, self.database_url = self.valkey.url, self.postgres.url
        self.sandbox_url = str(self.sandbox["base_url"])
        self.redis: Any = redis.Redis.from_url(
            self.redis_url, decode_responses=True, socket_timeout=5, retry=Retry(NoBackoff(), 0)
        )
        self._open.callback(self.redis.close)

    def _proxied(self, name: str, port: int) -> int:
        """The port to use instead: a proxy's, where the shape asks for proxies."""
        if not self.shape.proxied:
            return port
        self.proxies[name] = Proxy(port).start()
        self._open.callback(self.proxies[name].stop)
        return self.proxies[name].port

    def _start_stack(self) -> None:
        sandbox_port = httpx.URL(self.sandbox_url).port or 0
        redis_port = self._proxied("redis", self.valkey.port)
        postgres_port = self._proxied("postgres", self.postgres.port)
        vendor_port = self._proxied("vendor", sandbox_port)
        env = {
            "DATABASE_URL": self.database_url.replace(f":{self.postgres.port}/", f":{postgres_port}/"),
            "REDIS_URL": self.redis_url.replace(f":{self.valkey.port}/", f":{redis_port}/"),
            "BOTHWAYS_SANDBOX_URL": f"http://127.0.0.1:{vendor_port}",
            "BOTHWAYS_TIME_SCALE": str(self.shape.scale),
            "BOTHWAYS_LOG_LEVEL": "INFO",
            "BOTHWAYS_EPOCH_FILE": str(self.folder / "epoch"),
            "BOTHWAYS_TEST_HOOK": strike.HOOK,
            strike.FOLDER: str(self.strikes.folder),
            **self.shape.env,
        }
        options = StackOptions(data_dir=self.folder, flower=False, workers=self.shape.workers, env=env)
        self.stack = Stack.start(options)
        self._open.callback(self.stack.stop)
        # Killed often and on purpose: a supervisor that waits longer each time would be all that is measured.
        self.stack._supervisor._backoff = (0.1, 0.5, 60.0)
        self.api_url = self.stack.api_url
        self.stack.sandbox = self._http.get(f"http://127.0.0.1:{vendor_port}/_sandbox/info").json()
        self.world = e2e.connected(self.stack, self._http, self.shape.sync_type)
        self.stack.sandbox = self.sandbox
        self._aim_webhooks()

    def _aim_webhooks(self) -> None:
        """At the door, through a proxy of its own if there are any."""
        port = httpx.URL(self.api_url).port or 0
        door = f"http://127.0.0.1:{self._proxied('door', port)}"
        for vendor, hook in self.world.hooks.items():
            self.hooks_on(vendor, {**hook, "url": hook["url"].replace(self.api_url, door)})

    def _fill(self) -> None:
        """The base set: on both sides, bound, equal."""
        names = [(f"Base {n}", n) for n in range(self.shape.base)]
        items = [(name, n + 0.5) for name, n in names]
        self.base = {
            (FSM, "Companies"): self.seed(
                FSM, "Companies", [{"Company_Name": name, "Website": f"https://b{n}.test"} for name, n in names]
            ),
            (BOOKS, "contacts"): self.seed(
                BOOKS,
                "contacts",
                [
                    {"contact_name": name, "contact_type": "customer", "website": f"https://b{n}.test"}
                    for name, n in names
                ],
            ),
            (FSM, "Service_And_Parts"): self.seed(
                FSM,
                "Service_And_Parts",
                [{"Name": name, "Unit_Price": price, "Type": "Service"} for name, price in items],
            ),
            (BOOKS, "items"): self.seed(
                BOOKS, "items", [{"name": name, "rate": price, "product_type": "service"} for name, price in items]
            ),
        }
        if self.shape.sync_type == "IV":
            self._fill_contacts()
        for what in ("fetch", "sync"):
            self.ended(self.begin(what), within_s=60)
        self.await_quiet("all is quiet at the start", 60)

    def _fill_contacts(self) -> None:
        """Two companies with two contacts each, and four contacts without a company: on both sides, equal."""
        names = [f"House {n}" for n in range(2)]
        houses = self.seed(FSM, "Companies", [{"Company_Name": name} for name in names])
        people = [("Ann", f"Lee {n}", f"lee-{n}@house.test") for n in range(4)]
        alone = [("Bob", f"Ray {n}", f"ray-{n}@home.test") for n in range(4)]
        left = [
            {"First_Name": first, "Last_Name": last, "Email": mail, "Company": {"id": houses[n // 2]}}
            for n, (first, last, mail) in enumerate(people)
        ] + [{"First_Name": first, "Last_Name": last, "Email": mail} for first, last, mail in alone]
        inside = [
            {"contact_person_id": str(PERSON_IDS + n), "first_name": first, "last_name": last, "email": mail}
            for n, (first, last, mail) in enumerate(people)
        ]
        customers = self.seed(
            BOOKS,
            "contacts",
            [
                {"contact_name": name, "contact_type": "customer", "contact_persons": inside[2 * n : 2 * n + 2]}
                for n, name in enumerate(names)
            ]
            + [
                {
                    "contact_name": f"{first} {last}",
                    "contact_type": "customer",
                    "customer_sub_type": "individual",
                    "contact_persons": [{"first_name": first, "last_name": last, "email": mail}],
                }
                for first, last, mail in alone
            ],
        )
        self.contacts = {
            (FSM, "Contacts"): self.seed(FSM, "Contacts", left),
            (BOOKS, "contact_persons"): [f"{customers[n // 2]}.{PERSON_IDS + n}" for n in range(4)],
            (BOOKS, "contacts"): customers[2:],
        }

    # The vendors

    def control(self, method: str, vendor: str, what: str, body: object | None = None) -> Json:
        # Written here, in plain ASCII: texts that are no UTF-8 travel as escapes.
        content = None if body is None else json.dumps(body).encode()
        answer = self._http.request(method, f"{self.sandbox_url}/_sandbox/{vendor}/{what}", content=content)
        if answer.status_code != 200:
            raise RigError(f"{method} {vendor}/{what}: {answer.status_code} {answer.text[:300]}")
        found: Json = answer.json()
        return found

    def hooks_on(self, vendor: str, hook: Json) -> None:
        self.control("POST", vendor, "webhooks", hook)

    def seed(self, vendor: str, module: str, records: list[Json]) -> list[str]:
        seeded: list[str] = self.control("POST", vendor, "seed", {module: records})["seeded"][module]
        return seeded

    def fault(self, vendor: str, kind: str, **more: object) -> int:
        """Its id, by which `fault_struck` asks."""
        return int(self.control("POST", vendor, "faults", {"kind": kind, **more})["faults"][0]["id"])

    def records(self, vendor: str, module: str) -> list[Json]:
        found: list[Json] = self.control("GET", vendor, "state")["modules"][module]
        return found

    def calls(self, vendor: str, since: int = 0) -> list[Json]:
        """Of the product; nobody else calls the vendors' own API here."""
        found: list[Json] = self.control("GET", vendor, f"calls?since={since}")["calls"]
        return found

    def deliveries(self, vendor: str, since: int = 0) -> list[Json]:
        found: list[Json] = self.control("GET", vendor, f"deliveries?since={since}")["deliveries"]
        return found

    # The product, from outside

    def begin(self, what: str = "sync") -> int:
        """By the REST door; its Sync ID. After one that began by itself, as it does when Redis has lost its data."""
        ends = time.monotonic() + BEGIN_S
        while True:
            answer = self._http.post(f"{self.api_url}/api/v1/integrations/{self.world.integration}/{what}")
            if answer.status_code == 202:
                return int(answer.json()["sync_id"])
            if answer.status_code != 409 or answer.json()["code"] != "ORG_HELD" or time.monotonic() > ends:
                raise RigError(f"{what} was not begun: {answer.status_code} {answer.text[:300]}")
            time.sleep(_LOOK_S)

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(
            self.database_url.replace("+psycopg", ""), connect_timeout=5, autocommit=True
        ) as connection:
            found = connection.execute(query.encode(), values)
            return found.fetchall() if found.description else []

    def run(self, sync_id: int) -> tuple[str, Any]:
        """State, and when it ended."""
        ((state, ended),) = self.sql("SELECT state, ended_at FROM run WHERE id = %s", sync_id)
        return str(state), ended

    def ended(self, sync_id: int, within_s: float = 240) -> str:
        """Waits for its end; its state."""
        self.wait(lambda: self.run(sync_id)[1] is not None, f"sync {sync_id} ends", within_s, every_s=_LOOK_S)
        return self.run(sync_id)[0]

    def progress(self, sync_id: int) -> tuple[Any, ...]:
        """Grows or changes with every step of a run; also with the webhook work beside it."""
        query = (
            "SELECT r.state, r.queued, (SELECT sum(rows) FROM listing l WHERE l.run_id = r.id), "
            "(SELECT count(*) FROM outcome o WHERE o.run_id = r.id) FROM run r WHERE r.id = %s"
        )
        return self.sql(query, sync_id)[0]

    def is_quiet(self) -> bool:
        """No delivery under way, no event, no result, no open batch or run, nothing due but what has failed."""
        try:
            return not self.noise()
        except (psycopg.Error, redis.RedisError):
            return False

    def noise(self) -> dict[str, Any]:
        """What still goes on."""
        found: dict[str, Any] = {}
        for vendor in VENDORS:
            if not self.control("GET", vendor, "deliveries?since=1000000000")["idle"]:
                found[vendor] = "deliveries under way"
        for lane in [*self.redis.smembers("bw:lanes"), "bw:results", "bw:results:live"]:
            if length := self.redis.xlen(lane):
                found[lane] = length
        query = (
            "SELECT (SELECT count(*) FROM due WHERE why <> 'failed'), (SELECT count(*) FROM intent), "
            "(SELECT count(*) FROM run WHERE kind <> 'webhook' AND ended_at IS NULL), "
            "(SELECT count(*) FROM open_batch WHERE until > clock_timestamp()), "
            "(SELECT count(*) FROM integration WHERE next_run_at <= clock_timestamp())"
        )
        names = ("due", "intents", "runs", "open batches", "due runs")
        found.update({name: n for name, n in zip(names, self.sql(query)[0], strict=True) if n})
        return found

    def wait(self, condition: Callable[[], object], what: str, within_s: float, *, every_s: float = 0.03) -> None:
        """Polls. The bound makes a hang a failure with a name, in seconds of the scale 0.1; it measures nothing."""
        ends = time.monotonic() + within_s * max(1.0, self.shape.scale * 10 / 2)
        while not condition():
            if time.monotonic() > ends:
                raise RigError(f"never came true: {what}")
            time.sleep(every_s)

    def await_quiet(self, what: str, within_s: float) -> None:
        self.wait(self.is_quiet, what, within_s, every_s=_LOOK_S)

    def settings(self) -> Settings:
        """For the parts of the product that a cell uses itself, past the proxies to our servers."""
        return Settings(
            database_url=SecretStr(self.database_url),
            redis_url=SecretStr(self.redis_url),
            key_file=Path(self.stack.env["BOTHWAYS_KEY_FILE"]),
            sandbox_url=self.stack.env["BOTHWAYS_SANDBOX_URL"],
            time_scale=self.shape.scale,
        )

    # Processes

    def process(self, name: str) -> Process:
        return self.stack.processes[name]

    @property
    def workers(self) -> list[str]:
        """Those that are meant to run."""
        return [name for name, one in self.stack.processes.items() if name.startswith("worker") and one.wanted]

    def kill(self, *names: str, number: int = signal.SIGKILL) -> None:
        for name in names:
            self.process(name).kill(number)

    def freeze(self, name: str) -> int:
        """Its pid, for `thaw`."""
        pid = self.process(name).pid
        self.frozen.add(pid)
        send_signal(pid, signal.SIGSTOP)
        return pid

    def thaw(self, pid: int | None = None) -> None:
        """One, or all that were frozen, by us or at a point."""
        frozen = {one.pid for one in self.strikes.came() if one.action == strike.FREEZE} | self.frozen
        for one in [pid] if pid is not None else frozen:
            send_signal(one, signal.SIGCONT)
            self.frozen.discard(one)

    @contextmanager
    def frozen_process(self, name: str) -> Iterator[int]:
        pid = self.freeze(name)
        try:
            yield pid
        finally:
            self.thaw(pid)

    def all_live(self) -> bool:
        """Every process of the stack runs and is ready, after whatever restarts."""
        wanted = [process for process in self.stack.processes.values() if process.wanted]
        return all(process.running and _is_ready(process) for process in wanted)

    def await_all_live(self) -> None:
        self.wait(self.all_live, "every process is back", 60)

    # The end of trouble

    def heal(self) -> None:
        """Ends every trouble that this rig can make. Does not wait until the product has noticed."""
        self.strikes.disarm()
        self.thaw()
        for proxy in self.proxies.values():
            proxy.heal()
        for server in (self.valkey, self.postgres):
            if server.running:
                server.thaw()
            else:
                server.restart()
        for vendor in (*VENDORS, ACCOUNTS):
            self.control("DELETE", vendor, "faults")
        for vendor in VENDORS:
            self.control("POST", vendor, "limits", {})
            self.control("POST", vendor, "visibility", {})
            self.control("POST", vendor, "deliveries/flush")

    def keep_evidence(self, target: Path) -> None:
        """Logs and what the processes said, also of what they are doing now, for a person to read."""
        target.mkdir(parents=True, exist_ok=True)
        for process in self.stack.processes.values():
            if process.running and process.name != "beat":
                process.kill(signal.SIGUSR2)
        time.sleep(0.3)
        for log in [*(self.folder / "logs").glob("*.log"), *self.folder.glob("*.log")]:
            with suppress(OSError):
                shutil.copy(log, target / log.name)
        strikes = [json.dumps(vars(one)) for one in self.strikes.came()]
        (target / "strikes.txt").write_text("\n".join(strikes) + "\n")


def _is_ready(process: Process) -> bool:
    try:
        return process.spec.ready is None or process.spec.ready(process)
    except (OSError, LocalStackError):
        return False
