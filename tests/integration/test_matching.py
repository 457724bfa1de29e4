"""The join in Postgres and `sync.match.match_sides` are one rule (DU-2), shown on lists drawn at random."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.engine.context import Context, load_context
from shared.engine.matching import match_staged
from shared.sync.match import Keyed, Matches, fold_key, match_sides
from shared.sync.model import RecordId, Side
from tests.integration.world import World

pytestmark = pytest.mark.rule("DU-2", "DU-8")

PAIR = "companies"
# Few words, so that keys meet; forms that fold together, and some that must not.
KEYS = st.sampled_from(
    ["Acme", "ACME ", "acme", "Ac me", "Ac  me", "Straße", "STRASSE", "É", "e\u0301", "", "  ", "İ", "x", "y", "z", "w"]
)
SIDE = st.lists(KEYS, max_size=7)


_STAGE = text(
    "INSERT INTO staged (run_id, pair, side, record_id, workspace_id, fields, complete, inactive, folded_key, read_at, "
    "modified_at) VALUES (:r, :p, :s, :id, :w, '{}', true, false, :k, clock_timestamp(), :m)"
)


@pytest.fixture
def context(world: World) -> Context:
    return load_context(world.office.ports, world.integration)


def new_run(session: Session, context: Context) -> int:
    return int(
        session.execute(
            text(
                "INSERT INTO run (workspace_id, integration_id, kind, trigger, state) "
                "VALUES (:w, :i, 'sync', 'manual', 'matching') RETURNING id"
            ),
            {"w": context.workspace_id, "i": context.id},
        ).scalar_one()
    )


def stage(session: Session, context: Context, run: int, side: Side, keys: dict[str, str], modified: Any = None) -> None:
    rows = [
        {
            "r": run,
            "p": PAIR,
            "s": side.value,
            "id": record,
            "w": context.workspace_id,
            "k": fold_key(key),
            "m": modified,
        }
        for record, key in keys.items()
    ]
    if rows:
        session.execute(_STAGE, rows)
    session.execute(
        text(
            "INSERT INTO listing (run_id, pair, side, workspace_id, done, whole, rows, read_at) "
            "VALUES (:r, :p, :s, :w, true, true, :n, clock_timestamp())"
        ),
        {"r": run, "p": PAIR, "s": side.value, "w": context.workspace_id, "n": len(keys)},
    )


def bind(session: Session, context: Context, left: str, right: str) -> None:
    session.execute(
        text(
            "INSERT INTO binding (workspace_id, left_org_id, right_org_id, pair, left_id, right_id, fence, "
            "bound_by_run) VALUES (:w, :lo, :ro, :p, :l, :r, 0, 0)"
        ),
        {
            "w": context.workspace_id, "lo": context.orgs[Side.LEFT], "ro": context.orgs[Side.RIGHT], "p": PAIR,
            "l": left, "r": right,
        },
    )  # fmt: skip


def match(session: Session, context: Context, run: int, *, whole: bool = True) -> dict[str, Any]:
    match_staged(session, context, run, 1, {name: whole and name == PAIR for name in context.pairs})
    rows = session.execute(text("SELECT * FROM staged WHERE run_id = :r AND pair = :p"), {"r": run, "p": PAIR})
    return {row.record_id: row for row in rows}


def ids(prefix: str, keys: list[str]) -> dict[str, str]:
    return {f"{prefix}{n}": key for n, key in enumerate(keys)}


def keyed(keys: dict[str, str]) -> list[Keyed]:
    return [Keyed(RecordId(record), key) for record, key in keys.items()]


@given(left=SIDE, right=SIDE, taken=st.sets(st.integers(0, 6), max_size=3))
@settings(
    max_examples=50, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_the_join_is_the_rule(
    world: World, context: Context, left: list[str], right: list[str], taken: set[int]
) -> None:
    lefts, rights = ids("l", left), ids("r", right)
    bound = [(f"l{n}", f"r{n}") for n in sorted(taken) if n < min(len(left), len(right))]
    free_left = {k: v for k, v in lefts.items() if k not in dict(bound)}
    free_right = {k: v for k, v in rights.items() if k not in {r for _, r in bound}}
    expected = match_sides(keyed(free_left), keyed(free_right))
    with world.office.db.transaction() as session:
        run = new_run(session, context)
        for one in bound:
            bind(session, context, *one)
        stage(session, context, run, Side.LEFT, lefts)
        stage(session, context, run, Side.RIGHT, rights)
        found = match(session, context, run)
        pairs = session.execute(text("SELECT left_id, right_id FROM binding WHERE bound_by_run = :r"), {"r": run})
        assert sorted((row.left_id, row.right_id) for row in pairs) == sorted(expected.pairs)
        check(found, expected, bound)
        again = match(session, context, run)
        assert {k: (v.verdict, v.state) for k, v in again.items()} == {
            k: (v.verdict, v.state) for k, v in found.items()
        }
        session.rollback()


def check(found: dict[str, Any], expected: Matches, bound: list[tuple[str, str]]) -> None:
    ambiguous = {*expected.ambiguous_left, *expected.ambiguous_right}
    assert {k for k, row in found.items() if row.verdict == "ambiguous"} == ambiguous
    met = {*expected.pairs, *bound}
    for left, right in met:
        assert (found[left].twin_id, found[right].twin_id) == (right, left)
        assert {found[left].verdict, found[right].verdict} == {"twin", "both"}, "one event for both"
    alone = {*expected.only_left, *expected.only_right, *expected.no_key_left, *expected.no_key_right}
    assert {k for k, row in found.items() if row.verdict in ("create", "look")} == alone
    bound_keys = [{found[pair[side]].folded_key for pair in bound} for side in (0, 1)]
    for record in alone:
        theirs = bound_keys[1 if record.startswith("l") else 0] - {""}
        held = found[record].folded_key in theirs
        assert (found[record].verdict == "look") is held, "a key whose record is bound to another is looked at"


@pytest.mark.parametrize(("newer", "kept"), [("l0", "l0"), ("r0", "r0"), (None, "r0")])
def test_the_end_that_changed_later_brings_the_other_along(
    world: World, context: Context, newer: str | None, kept: str
) -> None:
    times = {None: (5, 5), "l0": (6, 5), "r0": (5, 6)}[newer]
    with world.office.db.transaction() as session:
        run = new_run(session, context)
        for side, name, day in ((Side.LEFT, "l0", times[0]), (Side.RIGHT, "r0", times[1])):
            stage(session, context, run, side, {name: "same"}, modified=f"2026-01-0{day}T00:00:00Z")
        found = match(session, context, run)
        assert {k: (row.verdict, row.state) for k, row in found.items()} == {
            kept: ("both", "listed"),
            "r0" if kept == "l0" else "l0": ("twin", "done"),
        }


def test_where_a_list_was_cut_nothing_is_matched_by_absence(world: World, context: Context) -> None:
    with world.office.db.transaction() as session:
        run = new_run(session, context)
        stage(session, context, run, Side.LEFT, {"l0": "one", "l1": "same"})
        stage(session, context, run, Side.RIGHT, {"r0": "same", "r1": "two"})
        found = match(session, context, run, whole=False)
        assert {row.verdict for row in found.values()} == {"look"}
        assert session.execute(text("SELECT count(*) FROM binding")).scalar() == 0


def test_a_list_of_several_pages_proves_no_absence_where_names_may_double(world: World, context: Context) -> None:
    """A row moves to a page that was read when another is deleted: FSM takes two companies of one name."""
    with world.office.db.transaction() as session:
        run = new_run(session, context)
        stage(session, context, run, Side.LEFT, {"l0": "one"})
        stage(session, context, run, Side.RIGHT, {"r0": "two"})
        session.execute(text("UPDATE listing SET rows = 200 WHERE side = 'left'"))
        found = match(session, context, run)
        assert (found["l0"].verdict, found["r0"].verdict) == ("create", "look")
