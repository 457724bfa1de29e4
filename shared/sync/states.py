"""The states of a run and of an integration, and what may follow what."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class RunKind(StrEnum):
    """Fetch binds and writes nothing; webhook work is logged as one run per hour and moves no watermark."""

    FETCH = "fetch"
    SYNC = "sync"
    WEBHOOK = "webhook"


class RunState(StrEnum):
    QUEUED = "queued"
    PREFLIGHT = "preflight"
    LISTING = "listing"
    MATCHING = "matching"
    DRAINING = "draining"
    WAITING = "waiting"
    """For an org or for quota; it goes on from its checkpoint under the same Sync ID."""
    COMPLETED = "completed"
    COMPLETED_WITH_FAILURES = "completed_with_failures"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return not RUN_MOVES[self]


_ENDS = frozenset({RunState.FAILED, RunState.CANCELLED})
SUCCESSFUL = frozenset({RunState.COMPLETED, RunState.COMPLETED_WITH_FAILURES})

RUN_MOVES: Mapping[RunState, frozenset[RunState]] = {
    RunState.QUEUED: _ENDS | {RunState.PREFLIGHT, RunState.WAITING},
    RunState.PREFLIGHT: _ENDS | {RunState.LISTING, RunState.DRAINING, RunState.WAITING},
    RunState.LISTING: _ENDS | {RunState.MATCHING, RunState.DRAINING, RunState.WAITING},
    RunState.MATCHING: _ENDS | SUCCESSFUL | {RunState.DRAINING, RunState.WAITING},
    RunState.DRAINING: _ENDS | SUCCESSFUL | {RunState.WAITING},
    RunState.WAITING: _ENDS | {RunState.PREFLIGHT, RunState.LISTING, RunState.MATCHING, RunState.DRAINING},
    RunState.COMPLETED: frozenset(),
    RunState.COMPLETED_WITH_FAILURES: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.CANCELLED: frozenset(),
}
"""Fetch ends at matching; a run of one record goes from preflight to draining."""


class IntegrationState(StrEnum):
    DRAFT = "draft"
    ENABLED = "enabled"
    PAUSED = "paused"
    """By a person or by a threshold: events are kept, nothing is pushed."""
    DISABLED = "disabled"


INTEGRATION_MOVES: Mapping[IntegrationState, frozenset[IntegrationState]] = {
    IntegrationState.DRAFT: frozenset({IntegrationState.ENABLED}),
    IntegrationState.ENABLED: frozenset({IntegrationState.PAUSED, IntegrationState.DISABLED}),
    IntegrationState.PAUSED: frozenset({IntegrationState.ENABLED, IntegrationState.DISABLED}),
    IntegrationState.DISABLED: frozenset({IntegrationState.ENABLED}),
}
"""Who may enable what an error disabled is the services' question (ST-4)."""


def may_move(current: RunState, following: RunState) -> bool:
    return following in RUN_MOVES[current]


def may_become(current: IntegrationState, following: IntegrationState) -> bool:
    return following in INTEGRATION_MOVES[current]


def end_of(failed_records: int) -> RunState:
    """How a run ends that settled all it listed. Failure of one record never ends a run, nor makes it a failed one."""
    return RunState.COMPLETED_WITH_FAILURES if failed_records else RunState.COMPLETED


class ImportState(StrEnum):
    """Of a data import (LK-5). Waiting for its org, or for quota, is told beside the state."""

    UPLOADING = "uploading"
    QUEUED = "queued"
    READING = "reading"
    """The file into rows."""
    LISTING = "listing"
    """The org's records, to find which of the rows are there."""
    MATCHING = "matching"
    WRITING = "writing"
    COMPLETED = "completed"
    COMPLETED_WITH_FAILURES = "completed_with_failures"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return not IMPORT_MOVES[self]


IMPORT_MOVES: Mapping[ImportState, frozenset[ImportState]] = {
    ImportState.UPLOADING: frozenset({ImportState.QUEUED}),
    ImportState.QUEUED: frozenset({ImportState.READING, ImportState.FAILED, ImportState.CANCELLED}),
    ImportState.READING: frozenset({ImportState.LISTING, ImportState.FAILED, ImportState.CANCELLED}),
    ImportState.LISTING: frozenset({ImportState.MATCHING, ImportState.FAILED, ImportState.CANCELLED}),
    ImportState.MATCHING: frozenset(
        {ImportState.WRITING, ImportState.LISTING, ImportState.FAILED, ImportState.CANCELLED}
    ),
    ImportState.WRITING: frozenset(
        {
            ImportState.LISTING,
            ImportState.COMPLETED,
            ImportState.COMPLETED_WITH_FAILURES,
            ImportState.FAILED,
            ImportState.CANCELLED,
        }
    ),
    ImportState.COMPLETED: frozenset(),
    ImportState.COMPLETED_WITH_FAILURES: frozenset(),
    ImportState.FAILED: frozenset(),
    ImportState.CANCELLED: frozenset(),
}
"""Back to listing: somebody else held the org meanwhile, so what is in it may be another now."""
