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
    """What the product is known to do wrong: histories keep out of the way of those in `OPEN`, and of no other."""

    RENAMED_IN_THE_MAKING = "renamed_in_the_making"
    """A record that is renamed while its twin is made may get two."""
    SAME_NAME = "same_name"
    """Of two records with one name one may take the twin that was made for the other."""
    NO_BASE = "no_base"
    """A twin that is found again after a doubt is merged without a base: our own value may win over an edit."""
    UPDATE_IN_DOUBT = "update_in_doubt"
    """An update whose outcome was not committed may be taken for somebody's edit."""
    SAME_SECOND = "same_second"
    """An edit in the second of the version that we read last may not be seen in a list."""
    FIRST_SECOND = "first_second"
    """What was read in the second in which its first match is written counts as our own write."""
    DEAD_UNTIL_BEAT = "dead_until_beat"
    """Once Redis lost its data all workers count as dead until they beat again, and their locks are broken."""


OPEN = frozenset(Flaw)
"""Take out what is mended: its histories are played from then on."""


class Faults:
    """Targets: a side, or "left write", "right write" (429, 5xx, refused, lost, late, slow); redis, postgres, and save,
    a commit of results (before, after); tick (dead, cut)."""

    def __init__(self) -> None:
        self._armed: dict[str, deque[str]] = {}

    def arm(self, target: str, kind: str) -> None:
        self._armed.setdefault(target, deque()).append(kind)

    def take(self, target: str) -> str:
        waiting = self._armed.get(target)
        return waiting.popleft() if waiting else ""

    def clear(self) -> None:
        self._armed.clear()
