"""What may follow what."""

from __future__ import annotations

from itertools import pairwise

import pytest

from shared.sync.guards import may_start
from shared.sync.states import (
    IMPORT_MOVES,
    INTEGRATION_MOVES,
    RUN_MOVES,
    SUCCESSFUL,
    ImportState,
    IntegrationState,
    RunKind,
    RunState,
    end_of,
    may_become,
    may_move,
)


@pytest.mark.rule("LG-1")
def test_every_state_is_in_the_table_and_can_be_reached_and_left() -> None:
    assert set(RUN_MOVES) == set(RunState)
    assert set(INTEGRATION_MOVES) == set(IntegrationState)
    reached = {RunState.QUEUED}
    for _ in RunState:
        reached |= {following for state in reached for following in RUN_MOVES[state]}
    assert reached == set(RunState)
    for state in RunState:
        assert state.terminal or {RunState.FAILED, RunState.CANCELLED} <= RUN_MOVES[state]
        assert state not in RUN_MOVES[state]


@pytest.mark.rule("LK-5")
def test_every_state_of_an_import_can_be_reached_and_left() -> None:
    assert set(IMPORT_MOVES) == set(ImportState)
    reached = {ImportState.UPLOADING}
    for _ in ImportState:
        reached |= {following for state in reached for following in IMPORT_MOVES[state]}
    assert reached == set(ImportState)
    for state in set(ImportState) - {ImportState.UPLOADING}:
        assert state.terminal or {ImportState.FAILED, ImportState.CANCELLED} <= IMPORT_MOVES[state]


@pytest.mark.rule("LG-1", "SU-4")
@pytest.mark.parametrize(
    "path",
    [
        "queued preflight listing draining completed",
        "queued preflight listing draining completed_with_failures",
        "queued waiting preflight listing matching draining waiting draining completed",
        "queued preflight listing matching completed",
        "queued preflight draining completed",
        "queued preflight failed",
        "queued cancelled",
    ],
)
def test_paths_of_a_run(path: str) -> None:
    states = [RunState(word) for word in path.split()]
    assert all(may_move(a, b) for a, b in pairwise(states))
    assert states[-1].terminal


@pytest.mark.rule("LG-1")
@pytest.mark.parametrize(
    ("current", "following"),
    [
        (RunState.QUEUED, RunState.DRAINING),
        (RunState.QUEUED, RunState.COMPLETED),
        (RunState.WAITING, RunState.COMPLETED),
        (RunState.LISTING, RunState.COMPLETED),
        (RunState.DRAINING, RunState.LISTING),
        (RunState.COMPLETED, RunState.DRAINING),
        (RunState.FAILED, RunState.QUEUED),
        (RunState.CANCELLED, RunState.COMPLETED),
    ],
)
def test_moves_that_may_not_be(current: RunState, following: RunState) -> None:
    assert not may_move(current, following)


@pytest.mark.rule("TR-5")
def test_failures_of_records_do_not_fail_a_run() -> None:
    assert end_of(0) is RunState.COMPLETED
    assert end_of(3) is RunState.COMPLETED_WITH_FAILURES
    assert {end_of(0), end_of(1)} == SUCCESSFUL


@pytest.mark.rule("SU-2", "ST-4")
def test_integration_states() -> None:
    assert may_become(IntegrationState.DRAFT, IntegrationState.ENABLED)
    assert may_become(IntegrationState.ENABLED, IntegrationState.PAUSED)
    assert may_become(IntegrationState.DISABLED, IntegrationState.ENABLED)
    assert not may_become(IntegrationState.DRAFT, IntegrationState.PAUSED)
    assert not any(IntegrationState.DRAFT in moves for moves in INTEGRATION_MOVES.values())


@pytest.mark.rule("SU-4")
@pytest.mark.parametrize(
    ("kind", "fetched", "enabled", "live", "code"),
    [
        (RunKind.SYNC, True, True, True, None),
        (RunKind.WEBHOOK, True, True, True, None),
        (RunKind.SYNC, False, True, True, "FETCH_FIRST"),
        (RunKind.WEBHOOK, False, True, True, "FETCH_FIRST"),
        (RunKind.SYNC, True, False, True, "NOT_ENABLED"),
        (RunKind.SYNC, False, False, True, "NOT_ENABLED"),
        (RunKind.SYNC, True, True, False, "CONNECTION_BROKEN"),
        (RunKind.FETCH, False, False, True, None),
        (RunKind.FETCH, False, True, False, "CONNECTION_BROKEN"),
    ],
)
def test_may_start(kind: RunKind, fetched: bool, enabled: bool, live: bool, code: str | None) -> None:
    refusal = may_start(kind, fetched=fetched, enabled=enabled, connections_live=live)
    assert (refusal.code if refusal else None) == code
    if refusal:
        assert refusal.sentence.endswith(".")
