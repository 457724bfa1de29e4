"""Every call of the Books connector is one that the vendor's OpenAPI files describe (all other tests check theirs)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from shared.connectors.base import Draft, Edit
from shared.sync.model import Change
from tests.contract.books_openapi import FOLDER, BooksFiles, Seen
from tests.contract.support import CASES, Case, World

pytestmark = [
    pytest.mark.rule("OP-3"),
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the vendor's OpenAPI files are not beside this checkout"),
]
books_cases = pytest.mark.parametrize("case", [case for case in CASES if case.family == "zoho_books"], ids=str)


@books_cases
def test_a_record_s_whole_life_is_in_the_vendor_s_files(
    world: World, books_calls: list[Seen], vendor_files: BooksFiles
) -> None:
    record_id = world.create("Life", **{world.case.plain: "before"})
    record = world.fetch(record_id)
    change = Change(world.case.plain, "before", "after")
    world.connector.update(world.case.module, [Edit(record, (change,))])
    world.listed()
    world.connector.find(world.case.module, world.case.key, "Life")
    world.connector.fetch(world.case.module, [record_id, record_id])
    world.connector.probe()
    world.vendor.orgs(world.link)
    seen = {(call.method, vendor_files.template(call)) for call in books_calls}
    many = f"/{world.case.module}"
    assert {("post", (world.case.module, many)), ("get", (world.case.module, many))} <= seen
    assert ("put", (world.case.module, f"{many}/{{{world.case.own_id}}}")) in seen
    assert ("get", ("organizations", "/organizations")) in seen


@books_cases
def test_the_files_find_a_wrong_call(world: World, books_calls: list[Seen], vendor_files: BooksFiles) -> None:
    world.create("Fine")
    good = books_calls[0]
    assert vendor_files.problems(good) == []
    for bad in (
        replace(good, query=()),
        replace(good, query=(*good.query, ("colour", "red"))),
        replace(good, content=b'{"website": "x"}'),
        replace(good, content=good.content.replace(b"{", b'{"colour": "red", ', 1)),
        replace(good, path="/nowhere"),
        replace(good, method="patch"),
    ):
        assert vendor_files.problems(bad) != [], bad


@pytest.mark.parametrize("case", [CASES[3]], ids=str)
def test_an_amount_leaves_as_a_number_with_its_digits(world: World, books_calls: list[Seen]) -> None:
    world.connector.create(world.case.module, [Draft({**world.case.fields("Price"), "rate": Decimal("18.10")})])
    assert b'"rate":18.10' in books_calls[0].content


@pytest.mark.parametrize("case", [CASES[2]], ids=str)
def test_every_call_names_the_organisation_but_the_one_that_lists_them(
    world: World, books_calls: list[Seen], case: Case
) -> None:
    world.listed()
    world.vendor.orgs(world.link)
    assert [dict(call.query).get("organization_id") for call in books_calls] == [world.link.org_external_id, None]
