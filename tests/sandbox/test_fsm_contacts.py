"""Zoho FSM: contacts, their company, their email, and what becomes of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.sandbox.support import FSM, Box, Receiver, fault_of

pytestmark = pytest.mark.rule("OP-3")
RUSH = {"Last_Name": "Rush", "Email": "l@x.test"}
TAKEN = "Contact with this email-id is already associated with this company"


def company(box: Box, name: str = "Acme") -> dict[str, str]:
    return {"id": box.make("Companies", Company_Name=name)}


@pytest.mark.parametrize("form", ["id", "id and name", "text"])
def test_the_company_of_a_contact_is_a_lookup(box: Box, form: str) -> None:
    wanted = company(box)["id"]
    given: dict[str, Any] = {"id": {"id": wanted}, "id and name": {"id": wanted, "name": "Acme"}, "text": wanted}
    made = box.make("Contacts", **RUSH, Company=given[form])
    assert box.in_fsm("Contacts", made)["Company"] == {"name": "Acme", "id": wanted}


def test_the_company_of_a_contact_must_exist(box: Box) -> None:
    response = box.fsm("POST", "/Contacts", {"data": [{**RUSH, "Company": {"id": "1"}}]})
    assert fault_of(response) == (400, "INVALID_DATA", "Company")


def test_a_contact_is_taken_out_of_its_company(box: Box) -> None:
    made = box.make("Contacts", **RUSH, Company=company(box))
    box.change("Contacts", made, Company=None)
    assert box.in_fsm("Contacts", made)["Company"] is None


def test_contacts_have_addresses_and_tax_like_companies(box: Box) -> None:
    made = box.make("Contacts", **RUSH, Billing_Address={"City": "Austin"}, Tax={"Taxable": True})
    shown = box.in_fsm("Contacts", made)
    assert (shown["Billing_Address"]["Billing_City"], shown["Tax"]["Taxable"]) == ("Austin", True)


@pytest.mark.parametrize(
    ("field", "value"),
    [("Email", "l@x.test"), ("Last_Name", "Rush"), ("Mobile", "1"), ("Phone", "2"), ("ZBilling_Id", "3"),
     ("ZCRM_Id", "4")],
)  # fmt: skip
def test_what_contacts_are_searched_by(box: Box, field: str, value: str) -> None:
    row = {**RUSH, "Mobile": "1", "Phone": "2", "ZBilling_Id": "3", "ZCRM_Id": "4"}
    made = box.seed(FSM, Contacts=[row, {"Last_Name": "Other", "Email": "o@x.test"}])["Contacts"][0]
    params = {"api_name": field, "value": value, "comparator": "equal"}
    found = box.fsm("GET", "/Contacts/search", params=params).json()["data"]
    assert [one["id"] for one in found] == [made]


# An email is taken once in a company, or not


def second(box: Box, **fields: Any) -> Any:
    return box.fsm("POST", "/Contacts", {"data": [{**RUSH, **fields}]})


def test_an_email_may_be_taken_twice_by_default(box: Box) -> None:
    acme = company(box)
    box.make("Contacts", **RUSH, Company=acme)
    assert second(box, Company=acme).status_code == 201


def test_by_capability_an_email_is_taken_once_in_a_company(box: Box) -> None:
    box.capable(FSM, unique_contact_email=True)
    acme = company(box)
    box.make("Contacts", **RUSH, Company=acme)
    response = second(box, Company=acme, Email="L@x.test")
    assert fault_of(response) == (400, "DUPLICATE_DATA", "Email")
    assert response.json()["message"] == TAKEN


def test_the_same_email_may_be_in_another_company_or_in_none(box: Box) -> None:
    box.capable(FSM, unique_contact_email=True)
    box.make("Contacts", **RUSH, Company=company(box))
    assert second(box, Company=company(box, "Other")).status_code == 201
    assert [second(box).status_code, second(box).status_code] == [201, 201]


def test_a_change_meets_the_same_rule_but_not_itself(box: Box) -> None:
    box.capable(FSM, unique_contact_email=True)
    acme = company(box)
    first = box.make("Contacts", **RUSH, Company=acme)
    other = box.make("Contacts", Last_Name="Other", Email="o@x.test", Company=acme)
    assert box.change("Contacts", first, Email="l@x.test").status_code == 200
    assert fault_of(box.change("Contacts", other, Email="l@x.test"))[1] == "DUPLICATE_DATA"
    assert box.in_fsm("Contacts", other)["Email"] == "o@x.test"


# Deactivation and deletion


@pytest.mark.parametrize("module", ["Companies", "Contacts", "Service_And_Parts"])
def test_somebody_makes_a_record_inactive(box: Box, receiver: Receiver, module: str) -> None:
    box.control(FSM, "POST", "webhooks", {"url": receiver.url})
    fields = {"Company_Name": "A", **RUSH, "Name": "A", "Unit_Price": 1, "Type": "Service"}
    made = box.seed(FSM, **{module: [fields]})[module][0]
    for inactive in (True, False):
        box.control(FSM, "PUT", f"edits/{module}/{made}", {"$inactive": inactive})
        assert box.in_fsm(module, made)["$inactive"] is inactive
        assert made in [row["id"] for row in box.fsm("GET", f"/{module}").json()["data"]]
    events = [json.loads(one.body)["event"] for one in receiver.wait_for(2)]
    assert events == ["update", "update"]


@pytest.mark.parametrize(
    ("capability", "field", "value"),
    [("zbilling_id_writable", "ZBilling_Id", "46001"), ("zbilling_id_writable", "ZCRM_Id", "47001"),
     ("inactive_writable", "$inactive", True)],
)  # fmt: skip
def test_link_and_inactive_of_a_contact_are_written_only_by_capability(
    box: Box, capability: str, field: str, value: Any
) -> None:
    made = box.make("Contacts", **RUSH)
    before = box.in_fsm("Contacts", made)[field]
    for on, expected in ((False, before), (True, value)):
        box.capable(FSM, **{capability: on})
        assert box.change("Contacts", made, **{field: value}).status_code == 200
        assert box.in_fsm("Contacts", made)[field] == expected


def test_a_contact_is_deleted(box: Box) -> None:
    made = box.make("Contacts", **RUSH)
    assert box.fsm("DELETE", f"/Contacts/{made}").json()["data"][0]["code"] == "SUCCESS"
    assert box.fsm("GET", f"/Contacts/{made}").status_code == 404
    assert box.fsm("GET", "/Contacts").status_code == 204
    assert fault_of(box.fsm("DELETE", f"/Contacts/{made}"))[:2] == (404, "INVALID_DATA")


def test_contacts_of_a_deleted_company_stay_without_one(box: Box) -> None:
    acme = company(box)
    made = box.make("Contacts", **RUSH, Company=acme)
    assert box.fsm("DELETE", f"/Companies/{acme['id']}").status_code == 200
    assert box.in_fsm("Contacts", made)["Company"] is None


def test_by_capability_a_company_with_contacts_cannot_be_deleted(box: Box) -> None:
    box.capable(FSM, companies_with_contacts_deletable=False)
    acme = company(box)
    made = box.make("Contacts", **RUSH, Company=acme)
    assert fault_of(box.fsm("DELETE", f"/Companies/{acme['id']}")) == (400, "INVALID_DATA", "id")
    box.fsm("DELETE", f"/Contacts/{made}")
    assert box.fsm("DELETE", f"/Companies/{acme['id']}").status_code == 200


def test_every_change_of_a_contact_fires_a_webhook(box: Box, receiver: Receiver) -> None:
    box.control(FSM, "POST", "webhooks", {"url": receiver.url, "modules": ["Contacts"]})
    made = box.make("Contacts", **RUSH)
    box.change("Contacts", made, Phone="1")
    box.fsm("DELETE", f"/Contacts/{made}")
    told = [json.loads(one.body) for one in receiver.wait_for(3)]
    assert [(one["event"], one["id"]) for one in told] == [("create", made), ("update", made), ("delete", made)]


# FSM's own integration


def process(box: Box, record_id: str, service: str = "finance", **body: Any) -> Any:
    path = f"/Contacts/{record_id}/actions/process_sync"
    return box.fsm("POST", path, body, params={"sync_service": service})


@pytest.mark.parametrize(("service", "field"), [("finance", "ZBilling_Id"), ("zohocrm", "ZCRM_Id")])
def test_the_native_sync_links_and_unlinks_a_record(box: Box, service: str, field: str) -> None:
    box.capable(FSM, native_sync=True)
    made = box.make("Contacts", **RUSH)
    assert (
        process(box, made, service, sync_process="link", integ_id="46001", integ_module="contacts").status_code == 200
    )
    assert box.in_fsm("Contacts", made)[field] == "46001"
    assert process(box, made, service, sync_process="unlink").status_code == 200
    assert box.in_fsm("Contacts", made)[field] is None


def test_without_the_native_sync_nothing_is_linked(box: Box) -> None:
    made = box.make("Contacts", **RUSH)
    response = process(box, made, sync_process="link", integ_id="46001")
    assert (response.status_code, response.json()["code"]) == (400, "ERROR")
    assert box.in_fsm("Contacts", made)["ZBilling_Id"] is None


@pytest.mark.parametrize(
    ("service", "body", "field"),
    [("mail", {"sync_process": "link", "integ_id": "1"}, "sync_service"), ("finance", {}, "sync_process"),
     ("finance", {"sync_process": "push"}, "sync_process"), ("finance", {"sync_process": "link"}, "integ_id")],
)  # fmt: skip
def test_links_that_cannot_be_made(box: Box, service: str, body: dict[str, str], field: str) -> None:
    box.capable(FSM, native_sync=True)
    made = box.make("Contacts", **RUSH)
    assert fault_of(process(box, made, service, **body)) == (400, "INVALID_DATA", field)
