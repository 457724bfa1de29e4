"""What an audit comes to, and what a scenario lets be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

PROMISES = tuple(f"P{number}" for number in range(1, 14))
Counts = Literal["", "lost", "doubled", "stale"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`subject`: whom or what it is about, without values. `counts`: which of the three numbers it raises; each subject
    raises a number once."""

    promise: str
    what: str
    subject: str
    counts: Counts = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.promise, self.what, self.subject


@dataclass(slots=True)
class Report:
    """`known`: findings of before the cell, left out. `unchecked`: what could not be looked at, so that silence about
    it says nothing. `notes`: what was seen and let pass."""

    findings: list[Finding] = field(default_factory=list)
    known: int = 0
    unchecked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.findings

    @property
    def lost(self) -> int:
        return self._count("lost")

    @property
    def doubled(self) -> int:
        return self._count("doubled")

    @property
    def stale_writes(self) -> int:
        return self._count("stale")

    @property
    def promises(self) -> list[str]:
        """Those that were broken, in their order."""
        broken = {one.promise for one in self.findings}
        return [promise for promise in PROMISES if promise in broken]

    @property
    def keys(self) -> list[tuple[str, str, str]]:
        """For the `known` of the next mark."""
        return [one.key for one in self.findings]

    def _count(self, what: str) -> int:
        return len({one.subject for one in self.findings if one.counts == what})

    def as_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "lost": self.lost,
            "doubled": self.doubled,
            "stale_writes": self.stale_writes,
            "promises": self.promises,
            "findings": [
                {"promise": one.promise, "what": one.what, "subject": one.subject, "counts": one.counts}
                for one in self.findings
            ],
            "known": self.known,
            "unchecked": self.unchecked,
            "notes": self.notes,
        }

    def text(self) -> str:
        verdict = "silent" if self.ok else f"RED: {len(self.findings)} findings, {', '.join(self.promises)}"
        lines = [f"{verdict} (lost {self.lost}, doubled {self.doubled}, stale writes {self.stale_writes})"]
        for promise in self.promises:
            found = [one for one in self.findings if one.promise == promise]
            lines += [f"  {promise} {one.what}: {one.subject}" for one in found[:20]]
            if len(found) > 20:
                lines.append(f"  {promise} … and {len(found) - 20} more")
        if self.known:
            lines.append(f"  {self.known} findings were there before")
        lines += [f"  let pass: {note}" for note in self.notes]
        lines += [f"  not looked at: {what}" for what in self.unchecked]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Expect:
    """What a scenario allows; the defaults are a stack that is quiet, healed and whole, after a sync. Times are ms
    where the name says so; settings in seconds are those of the product before they are scaled.

    `quiet`: nothing is under way any more. `stopped`: every worker was told to stop and has; what waits may wait, and
    only what a stop promises is looked at, beside what must always hold. `synced`: a run was started and ended after
    the last edit, so that what no webhook told is found too; else only what was told is compared. `journal_complete`:
    whatever people changed since the mark is in the journal.
    """

    quiet: bool = True
    stopped: bool = False
    synced: bool = True
    journal_complete: bool = True
    time_scale: float = 1.0

    failed: frozenset[str] = frozenset()
    """Ids of records that may end as failed, and are not compared."""
    failed_reasons: frozenset[str] = frozenset()
    """Reasons with which any record may end as failed."""
    poison: frozenset[str] = frozenset()
    """Ids of records that must have failed, with a reason."""
    ignored: frozenset[str] = frozenset()
    """Ids of records that are not looked for or compared."""
    foreign: frozenset[int] = frozenset()
    """Ids of deliveries that were for nobody, beside those that the vendor itself says were for another org."""
    unseen_trouble: bool = False
    """Calls failed on their way to a vendor, so that no log there tells of them: any event may have had to wait."""
    deletions_pending: bool = False
    """Deletions that no webhook told of are found by the next full comparison, which has not come yet."""
    history_lost_ms: tuple[tuple[float, float], ...] = ()
    """Spans of time that Redis or Postgres forgot (a flush: from 0 to its time; a restored database: from the copy to
    the restore). What was accepted in them must be found by a later sync, and has no outcome of its own."""
    database_lost_ms: tuple[tuple[float, float], ...] = ()
    """Those of them that Postgres forgot: what was pushed then is in no log of ours."""
    clocks_moved: bool = False
    """The vendors' clocks were set while the cell was on: what they told before says nothing by where they are now."""
    hidden_ms: float = 0.0
    """How long a vendor hides a new record from its lists and searches."""
    frozen_ms: tuple[tuple[float, float], ...] = ()
    """When a process of the product was frozen: a push that it had checked before may start as it thaws."""
    revoked: frozenset[str] = frozenset()
    """Vendors whose grant was withdrawn."""
    silent_from_ms: float | None = None
    """From then on nothing but lists may be asked, and nothing written (P6)."""
    transaction_ms: float = 1000.0
    """How long a result transaction may be under way (reliability, section 5), and Postgres stand still within it."""
    clock_slack_ms: float = 50.0
    """By how much the clocks of the product, Postgres and the sandbox may differ."""

    healed_s: float | None = None
    healed_bound_s: float = 60.0
    exit_s: float | None = None
    exit_bound_s: float = 30.0

    tries_by_crash: int = 3
    tries_by_error: int = 8
    push_deadline_s: float = 30.0
    claim_s: float = 45.0
    """How long the one who refreshes a grant may take (not scaled)."""
    overlap_s: float = 300.0
    door_answers_ms: float = 6000.0
    """The door's bound of 5 s, and what a busy machine adds."""
    lane_bound: int = 2000
    webhook_bound: int = 100_000
    token_allowance: int = 10
    token_window_s: float = 600.0

    def scaled_ms(self, seconds: float) -> float:
        return seconds * self.time_scale * 1000

    def excused(self, ids: Iterable[str]) -> bool:
        """Whether any of these records need not agree."""
        return any(one in self.failed or one in self.poison or one in self.ignored for one in ids)


EXPECT = TypeAdapter(Expect)
