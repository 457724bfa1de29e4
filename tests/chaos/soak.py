"""`python -m tests.chaos.soak --minutes 30`: all faults at random on one stack under load, audited at quiet times.

The seed decides what comes when; the result is Markdown, for docs/soak.md.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.chaos.cell import Cell, Line, Scene, play
from tests.chaos.judge import MODULES
from tests.chaos.proxy import Proxy
from tests.chaos.rig import ACCOUNTS, VENDORS, Rig, Shape
from tests.chaos.runner import say
from tests.chaos.shapes import CREW

MIXED = replace(CREW, proxied=True)
BETWEEN = ("redis", "postgres", "vendor", "door")

Trouble = Callable[[Scene], object]


def _kill(scene: Scene) -> None:
    scene.rig.kill(scene.chance.choice([*scene.rig.workers, "api", "beat"]))


def _kill_all(scene: Scene) -> None:
    scene.rig.kill(*scene.rig.workers)


def _freeze(scene: Scene) -> None:
    name = scene.chance.choice(scene.rig.workers)
    began_ms = time.time() * 1000
    with scene.rig.frozen_process(name):
        scene.sleep(scene.chance.choice([20.0, 120.0]))
    _stood_still(scene, began_ms)


def _stood_still(scene: Scene, began_ms: float) -> None:
    scene.expect["frozen_ms"] = (*scene.expect.get("frozen_ms", ()), (began_ms, time.time() * 1000))


def _redis_kill(scene: Scene) -> None:
    scene.rig.valkey.restart()


def _postgres_kill(scene: Scene) -> None:
    scene.rig.postgres.restart()


def _redis_freeze(scene: Scene) -> None:
    scene.rig.valkey.freeze()
    try:
        time.sleep(scene.chance.uniform(0.5, 5))
    finally:
        scene.rig.valkey.thaw()


def _flush(scene: Scene) -> None:
    scene.rig.redis.flushall()
    scene.expect["history_lost_ms"] = ((0.0, time.time() * 1000 + 500),)


def _clients(scene: Scene) -> None:
    scene.rig.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def _between(scene: Scene) -> Proxy:
    """A call that fails on its way to a vendor is in no log of the vendor's."""
    scene.expect["unseen_trouble"] = True
    return scene.rig.proxies[scene.chance.choice(BETWEEN)]


def _cut(scene: Scene) -> None:
    proxy = _between(scene)
    proxy.cut(refuse=True)
    time.sleep(scene.chance.uniform(0.1, 2))
    proxy.heal()


def _stall(scene: Scene) -> None:
    proxy = _between(scene)
    proxy.stall()
    time.sleep(scene.chance.uniform(0.5, 6))
    proxy.heal()


def _delay(scene: Scene) -> None:
    proxy = _between(scene)
    proxy.delay(0.5)
    time.sleep(scene.chance.uniform(0.5, 4))
    proxy.heal()


def _drop(scene: Scene) -> None:
    _between(scene).drop_reply(scene.chance.randint(1, 30))


def _vendor(scene: Scene) -> None:
    kind = scene.chance.choice(["5xx", "reply_lost", "malformed", "truncated_body", "body_code", "latency"])
    applied = scene.chance.choice(["before", "after"])
    vendor = scene.chance.choice(VENDORS)
    scene.rig.fault(vendor, kind, share=0.3, count=5, ms=1000, applied=applied, seed=scene.chance.randrange(10**6))


def _limit(scene: Scene) -> None:
    scene.rig.fault(scene.chance.choice(VENDORS), "429", share=0.3, count=3, retry_after_s=1)


def _webhooks(scene: Scene) -> None:
    kind = scene.chance.choice(["webhook_lost", "webhook_doubled", "webhook_reordered", "webhook_late"])
    scene.rig.fault(scene.chance.choice(VENDORS), kind, share=0.4, count=20, ms=2000)


def _tokens(scene: Scene) -> None:
    scene.rig.control("POST", ACCOUNTS, "expire")


TROUBLES: tuple[tuple[str, Trouble], ...] = (
    ("worker, api or beat killed", _kill),
    ("all workers killed", _kill_all),
    ("worker frozen", _freeze),
    ("Redis killed", _redis_kill),
    ("Postgres killed", _postgres_kill),
    ("Redis frozen", _redis_freeze),
    ("Redis emptied", _flush),
    ("Redis' clients killed", _clients),
    ("network cut", _cut),
    ("network silent", _stall),
    ("network slow", _delay),
    ("an answer dropped", _drop),
    ("vendor in trouble", _vendor),
    ("vendor over its limit", _limit),
    ("webhooks lost, doubled, late, disordered", _webhooks),
    ("access tokens ended", _tokens),
)


