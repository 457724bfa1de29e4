"""The mapping editor: what may be saved, and that a changed mapping reaches every bound record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from shared.errors import NotAllowed, NotFound, Refused
from shared.integrations.defaults import Line
from shared.services.mappings import MappingService, MappingView
from shared.sync.access import Actor, Permission
from shared.sync.mapping import ProblemCode
from shared.sync.model import FieldFlow
from tests.callers import token_of
from tests.integration.test_doors import serving
from tests.integration.world import BOOKS, World

pytestmark = pytest.mark.rule("FM-1", "FM-2", "FM-3")
PHONE = Line(left="Phone", right="contact_number")


@pytest.fixture
def mappings(world: World) -> MappingService:
    return MappingService(world.office.db)


def with_line(view: MappingView, *more: Line) -> list[Line]:
    return [*view.lines, *more]


def codes(problems: Sequence[Any]) -> set[ProblemCode]:
    return {one.code for one in problems if not one.warning}


def test_it_begins_with_the_defaults_and_offers_what_may_be_mapped(world: World, mappings: MappingService) -> None:
    view = mappings.get(world.actor, world.integration, "companies")
    assert view.default
    assert (view.left_module, view.right_module) == ("Companies", "contacts")
    assert view.lines[0] == Line(left="Company_Name", right="contact_name")
    assert view.problems == ()
    fields = {one.name: one for one in view.left_fields}
    assert fields["Company_Name"].required
    assert fields["Company_Name"].label == "Company name"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (Line(left="Nickname", right="notes"), ProblemCode.NO_SUCH_FIELD),
        (Line(left="Fax", right="status"), ProblemCode.READ_ONLY),
        (Line(left="Fax", right="payment_terms"), ProblemCode.TYPES_DIFFER),
        (Line(left="Fax", right="notes", transforms=("rot13",)), ProblemCode.UNKNOWN_TRANSFORM),
        (Line(left="Company_Name", right="contact_name"), ProblemCode.DUPLICATE),
    ],
    ids=lambda one: str(getattr(one, "right", one)),
)
def test_what_is_wrong_is_told_and_not_saved(
    world: World, mappings: MappingService, line: Line, code: ProblemCode
) -> None:
    lines = with_line(mappings.get(world.actor, world.integration, "companies"), line)
    assert codes(mappings.check(world.actor, world.integration, "companies", lines)) == {code}
    with pytest.raises(Refused) as refused:
        mappings.save(world.actor, world.integration, "companies", lines)
    assert refused.value.code == "MAPPING_REFUSED"
    assert world.office.value("SELECT mapping FROM integration") == {}
    assert world.office.value("SELECT count(*) FROM audit_log WHERE action = 'integration.mapping_saved'") == 0


def test_without_the_match_key_and_what_is_mandatory_nothing_is_saved(world: World, mappings: MappingService) -> None:
    lines = mappings.get(world.actor, world.integration, "items").lines[2:]
    found = codes(mappings.check(world.actor, world.integration, "items", lines))
    assert found == {ProblemCode.KEY_NOT_MAPPED, ProblemCode.MANDATORY_NOT_MAPPED}


@pytest.mark.rule("FM-12")
def test_what_an_integration_advises_against_is_a_warning_and_saved(world: World, mappings: MappingService) -> None:
    email = Line(left="Email", right="email", flow=FieldFlow.TO_LEFT)
    lines = with_line(mappings.get(world.actor, world.integration, "companies"), email)
    saved = mappings.save(world.actor, world.integration, "companies", lines)
    assert [one.code for one in saved.problems] == [ProblemCode.BETTER_NOT]
    assert not saved.default
    assert saved.lines[-1] == email


@pytest.mark.rule("FM-4", "FM-9")
def test_a_changed_mapping_reaches_every_bound_record_with_the_next_sync(
    world: World, mappings: MappingService
) -> None:
    """Also those that nobody touched since, of a list that is only read as far as the watermark."""
    mine = world.company("Zylker", Phone="044 1", Fax="7")
    late = world.company("Acme")
    world.fetch()
    world.sync()
    theirs, other = world.twin(mine) or "", world.twin(late) or ""
    world.sandbox.edit(BOOKS, "contacts", other, contact_number="044 2")
    world.office.sql("UPDATE watermark SET read_from = clock_timestamp() + interval '1 hour'")
    world.office.sql("UPDATE integration SET mapping_changed = '{}'")
    world.sync()
    assert not world.books(theirs).get("contact_number")
    lines = with_line(mappings.get(world.actor, world.integration, "companies"), PHONE)
    mappings.save(world.actor, world.integration, "companies", lines)
    # The last sync was a while ago, the change a moment: by the vendors' clocks, which tell whole seconds, too.
    world.office.sql("UPDATE watermark SET read_from = clock_timestamp() - interval '1 hour'")
    world.office.sql(
        "UPDATE integration SET mapping_changed = jsonb_build_object('companies', clock_timestamp() - interval '5 s')"
    )
    world.sync()
    assert world.books(theirs)["contact_number"] == "044 1"
    assert world.fsm(late)["Phone"] == "044 2", "blank yields, both ways"
    listed = world.office.sql("SELECT whole FROM listing WHERE run_id = (SELECT max(run_id) FROM listing)")
    world.sync()
    after = world.office.sql(
        "SELECT pair, side, whole FROM listing WHERE run_id = (SELECT max(run_id) FROM listing) AND side = 'right' "
        "AND pair = 'companies'"
    )
    assert all(row["whole"] for row in listed)
    assert [row["whole"] for row in after] == [False], "once, not for ever"


@pytest.mark.rule("FM-4", "P5")
def test_who_planned_by_the_old_mapping_plans_again(world: World, mappings: MappingService) -> None:
    """A batch that was under way as the mapping was saved must not make its records look settled."""
    mine = world.company("Zylker", Phone="044 1")
    world.fetch()
    world.sync()
    before = world.office.value("SELECT version FROM binding")
    view = mappings.get(world.actor, world.integration, "companies")
    mappings.save(world.actor, world.integration, "companies", with_line(view, PHONE))
    row = world.office.sql("SELECT version, left_hash, right_hash FROM binding WHERE left_id = :id", id=mine)[0]
    assert (row["version"], row["left_hash"], row["right_hash"]) == (before + 1, None, None)


def test_saving_what_is_there_changes_nothing(world: World, mappings: MappingService) -> None:
    view = mappings.get(world.actor, world.integration, "companies")
    mappings.save(world.actor, world.integration, "companies", with_line(view, PHONE))
    changed = world.office.value("SELECT mapping_changed FROM integration")
    mappings.save(world.actor, world.integration, "companies", with_line(view, PHONE))
    assert world.office.value("SELECT mapping_changed FROM integration") == changed
    assert mappings.save(world.actor, world.integration, "companies", None).default
    kinds = world.office.sql(
        "SELECT before, after FROM audit_log WHERE action = 'integration.mapping_saved' ORDER BY id"
    )
    assert [(row["before"]["lines"] == "default", row["after"]["lines"] == "default") for row in kinds] == [
        (True, False),
        (False, True),
    ]


def test_what_a_vendor_no_longer_has_is_told_when_the_mapping_is_looked_at(
    world: World, mappings: MappingService
) -> None:
    gone = '{"companies": [{"left": "Company_Name", "right": "contact_name"}, {"left": "Gone__C", "right": "notes"}]}'
    with world.office.db.transaction() as session:
        session.execute(text("UPDATE integration SET mapping = CAST(:gone AS jsonb)"), {"gone": gone})
    view = mappings.get(world.actor, world.integration, "companies")
    assert [one.code for one in view.problems] == [ProblemCode.NO_SUCH_FIELD]


@pytest.mark.rule("PE-1", "PE-6")
def test_who_may_and_whose(world: World, mappings: MappingService) -> None:
    viewer = replace(world.actor, permissions=frozenset({Permission.VIEW}))
    view = mappings.get(viewer, world.integration, "companies")
    for do in (mappings.check, mappings.save):
        with pytest.raises(NotAllowed):
            do(viewer, world.integration, "companies", view.lines)
    stranger: Actor = replace(world.actor, workspace=world.actor.workspace + 1)
    with pytest.raises(NotFound):
        mappings.get(stranger, world.integration, "companies")
    with pytest.raises(NotFound):
        mappings.get(world.actor, world.integration, "people")


def test_over_rest(world: World) -> None:
    with serving(world.office.settings, token_of(world.office.db)) as client:
        path = f"/api/v1/integrations/{world.integration}/mappings/companies"
        lines = client.get(path).json()["lines"]
        wrong = [*lines, {"left": "Fax", "right": "status"}]
        assert [one["code"] for one in client.post(f"{path}/check", json={"lines": wrong}).json()] == ["READ_ONLY"]
        refused = client.put(path, json={"lines": wrong})
        assert (refused.status_code, refused.json()["code"]) == (409, "MAPPING_REFUSED")
        assert "Status cannot be written" in refused.json()["message"]
        saved = client.put(path, json={"lines": [*lines, {"left": "Phone", "right": "contact_number"}]})
        assert (saved.status_code, saved.json()["default"]) == (200, False)
        assert client.get(path).json()["lines"][-1]["left"] == "Phone"
        assert client.delete(path).json()["default"]
        assert client.put(path, json={"lines": [{"left": "a"}]}).status_code == 422
        assert client.get(path.replace("companies", "nobody")).status_code == 404
