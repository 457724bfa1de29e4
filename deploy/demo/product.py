"""The product, through its doors alone: the command line as a program of its own, and REST over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deploy.demo.errors import DemoError
from deploy.demo.shapes import LABELS, VENDORS, Json

_TIMEOUT_S = 30.0
_COMMAND_S = 60.0
_API = "/api/v1"


@dataclass(frozen=True, slots=True)
class Connection:
    vendor: str
    id: int
    org_id: int
    org_name: str
    webhook_url: str
    secret: str


class Product:
    """`env` is what the stack gives its processes; `data_dir` its folder."""

    def __init__(self, api_url: str, env: Mapping[str, str], data_dir: Path) -> None:
        self._env = {**env, "BOTHWAYS_DATA_DIR": str(data_dir)}
        self._http = httpx.Client(base_url=api_url, timeout=_TIMEOUT_S)

    def make_token(self) -> tuple[str, str]:
        """Every call over REST carries it from now on. (what was answered without it, what may be shown of it)"""
        refused = self._http.get(f"{_API}/integrations")
        token = str(json.loads(self.command("tokens", "add", "demo", "--role", "admin", "--logs", "--json"))["token"])
        self._http.headers["Authorization"] = f"Bearer {token}"
        return f"{refused.status_code} {refused.json()['code']}", f"{token.rpartition('_')[0]}_…"

    def close(self) -> None:
        self._http.close()

    # The command line

    def command(self, *words: str) -> str:
        """What it wrote on stdout. Raises DemoError with what it said on stderr."""
        with self._program(words) as program:
            out, err = program.communicate(timeout=_COMMAND_S)
        if program.returncode != 0:
            raise DemoError(f"`bothways {' '.join(words)}` failed: {_last_line(err)}")
        return out

    @contextmanager
    def _program(self, words: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
        """It does not outlive the block."""
        program = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-m", "api.cli.main", *words],
            env={**self._env, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield program
        finally:
            if program.poll() is None:
                program.kill()
            program.wait()
            for stream in (program.stdout, program.stderr):
                if stream is not None:
                    stream.close()

    def connect_all(self, told: Json, sign_in: Callable[[str], None]) -> dict[str, Connection]:
        """Both at once, for each is mostly the start of a program."""
        with ThreadPoolExecutor(len(VENDORS)) as pool:
            made = pool.map(lambda vendor: self._connect(vendor, told, sign_in), VENDORS)
            return {connection.vendor: connection for connection in made}

    def _connect(self, vendor: str, told: Json, sign_in: Callable[[str], None]) -> Connection:
        words = ("connect", vendor, "--data-centre", "sandbox", "--org-id", told["orgs"][vendor], "--org-name",
                 f"Northwind in {LABELS[vendor]}", "--port", "0", "--show-webhook-secret", "--json")  # fmt: skip
        secrets = {"BOTHWAYS_CLIENT_ID": told["client_id"], "BOTHWAYS_CLIENT_SECRET": told["client_secret"]}
        with self._program(words, secrets) as program:
            assert program.stdout is not None  # noqa: S101
            assert program.stderr is not None  # noqa: S101
            first = program.stdout.readline()
            if first:
                sign_in(json.loads(first)["authorize_url"])
            second = program.stdout.readline() if first else ""
            if not second:
                raise DemoError(f"`bothways connect {vendor}` failed: {_last_line(program.stderr.read())}")
            program.wait(_COMMAND_S)
        found = json.loads(second)
        view, hook = found["connection"], found["webhook"]
        return Connection(vendor, view["id"], view["org_id"], view["org_name"], hook["url"], hook["secret"])

    def lift_limits(self, connection_ids: Iterable[int]) -> None:
        """The product's own budgets of calls, off: nothing but the sandbox says how fast it may go."""
        with ThreadPoolExecutor(len(VENDORS)) as pool:
            list(pool.map(lambda one: self.command("limits", str(one), "--off"), connection_ids))

    # REST

    def add_integration(self, left_org_id: int, right_org_id: int) -> int:
        body = {
            "kind": "fsm_books",
            "left_org_id": left_org_id,
            "right_org_id": right_org_id,
            "name": "Northwind",
            "sync_type": "I",
        }
        return int(self._call("POST", "/integrations", body)["id"])

    def start(self, integration: int, what: str) -> int:
        """`fetch` or `sync`. Returns the Sync ID."""
        return int(self._call("POST", f"/integrations/{integration}/{what}")["sync_id"])

    def run(self, sync_id: int) -> Json:
        found: Json = self._call("GET", f"/runs/{sync_id}")
        return found

    def runs(self, integration: int) -> list[Json]:
        """Each with its counts, the oldest first."""
        listed = self._call("GET", f"/runs?integration_id={integration}&limit=100")
        return [self.run(one["id"]) for one in reversed(listed)]

    def failures(self, sync_id: int) -> list[Json]:
        found: list[Json] = self._call("GET", f"/runs/{sync_id}/outcomes?outcome=failed")
        return found

    def failures_csv(self, sync_id: int) -> str:
        return self._answer("GET", f"/runs/{sync_id}/failures.csv").text

    def _call(self, method: str, path: str, body: object | None = None) -> Any:
        return self._answer(method, path, body).json()

    def _answer(self, method: str, path: str, body: object | None = None) -> httpx.Response:
        try:
            answer = self._http.request(method, f"{_API}{path}", json=body)
        except httpx.HTTPError as error:
            raise DemoError(f"The API does not answer ({type(error).__name__}).") from error
        if answer.status_code >= 400:
            raise DemoError(f"The API refused {method} {path}: {answer.text[:300]}")
        return answer


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


def tally(runs: Sequence[Json]) -> dict[str, int]:
    """Records by how they ended, over all these runs."""
    sums: dict[str, int] = {}
    for run in runs:
        for count in run["counts"]:
            sums[count["outcome"]] = sums.get(count["outcome"], 0) + count["records"]
    return sums
