"""What a notification e-mail says (LG-8): pure text of facts, never a record's values.

Names come from people and vendors: they are made one line of printable text before they stand in a subject.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from shared.sync.model import OutcomeKind
from shared.sync.reasons import REASONS

_MOST_NAME = 100


class NoticeKind(StrEnum):
    RUN_ENDED = "run_ended"
    RUN_FAILED = "run_failed"
    INTEGRATION_DISABLED = "integration_disabled"


@dataclass(frozen=True, slots=True)
class CountLine:
    """`modules`: the pair's label."""

    modules: str
    direction: str
    outcome: str
    reason: str
    records: int
    conflicts: int


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one run that ended; times are aware UTC. `error_detail` is a sentence of ours, or "". `log_url`: "" = none."""

    kind: NoticeKind
    integration_id: int
    integration: str
    run_id: int
    run_kind: str
    trigger: str
    state: str
    began_at: datetime | None
    ended_at: datetime | None
    error_code: str
    error_detail: str
    counts: Sequence[CountLine]
    log_url: str


@dataclass(frozen=True, slots=True)
class Notice:
    subject: str
    body: str


def notice_of(facts: Facts) -> Notice:
    name = one_line(facts.integration)[:_MOST_NAME]
    what = f"{facts.run_kind} {facts.run_id}" if facts.run_kind == "fetch" else f"sync {facts.run_id}"
    match facts.kind:
        case NoticeKind.RUN_ENDED:
            subject = f"{name}: {what} {_words(facts.state)}"
        case NoticeKind.RUN_FAILED:
            subject = f"{name}: {what} failed"
        case NoticeKind.INTEGRATION_DISABLED:
            subject = f"{name} was disabled by {what}"
    parts = [_head(facts, name, what), _why(facts), _counts(facts.counts), _failed(facts.counts), _where(facts)]
    return Notice(f"Bothways: {subject}", "\n\n".join(part for part in parts if part) + "\n")


def one_line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _head(facts: Facts, name: str, what: str) -> str:
    began, ended = (_time(one) for one in (facts.began_at, facts.ended_at))
    lines = [
        f"Integration {facts.integration_id}: {name}",
        f"Sync ID {facts.run_id} ({facts.trigger} {facts.run_kind}): {_words(facts.state)}.",
        f"Began {began}, ended {ended}.",
    ]
    if facts.kind is NoticeKind.INTEGRATION_DISABLED:
        lines.append("The integration was disabled: no sync of it runs until support has enabled it again.")
    return "\n".join(lines)


def _why(facts: Facts) -> str:
    """The reason's sentence and what to do; where the run has a sentence of its own, that one."""
    if not facts.error_code:
        return ""
    reason = REASONS.get(facts.error_code)
    said = one_line(facts.error_detail) or (f"{reason.sentence.rstrip(':')}." if reason else "")
    remedy = reason.remedy if reason is not None and reason.remedy not in said else ""
    return " ".join(part for part in (f"Why ({facts.error_code}): {said}", remedy) if part)


def _counts(counts: Sequence[CountLine]) -> str:
    """A line per modules and direction."""
    sums: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for one in counts:
        line = sums[one.modules, one.direction]
        line[one.outcome] += one.records
        line["in conflict"] += one.conflicts
    order = [*(kind.value for kind in OutcomeKind), "in conflict"]
    return "\n".join(
        f"{modules}, {direction}: " + ", ".join(f"{line[name]} {name}" for name in order if line.get(name))
        for (modules, direction), line in sorted(sums.items())
    )


def _failed(counts: Sequence[CountLine]) -> str:
    sums: dict[str, int] = defaultdict(int)
    for one in counts:
        if one.outcome == OutcomeKind.FAILED:
            sums[one.reason] += one.records
    if not sums:
        return ""
    lines = ["Failed records, by reason:"]
    for code, records in sorted(sums.items(), key=lambda one: (-one[1], one[0])):
        reason = REASONS.get(code)
        told = f"{reason.sentence.rstrip(':')}. {reason.remedy}" if reason else ""
        lines.append(f"  {records} {code}: {told}".rstrip())
    return "\n".join(lines)


def _where(facts: Facts) -> str:
    lines = [f"More: bothways run {facts.run_id}"]
    if any(one.outcome == OutcomeKind.FAILED for one in facts.counts):
        lines.append(f"Each failed record: bothways failures {facts.run_id}")
    if facts.kind is NoticeKind.INTEGRATION_DISABLED:
        lines.append(f"To enable it again, on the host: bothways support enable {facts.integration_id} --note WHY")
    if facts.log_url:
        lines.append(facts.log_url)
    return "\n".join(lines)


def _time(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _words(code: str) -> str:
    return code.replace("_", " ")
