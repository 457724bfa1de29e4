"""Faults that wait for the next call they fit, and the mutants: one promise of the protocol left out each."""

from __future__ import annotations

from collections import deque
from enum import StrEnum


class Mutant(StrEnum):
    NO_INTENT = "no_intent"
    NO_FENCE_CHECK = "no_fence_check"
    NO_ROOT_LOCK = "no_root_lock"
    ACK_FIRST = "ack_first"
    EXCLUSIVE = "exclusive"
    """`>` for `>=` at the edge of a list's window."""
    NO_LOOKS = "no_looks"
    ECHO_ANSWERED = "echo_answered"


class Flaw(StrEnum):
    """What the product is known to do wrong. Histories keep out of the way of it, unless they dare."""

    RENAMED_IN_DOUBT = "renamed_in_doubt"
    """A twin of ours that a person renames before the two are bound: no key tells any more whose it is."""


OPEN = frozenset(Flaw)


class Faults:
    """Targets: a side, or "left write", "right write" (429, quota, 5xx, refused, lost, late, slow); redis, postgres,
    and save, a commit of results (before, after); tick (dead, cut)."""

    def __init__(self) -> None:
        self._armed: dict[str, deque[str]] = {}

    def arm(self, target: str, kind: str) -> None:
        self._armed.setdefault(target, deque()).append(kind)

    def take(self, target: str) -> str:
        waiting = self._armed.get(target)
        return waiting.popleft() if waiting else ""

    def clear(self) -> None:
        self._armed.clear()
