"""The demonstration from the first sign-in to the last count, one function per section."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from deploy.demo import changes as plans
from deploy.demo import measure, northwind
from deploy.demo.changes import Change, Shift
from deploy.demo.errors import DemoError, StopAsked
from deploy.demo.measure import Quiet, Verdict, Watch, percentile
from deploy.demo.product import Product, tally
from deploy.demo.shapes import BOOKS, FSM, KINDS, LABELS, VENDORS, Json, other
from deploy.demo.show import Show
from deploy.demo.vendors import Sandbox, people
from deploy.local.stack import Stack

P50_MS, P99_MS = 300.0, 1_500.0
"""What is promised of a change's way, without limits."""
_ARRIVAL_S, _RUN_S, _QUIET_S, _CALM_S, _LOOK_S = 30.0, 120.0, 30.0, 1.0, 0.03
_LIMITED_CALM_S = 65.0
_SENTENCES = 10
_LIMITED = 40
"""With the vendors' limits everything may take so many times as long."""


@dataclass
class Story:
    show: Show
    stack: Stack
    limits: bool
    stop: threading.Event
    sandbox: Sandbox = field(init=False)
    product: Product = field(init=False)
    cast: northwind.Cast = field(init=False)
    integration: int = 0

    def __post_init__(self) -> None:
        self.sandbox = Sandbox(self.stack.sandbox)
        self.product = Product(self.stack.api_url, self.stack.env, self.stack.data_dir)
        self.cast = northwind.deal(datetime.now(UTC))

    def close(self) -> None:
        self.product.close()
        self.sandbox.close()

    def tell(self) -> Ending:
        self.start()
        self.connect()
        self.fetch()
        first_sync = self.first_sync()
        made, verdict = self.changes()
        self.failing(first_sync)
        return self.summary(made, verdict)

    # Waiting

    def _patience(self, seconds: float) -> float:
        return seconds * (_LIMITED if self.limits else 1)

    def wait_until(self, condition: Callable[[], bool], within_s: float, every_s: float = _LOOK_S) -> bool:
        """False when the time ran out. Raises StopAsked."""
        ends = time.monotonic() + self._patience(within_s)
        while not condition():
            if time.monotonic() > ends:
                return False
            if self.stop.wait(every_s):
                raise StopAsked
        return True

    # Sections

    def start(self) -> None:
        self.show.section("Start")
        self.show.facts(
            [
                ("API", f"{self.stack.api_url}/docs"),
                ("Flower", self.stack.flower_url),
                ("Sandbox vendors", str(self.sandbox.told["base_url"])),
                ("Data and logs", str(self.stack.data_dir)),
            ]
        )
        self.show.line()
        self.show.line("Northwind's companies and products are dealt out to two vendors:")
        rows = [(kind.plural, LABELS[vendor], self.cast.count(vendor, kind)) for kind in KINDS for vendor in VENDORS]
        self.show.table(("", "vendor", "records"), rows)
        self.show.line(f"{self.cast.shared} of them are on both sides, with differences. Three are meant to fail.")
        if self.limits:
            self.sandbox.publish_limits()
            self.show.line(
                "The vendors' published limits are on (Books: 100 calls a minute). Expect six minutes in all; "
                "nothing is timed."
            )
        for vendor in VENDORS:
            self.sandbox.seed(vendor, self.cast.seeds[vendor])

    def connect(self) -> None:
        self.show.section("Connect")
        connections = self.product.connect_all(self.sandbox.told, self.sandbox.sign_in)
        for vendor, connection in connections.items():
            self.show.raw(f"$ bothways connect {vendor} --data-centre sandbox")
            self.show.line(f"{connection.org_name}: signed in by OAuth, webhooks to {_short(connection.webhook_url)}")
            self.sandbox.send_webhooks_to(vendor, connection.webhook_url, connection.secret)
        if not self.limits:
            self.product.lift_limits(one.id for one in connections.values())
            self.show.line("The product's budgets of calls are off (`bothways limits`), as are the sandbox's limits.")
        refused, token = self.product.make_token()
        self.show.line(f"The REST API without a token: {refused}. `bothways tokens add demo --role admin --logs` made")
        self.show.line(f"{token}; each call from here on carries it.")
        self.integration = self.product.add_integration(connections[FSM].org_id, connections[BOOKS].org_id)
        self.show.line(f"Integration {self.integration} keeps the two in step.")

    def fetch(self) -> None:
        self.show.section("Fetch: what is the same on both sides? Nothing is written.")
        run = self._follow(self.product.start(self.integration, "fetch"), "Fetch")
        rows = [
            (pair, "", found["bound"], found["create_left"], found["create_right"],
             found["ambiguous_left"] + found["ambiguous_right"])
            for pair, found in sorted(run["report"].items())
        ]  # fmt: skip
        self.show.table(("module", "", "bound", "new in FSM", "new in Books", "key not unique"), rows)

    def first_sync(self) -> Json:
        self.show.section("First sync")
        if self.limits:
            self.show.line("At 100 calls a minute to Books this takes about three minutes.")
        run = self._follow(self.product.start(self.integration, "sync"), "Sync")
        if not self.limits:
            self._settled()
        run = self.product.run(run["id"])
        columns = ("created", "updated", "bound", "unchanged", "failed")
        sums: dict[tuple[str, str], dict[str, int]] = {}
        for count in run["counts"]:
            line = sums.setdefault((_way(count["direction"]), count["pair"]), {})
            line[count["outcome"]] = line.get(count["outcome"], 0) + count["records"]
        rows = [(*place, *(line.get(name, 0) for name in columns)) for place, line in sorted(sums.items())]
        self.show.table(("direction", "module", *columns), rows)
        return run

    def _follow(self, sync_id: int, title: str) -> Json:
        """The run as it ended. Raises DemoError where it failed or does not end."""
        run: Json = {}
        with self.show.progress(title) as report:

            def ended() -> bool:
                run.update(self.product.run(sync_id))
                work = run["total"] > 0 and not run["ended_at"]
                doing = "settling records" if work else str(run["state"]).replace("_", " ")
                waits = f", waits for {run['waiting_for']}" if run["waiting_for"] else ""
                done, total = (run["settled"], run["total"]) if work else (run["listed"], 0)
                report(doing + waits, done, run["listed"] if run["ended_at"] else total)
                return run["ended_at"] is not None

            if not self.wait_until(ended, _RUN_S, 0.1):
                raise DemoError(f"{title} {sync_id} has not ended in time; it is {run['state']}.")
        if run["state"] not in ("completed", "completed_with_failures"):
            raise DemoError(f"{title} {sync_id} is {run['state']}: {run['error_code']} {run['error_detail'] or ''}")
        return run

    def _settled(self) -> None:
        """Until the webhooks of the product's own writes have come back and been let go.

        Under limits the product may wait for its next call as long as the vendor's minute lasts.
        """
        calm_s = _LIMITED_CALM_S if self.limits else _CALM_S
        quiet = Quiet(Watch(self.sandbox, ()), self.sandbox.idle, time.monotonic, calm_s)
        if not self.wait_until(quiet.reached, _QUIET_S):
            raise DemoError("The product keeps calling the vendors although nobody changes anything.")

    def changes(self) -> tuple[list[Change], Verdict]:
        planned = plans.plan(self.cast)
        every = [change for listed in planned.values() for change in listed]
        self.show.section(f"Changes: two people at work, {len(planned[FSM])} in FSM and {len(planned[BOOKS])} in Books")
        unknown = measure.know_ids(self.sandbox, every)
        if unknown:
            raise DemoError(f"After the first sync {unknown[0].name} is not on both sides.")
        watch = Watch(self.sandbox, every)
        with people(self.sandbox, self.stop) as staff:
            shift = Shift(planned, staff, self.stop)
            shift.start()
            if not self.wait_until(lambda: self._work_done(watch, shift), _RUN_S):
                raise DemoError("The people have not finished their changes.")
            self.wait_until(lambda: self._work_done(watch, shift) and not watch.missing, _ARRIVAL_S)
        self._settled()
        for change in watch.missing:
            self._show_change(change)
        plans.settle(self.cast, planned)
        return every, measure.judge(self.sandbox, self.cast)

    def _work_done(self, watch: Watch, shift: Shift) -> bool:
        over = shift.over
        for change in watch.look()[0]:
            self._show_change(change)
        return over

    def _show_change(self, change: Change) -> None:
        way = f"{LABELS[change.vendor]} → {LABELS[other(change.vendor)]}"
        self.show.change(way, change.kind.label, change.name, change.what, self._delay(change))

    def _delay(self, change: Change) -> str:
        if change.delay_ms is None:
            return "lost"
        return "" if self.limits else f"{change.delay_ms:.0f} ms"

    def failing(self, run: Json) -> None:
        self.show.section("A failing record")
        failures = self.product.failures(run["id"])
        csv = self.product.failures_csv(run["id"])
        if not failures:
            raise DemoError("No record failed in the first sync, though three were meant to.")
        for one in {one["reason"]: one for one in failures}.values():  # one of each reason
            self.show.line(f"{self._name_of(one['record_id'])} was not synced ({one['reason']}).")
            self.show.line(f"{one['sentence'].rstrip('.')}.")
            self.show.line(f"What to do: {one['remedy']}")
            self.show.line()
        path = self.stack.data_dir / f"FailureLogs-{run['id']}.csv"
        path.write_text(csv, "utf-8", newline="")
        self.show.line(f"{len(failures)} records failed in this sync; as CSV:")
        self.show.raw(str(path))
        for text in csv.splitlines()[:2]:
            self.show.raw(text)

    def _name_of(self, record_id: str) -> str:
        for kind in KINDS:
            for vendor in VENDORS:
                for row in self.sandbox.rows(vendor, kind):
                    if str(row[kind.id_key(vendor)]) == record_id:
                        return f"The {kind.label} {kind.read(vendor, row)['name']} of {LABELS[vendor]}"
        return f"The record {record_id}"

    def summary(self, made: list[Change], verdict: Verdict) -> Ending:
        counts = tally(self.product.runs(self.integration))
        ending = Ending(made, verdict, counts, self.limits)
        self.show.section("Summary")
        self.show.facts(ending.facts())
        for sentence in [*verdict.duplicates.values(), *verdict.lost.values()][:_SENTENCES]:
            self.show.line(sentence, style="red")
        return ending


