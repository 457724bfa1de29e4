"""Set-up of an integration as a state machine (SU-2): steps in an order, each done once the ones before it are."""

from __future__ import annotations

from collections.abc import Collection, Sequence

POLICY = "policy"
_MAPPING = "mapping:"


def steps_of(pairs: Sequence[str]) -> tuple[str, ...]:
    """The duplicates policy with the sync type, then the mapping of each pair, in the order of a sync."""
    return (POLICY, *(mapping_step(pair) for pair in pairs))


def mapping_step(pair: str) -> str:
    return f"{_MAPPING}{pair}"


def pair_of(step: str) -> str | None:
    """The pair whose mapping the step is about."""
    return step.removeprefix(_MAPPING) if step.startswith(_MAPPING) else None


def next_step(steps: Sequence[str], done: Collection[str]) -> str | None:
    """None: all are done, and it may be enabled."""
    return next((step for step in steps if step not in done), None)


def may_do(step: str, steps: Sequence[str], done: Collection[str]) -> bool:
    """A step may be done again as long as set-up lasts, and not before those ahead of it."""
    return step in steps and all(one in done for one in steps[: steps.index(step)])
