"""Every module can be created, read, listed and changed through the vendor's own API."""

from __future__ import annotations

import pytest

from tests.sandbox.support import Box

pytestmark = pytest.mark.rule("OP-3")


@pytest.mark.parametrize(
    ("module", "fields", "changed"),
    [
        ("Companies", {"Company_Name": "Zylker"}, {"Phone": "1"}),
        ("Contacts", {"Last_Name": "Rush", "Email": "l@x.test"}, {"Phone": "1"}),
        ("Service_And_Parts", {"Name": "Fan", "Unit_Price": 12.5, "Type": "Part"}, {"Description": "tall"}),
    ],
)
def test_an_fsm_record_lives_its_life(
    box: Box, module: str, fields: dict[str, object], changed: dict[str, object]
) -> None:
    made = box.make(module, **fields)
    assert box.fsm("GET", f"/{module}").json()["data"][0]["id"] == made
    assert box.fsm("PUT", f"/{module}/{made}", {"data": [changed]}).json()["data"][0]["details"]["id"] == made
    shown = box.fsm("GET", f"/{module}/{made}").json()["data"][0]
    assert {name: shown[name] for name in changed} == changed
    assert box.fsm("DELETE", f"/{module}/{made}").status_code == 200
    assert box.fsm("GET", f"/{module}/{made}").status_code == 404


@pytest.mark.parametrize(
    ("plural", "fields", "changed"),
    [
        ("contacts", {"contact_name": "Zylker"}, {"company_name": "Zylker Inc"}),
        ("items", {"name": "Fan", "rate": 12.5}, {"description": "tall"}),
    ],
)
def test_a_books_record_lives_its_life(
    box: Box, plural: str, fields: dict[str, object], changed: dict[str, object]
) -> None:
    made = box.make_in_books(plural, **fields)
    singular = plural.removesuffix("s")
    assert [row[f"{singular}_id"] for row in box.books("GET", f"/{plural}").json()[plural]] == [made]
    assert box.books("PUT", f"/{plural}/{made}", changed).json()["code"] == 0
    shown = box.books("GET", f"/{plural}/{made}").json()[singular]
    assert {name: shown[name] for name in (*fields, *changed)} == {**fields, **changed}
    assert box.books("DELETE", f"/{plural}/{made}").json()["code"] == 0
    gone = box.books("GET", f"/{plural}/{made}")
    assert (gone.status_code, gone.json()["code"]) == (404, 1002)
