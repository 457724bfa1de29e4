"""The other side as it was last agreed, which saves reading it."""

from __future__ import annotations

import pytest

from shared.engine.agreed import from_base
from shared.sync.model import ActionKind, Family, Pair, Policy, Presence, RecordId, Side, Value
from shared.sync.plan import plan
from tests.unit.sync_builders import PEOPLE, RICH, SINGLES, bound, replace

L, R = Side.LEFT, Side.RIGHT
BASE: dict[str, tuple[Value, Value]] = {
    "Mail|mail": ("ann@x.test", "ANN@x.test"),
    "First|first": ("Ann", "Ann"),
    "Last|last": ("Lee", "Lee"),
    "Phone|phone": ("1234567", "123456"),
}


@pytest.mark.rule("DU-6", "DU-7")
def test_each_side_is_remade_from_its_own_half() -> None:
    left, right = (from_base(SINGLES, BASE, side, RecordId("1")) for side in Side)
    assert left.fields == {"Mail": "ann@x.test", "First": "Ann", "Last": "Lee", "Phone": "1234567"}
    assert right.fields == {
        "mail": "ANN@x.test",
        "first": "Ann",
        "last": "Lee",
        "phone": "123456",
        "sub_type": "individual",
    }


@pytest.mark.rule("SU-5")
def test_a_value_is_made_up_for_one_of_a_set_and_for_no_parent() -> None:
    """A parent that nobody has read must not look like one: it would be compared with the bound one."""
    either = replace(RICH, scope={R: {"sub_type": frozenset({"person", "business"}), "name": Presence.FILLED}})
    assert from_base(either, {}, R, RecordId("1")).fields == {"sub_type": "business"}
    for pair in (PEOPLE, SINGLES):
        assert "Home.id" not in from_base(pair, BASE, L, RecordId("1")).fields


@pytest.mark.rule("DU-7", "TR-11")
@pytest.mark.parametrize(("pair", "company"), [(PEOPLE, "c1"), (SINGLES, None)], ids=["people", "singles"])
def test_a_side_that_was_not_read_is_no_edit_no_other_type_and_no_move(pair: Pair, company: str | None) -> None:
    known = {side: from_base(pair, BASE, side, RecordId("1")) for side in Side}
    left = replace(known[L], fields={**known[L].fields, "Home.id": company})
    right = replace(known[R], fields={**known[R].fields, "home_id": "b1"})
    family = Family(RecordId("c1"), RecordId("b1"))
    for source, sides in ((R, (known[L], right)), (L, (left, known[R]))):
        action = plan(pair, Policy.OVERWRITE, source, *sides, bound(BASE), family)
        assert (action.kind, action.reason) == (ActionKind.UNCHANGED, None)