@dataclass
class Soak:
    seed: int
    done: Counter[str] = field(default_factory=Counter)
    lines: list[Line] = field(default_factory=list)
    edits: int = 0
    records: int = 0

    def stretch(self, seconds: float) -> Callable[[Scene], None]:
        """So long of load and trouble, and then the rest that a cell's frame gives."""

        def body(scene: Scene) -> None:
            scene.rig.control("POST", ACCOUNTS, "capabilities", {"token_window_s": 5})
            scene.expect["token_window_s"] = 5.0
            scene.load(8, per_s=8)
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                time.sleep(scene.chance.expovariate(1 / 2.5))
                name, trouble = scene.chance.choice(TROUBLES)
                trouble(scene)
                self.done[name] += 1
                self._load_more(scene)
            scene.rig.heal()
            scene.rig.await_all_live()
            scene.over()
            scene.rig.ended(scene.sync_id or 0)
            scene.closing_sync = True
            self.edits += scene.people.edits

        return body

    def _load_more(self, scene: Scene) -> None:
        if scene.rig.all_live() and scene.sync_id is not None and scene.rig.run(scene.sync_id)[1] is not None:
            scene.people.bring(3)
            scene.sync_id = scene.rig.begin()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=3.0, help="minutes between two audits")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--out", type=Path, default=Path("soak.md"))
    given = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6)
    evidence = Path(tempfile.mkdtemp(prefix="bothways-soak-evidence-"))
    say(f"seed {seed}; evidence of red stretches in {evidence}")
    began, soak = time.monotonic(), Soak(seed)
    _run(soak, given.minutes * 60, given.every * 60, evidence)
    text = report(soak, time.monotonic() - began)
    given.out.write_text(text)
    print(text)
    return 1 if any(not line.ok for line in soak.lines) else 0


def _run(soak: Soak, seconds: float, every_s: float, evidence: Path, shape: Shape = MIXED) -> None:
    """On one stack as long as it is green."""
    ends = time.monotonic() + seconds
    number = 0
    while time.monotonic() < ends:
        with Rig.start(shape) as rig:
            while time.monotonic() < ends:
                number += 1
                stretch_s = max(10.0, min(every_s, ends - time.monotonic()))
                cell = Cell("soak", str(number), soak.seed + number, soak.stretch(stretch_s), shape, bound_s=110.0)
                line = play(rig, cell, evidence)
                soak.lines.append(line)
                soak.records = sum(len(rig.records(vendor, module)) for vendor, module in MODULES)
                say(f"{'ok ' if line.ok else 'RED'} stretch {number}: {line.findings[:5]} {line.evidence}")
                if not line.ok:
                    break


def report(soak: Soak, took_s: float) -> str:
    red = [line for line in soak.lines if not line.ok]
    healed = [line.healed_s for line in soak.lines if line.healed_s is not None]
    lines = [
        "# Soak",
        "",
        f"All faults mixed at random on one stack of sync type IV under load for {took_s / 60:.0f} minutes, times at a "
        f"tenth, seed {soak.seed}; the auditor looked at {len(soak.lines)} quiet times.",
        "",
        f"Lost {sum(one.lost for one in soak.lines)}, doubled {sum(one.doubled for one in soak.lines)}, stale writes "
        f"{sum(one.stale_writes for one in soak.lines)}; {len(red)} of {len(soak.lines)} stretches red; healed within "
        f"{max(healed, default=0):.0f} s (scaled back) of the end of the troubles. {soak.edits} edits by people, "
        f"{soak.records} records at the end.",
        "",
        "| trouble | times |",
        "|---|---|",
        *(f"| {name} | {soak.done[name]} |" for name, _ in TROUBLES),
        "",
        "| stretch | seed | healed s | quiet s | findings |",
        "|---|---|---|---|---|",
        *(
            f"| {line.step} | {line.seed} | {line.healed_s or 0:.0f} | {line.quiet_s or 0:.0f} | "
            f"{'; '.join(line.findings[:3]) or 'none'} |"
            for line in soak.lines
        ),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
