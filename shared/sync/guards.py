"""Facts in, a refusal out: may this run start (SU-4). The place of ST-1 to ST-5, each a function beside this one."""

from __future__ import annotations

from dataclasses import dataclass

from shared.sync.reasons import REASONS, Code
from shared.sync.states import RunKind


@dataclass(frozen=True, slots=True)
class Refusal:
    """`code` is one of `reasons`; `sentence` says what is in the way and what to do."""

    code: str
    sentence: str


def may_start(
    kind: RunKind, *, fetched: bool, enabled: bool, connections_live: bool, draft: bool = False
) -> Refusal | None:
    """None: it may. Fetch writes nothing, so it needs the connections and that set-up is over; all else needs Fetch to
    have run and the integration to be enabled."""
    if not connections_live:
        return _refusal(Code.CONNECTION_BROKEN)
    if draft:
        return _refusal(Code.NOT_ENABLED)
    if kind is RunKind.FETCH:
        return None
    if not enabled:
        return _refusal(Code.NOT_ENABLED)
    return None if fetched else _refusal(Code.FETCH_FIRST)


def _refusal(code: Code) -> Refusal:
    reason = REASONS[code]
    return Refusal(code, f"{reason.sentence}. {reason.remedy}")
