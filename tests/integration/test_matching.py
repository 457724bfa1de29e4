"""The join in Postgres and `sync.match.match_sides` are one rule (DU-2), shown on lists drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.engine.context import Context, load_context
from shared.engine.matching import match_staged
from shared.sync.match import Keyed, Matches, fold_key, match_sides, staged_keys
from shared.sync.model import Pair, Record, RecordId, Side, Value
from tests.integration.world import World

pytestmark = pytest.mark.rule("DU-2", "DU-8")

PAIR = "companies"
# Few words, so that keys meet; forms that fold together, and some that must not.
KEYS = st.sampled_from(
    ["Acme", "ACME ", "acme", "Ac me", "Ac  me", "Straße", "STRASSE", "É", "e\u0301", "", "  ", "İ", "x", "y", "z", "w"]
)
SIDE = st.lists(KEYS, max_size=7)
Drawn = tuple[str, str, str]
"""(e-mail, name, parent)."""
PEOPLE = st.lists(
    st.tuples(
        st.sampled_from(["a@x.test", "", "b@x.test", "A@x.test ", "c@x.test"]),
        st.sampled_from(["Ann", "ANN", "Bob", ""]),
        st.sampled_from(["c1", "c1", "c2"]),
    ),
    min_size=1,
    max_size=6,
)
ANN, ANN_TOO, BOB = ("a@x.test", "Ann", "c1"), ("b@x.test", "ann ", "c1"), ("a@x.test", "Bob", "c2")
NO_MAIL, NOBODY = ("", "Ann", "c1"), (" ", "", "")
LOOKED_AT = settings(
    max_examples=50, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip

_STAGE = text(
    "INSERT INTO staged (run_id, pair, side, record_id, workspace_id, fields, complete, inactive, folded_key, "
    "second_key, read_at, modified_at) VALUES (:r, :p, :s, :id, :w, '{}', true, false, :k, :k2, clock_timestamp(), :m)"
)


@pytest.fixture
def context(world: World) -> Context:
    return load_context(world.office.ports, world.integration)


@pytest.fixture
def families(world: World) -> Context:
    return of_type(world, "III")


@pytest.fixture
def singles(world: World) -> Context:
    return of_type(world, "II")


def of_type(world: World, sync_type: str) -> Context:
    world.office.sql("UPDATE integration SET sync_type = :t", t=sync_type)
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
    stage_keyed(session, context, run, PAIR, side, keyed(keys), modified)


def stage_keyed(
    session: Session,
    context: Context,
    run: int,
    pair: str,
    side: Side,
    rows: Sequence[Keyed],
    modified: Any = None,
) -> None:
    base = {"r": run, "p": pair, "s": side.value, "w": context.workspace_id}
    if rows:
        more = [{"id": row.id, "k": fold_key(row.key), "k2": row.second, "m": modified} for row in rows]
        session.execute(_STAGE, [{**base, **one} for one in more])
    session.execute(
        text(
            "INSERT INTO listing (run_id, pair, side, workspace_id, done, whole, rows, read_at) "
            "VALUES (:r, :p, :s, :w, true, true, :n, clock_timestamp())"
        ),
        {**base, "n": len(rows)},
    )


def bind(session: Session, context: Context, left: str, right: str, pair: str = PAIR) -> None:
    session.execute(
        text(
            "INSERT INTO binding (workspace_id, left_org_id, right_org_id, pair, left_id, right_id, fence, "
            "bound_by_run) VALUES (:w, :lo, :ro, :p, :l, :r, 0, 0)"
        ),
        {
            "w": context.workspace_id, "lo": context.orgs[Side.LEFT], "ro": context.orgs[Side.RIGHT], "p": pair,
            "l": left, "r": right,
        },
    )  # fmt: skip


def match(session: Session, context: Context, run: int, *, whole: bool = True, pair: str = PAIR) -> dict[str, Any]:
    match_staged(session, context, run, 1, {name: whole and name == pair for name in context.pairs})
    rows = session.execute(text("SELECT * FROM staged WHERE run_id = :r AND pair = :p"), {"r": run, "p": pair})
    return {row.record_id: row for row in rows}


def ids(prefix: str, keys: list[str]) -> dict[str, str]:
    return {f"{prefix}{n}": key for n, key in enumerate(keys)}


def keyed(keys: dict[str, str]) -> list[Keyed]:
    return [Keyed(RecordId(record), key) for record, key in keys.items()]


@given(left=SIDE, right=SIDE, taken=st.sets(st.integers(0, 6), max_size=3))
@LOOKED_AT
def test_the_join_is_the_rule(
    world: World, context: Context, left: list[str], right: list[str], taken: set[int]
) -> None:
    lefts, rights = keyed(ids("l", left)), keyed(ids("r", right))
    found, _, bound = compared(world, context, PAIR, lefts, rights, taken)
    bound_keys = [{found[pair[side]].folded_key for pair in bound} for side in (0, 1)]
    for record, row in found.items():
        if row.verdict in ("create", "look"):
            theirs = bound_keys[1 if record.startswith("l") else 0] - {""}
            held = row.folded_key in theirs
            assert (row.verdict == "look") is held, "a key whose record is bound to another is looked at"


@given(left=PEOPLE, right=PEOPLE, taken=st.sets(st.integers(0, 6), max_size=3))
@example(left=[ANN], right=[ANN_TOO], taken=set())
@example(left=[ANN, NOBODY], right=[NO_MAIL, NOBODY], taken=set())
@example(left=[ANN, NO_MAIL], right=[NO_MAIL, ANN], taken=set())
@example(left=[ANN, ANN_TOO], right=[NO_MAIL], taken=set())
@example(left=[NO_MAIL], right=[ANN, ANN_TOO], taken=set())
@example(left=[NO_MAIL], right=[ANN, NO_MAIL], taken={0})
@LOOKED_AT
def test_the_join_inside_families_is_the_rule(
    world: World, families: Context, left: list[Drawn], right: list[Drawn], taken: set[int]
) -> None:
    """By key where both have one, else by name; nobody of another family."""
    pair = families.pairs["contact_persons"]
    lefts, rights = people(pair, Side.LEFT, left), people(pair, Side.RIGHT, right)
    _, expected, _ = compared(world, families, pair.name, lefts, rights, taken)
    for a, b in expected.pairs:
        assert left[int(a[1:])][2] == right[int(b[1:])][2]


@given(left=PEOPLE, right=PEOPLE, taken=st.sets(st.integers(0, 6), max_size=3))
@example(left=[ANN, BOB], right=[BOB, ANN], taken=set())
@example(left=[ANN, BOB, ANN], right=[ANN, BOB], taken=set())
@example(left=[ANN, ANN], right=[ANN, ANN], taken={1})
@example(left=[ANN], right=[BOB], taken=set())
@LOOKED_AT
def test_the_join_where_the_parent_breaks_ties_is_the_rule(
    world: World, singles: Context, left: list[Drawn], right: list[Drawn], taken: set[int]
) -> None:
    pair = singles.pairs["contacts"]
    compared(world, singles, pair.name, people(pair, Side.LEFT, left), people(pair, Side.RIGHT, right), taken)


def people(pair: Pair, side: Side, drawn: Sequence[Drawn]) -> list[Keyed]:
    """As a run would stage them."""
    rows: list[Keyed] = []
    for number, (mail, name, parent) in enumerate(drawn):
        fields = {pair.key(side): mail, **dict.fromkeys(pair.names.get(side, ()), name)}
        if tie := pair.breaks_ties.get(side):
            fields[tie] = parent
        record = Record(RecordId(f"{side.value[0]}{number}"), fields)
        rows.append(Keyed(record.id, *staged_keys(pair, side, record, parent)))
    return rows


def compared(
    world: World, context: Context, pair: str, lefts: Sequence[Keyed], rights: Sequence[Keyed], taken: set[int]
) -> tuple[dict[str, Any], Matches, list[tuple[str, str]]]:
    """(what the database made of it, what the rule says, what was bound before)."""
    bound = [(f"l{n}", f"r{n}") for n in sorted(taken) if n < min(len(lefts), len(rights))]
    free_left = [row for row in lefts if row.id not in dict(bound)]
    free_right = [row for row in rights if row.id not in {r for _, r in bound}]
    expected = match_sides(free_left, free_right, ties=bool(context.pairs[pair].breaks_ties))
    with world.office.db.transaction() as session:
        run = new_run(session, context)
        for one in bound:
            bind(session, context, *one, pair)
        stage_keyed(session, context, run, pair, Side.LEFT, lefts)
        stage_keyed(session, context, run, pair, Side.RIGHT, rights)
        found = match(session, context, run, pair=pair)
        pairs = session.execute(text("SELECT left_id, right_id FROM binding WHERE bound_by_run = :r"), {"r": run})
        assert sorted((row.left_id, row.right_id) for row in pairs) == sorted(expected.pairs)
        check(found, expected, bound)
        again = match(session, context, run, pair=pair)
        assert {k: (v.verdict, v.state) for k, v in again.items()} == {
            k: (v.verdict, v.state) for k, v in found.items()
        }
        session.rollback()
    return found, expected, bound


def check(found: dict[str, Any], expected: Matches, bound: list[tuple[str, str]]) -> None:
    ambiguous = {*expected.ambiguous_left, *expected.ambiguous_right}
    assert {k for k, row in found.items() if row.verdict == "ambiguous"} == ambiguous
    met = {*expected.pairs, *bound}
    for left, right in met:
        assert (found[left].twin_id, found[right].twin_id) == (right, left)
        assert {found[left].verdict, found[right].verdict} == {"twin", "both"}, "one event for both"
    alone = {*expected.only_left, *expected.only_right, *expected.no_key_left, *expected.no_key_right}
    assert {k for k, row in found.items() if row.verdict in ("create", "look")} == alone


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


@pytest.mark.rule("P3", "DU-2")
@pytest.mark.parametrize(
    ("sync_type", "pair", "key"),
    [
        ("I", "companies", "a@x.test"),
        ("III", "contact_persons", "a@x.test"),
        ("III", "contact_persons", "ann lee"),
        ("II", "contacts", "a@x.test"),
    ],
)
def test_what_may_just_be_made_is_not_bound_by_the_join(world: World, sync_type: str, pair: str, key: str) -> None:
    """By its own result it is, with what was agreed on: whichever key tells that the two are the same."""
    context = of_type(world, sync_type)
    with world.office.db.transaction() as session:
        run = new_run(session, context)
        session.execute(
            text(
                "INSERT INTO intent (workspace_id, integration_id, pair, side, record_id, name, folded_key, batch_id, "
                "fence) VALUES (:w, :i, :p, 'left', 'l0', 'n', :k, 'b', 1)"
            ),
            {"w": context.workspace_id, "i": context.id, "p": pair, "k": key},
        )
        mail = "" if key == "ann lee" else key
        others = [("a@x.test", "Ann Lee", "c2")] if pair == "contacts" else []
        for side, people in ((Side.LEFT, [(mail, "Ann Lee", "c1"), *others]), (Side.RIGHT, [(mail, "Ann Lee", "c1")])):
            stage_keyed(session, context, run, pair, side, _people(context.pairs[pair], side, people))
        found = match(session, context, run, pair=pair)
        assert found["l0"].twin_id is None, {name: one.verdict for name, one in found.items()}
        session.rollback()


def _people(pair: Pair, side: Side, people: list[tuple[str, str, str]]) -> list[Keyed]:
    """(match key, name, parent)."""
    rows = []
    for number, (key, name, parent) in enumerate(people):
        fields: dict[str, Value] = {pair.key(side): key}
        fields.update(zip(pair.names.get(side, ()), name.split(), strict=False))
        if tie := pair.breaks_ties.get(side):
            fields[tie] = parent
        record = Record(RecordId(f"{side.value[0]}{number}"), fields)
        rows.append(Keyed(record.id, *staged_keys(pair, side, record, parent)))
    return rows
