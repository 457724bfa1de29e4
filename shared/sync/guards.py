"""Facts in, a refusal out: may this run start (SU-4), must it stop (ST-1 to ST-3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.sync.reasons import REASONS, Code, sentence
from shared.sync.states import RunKind


@dataclass(frozen=True, slots=True)
class Refusal:
    """`code` is one of `reasons`; `sentence` says what is in the way and what to do. `disables`: not this run
    alone stops, the integration does, until support lets it go on (ST-4)."""

    code: str
    sentence: str
    disables: bool = False


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another integration on one of the orgs, whose sync type must be the same (ST-1)."""

    name: str
    label: str
    sync_type: str


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


def types_agree(sync_type: str, neighbours: Sequence[Neighbour]) -> Refusal | None:
    """ST-1: two integrations that write companies and contacts into one accounting org take the same of them."""
    other = next((one for one in neighbours if one.sync_type != sync_type), None)
    if other is None:
        return None
    detail = f"this one has {sync_type}, {other.label} \u201c{other.name}\u201d has {other.sync_type}"
    return _refusal(Code.SYNC_TYPES_DIFFER, detail, disables=True)


def few_enough(label: str, org_label: str, *, more: bool, most: int) -> Refusal | None:
    """ST-2: `more` than `most` records."""
    detail = f"{org_label} has more than {most:,} {label}"
    return _refusal(Code.TOO_MANY_RECORDS, detail, disables=True) if more else None


def taxes_agree(left: bool, right: bool, labels: tuple[str, str]) -> Refusal | None:
    """ST-3: taxes are on at both sides, or at none."""
    if left == right:
        return None
    on, off = labels if left else labels[::-1]
    return _refusal(Code.TAXES_DIFFER, f"on in {on}, off in {off}")


def _refusal(code: Code, detail: str = "", *, disables: bool = False) -> Refusal:
    return Refusal(code, f"{sentence(code, detail)}. {REASONS[code].remedy}", disables)