@dataclass
class Ending:
    made: list[Change]
    verdict: Verdict
    counts: dict[str, int]
    limits: bool

    @property
    def delays(self) -> list[float]:
        return [change.delay_ms for change in self.made if change.delay_ms is not None]

    @property
    def lost(self) -> int:
        """Changes that did not arrive, and records that are not as they should be; the same record once."""
        late = {(change.kind.label, change.key_after) for change in self.made if change.delay_ms is None}
        return len(late | self.verdict.lost.keys())

    def figures(self) -> Json:
        p50, p99 = (round(percentile(self.delays or [0.0], share), 1) for share in (0.5, 0.99))
        timed = {"p50": None, "p99": None} if self.limits else {"p50": p50, "p99": p99}
        return {
            "records": self.verdict.records,
            **{name: self.counts.get(name, 0) for name in ("bound", "created", "updated", "failed")},
            "duplicates": len(self.verdict.duplicates),
            "lost": self.lost,
            "webhook_delay_ms": {**timed, "n": len(self.delays)},
        }

    def facts(self) -> list[tuple[str, str]]:
        told = self.figures()
        delay = told["webhook_delay_ms"]
        timed = "not timed" if self.limits else f"p50 {delay['p50']:.0f} ms, p99 {delay['p99']:.0f} ms"
        names = ("bound", "created", "updated", "failed")
        return [
            ("Changes", f"{len(self.made)} made, {delay['n']} arrived; {timed}"),
            ("Records", f"{told['records']} on both sides together"),
            ("All syncs", ", ".join(f"{told[name]} {name}" for name in names)),
            ("Duplicates", str(told["duplicates"])),
            ("Lost", str(told["lost"])),
        ]

    def complaint(self) -> str:
        """What is not as promised, in a sentence; empty where all is well."""
        told = self.figures()
        delay = told["webhook_delay_ms"]
        if told["duplicates"] or told["lost"]:
            return f"Records are wrong: {told['duplicates']} are doubled, {told['lost']} are lost."
        if not self.limits and (delay["p50"] > P50_MS or delay["p99"] > P99_MS):
            return (
                f"The changes took longer than promised (p50 {P50_MS:.0f} ms, p99 {P99_MS:.0f} ms): "
                f"p50 {delay['p50']:.0f} ms, p99 {delay['p99']:.0f} ms."
            )
        return ""


def _way(direction: str) -> str:
    source, _, target = direction.partition(">")
    return f"{LABELS.get(source, source)} → {LABELS.get(target, target)}"


def _short(url: str) -> str:
    """Without the secret part of the path."""
    return url.rsplit("/", 1)[0] + "/…"


def where_to_go(stack: Stack) -> list[tuple[str, str]]:
    """For the person whose terminal it stays in."""
    folder = _relative(stack.data_dir)
    return [
        ("API docs", f"{stack.api_url}/docs"),
        ("Flower", f"{stack.flower_url}  user {stack.flower_user}, password {stack.flower_password}"),
        ("In a second terminal", f"BOTHWAYS_DATA_DIR={shlex.quote(folder)} bothways runs"),
        ("A token for the API", "bothways tokens add NAME --role admin --logs   (in the second terminal too)"),
    ]


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
