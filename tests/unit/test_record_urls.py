"""Where people look at a record at its vendor (LG-2, LG-5)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.connectors.registry import get_vendor
from shared.connectors.vendor import RecordPage
from shared.sync.model import ModuleName, RecordId

pytestmark = pytest.mark.rule("LG-2", "LG-5")

US, EU = "https://accounts.zoho.com", "https://accounts.zoho.eu"


def url(vendor: str, module: str, record: str, accounts: str = US, template: str = "") -> str | None:
    return get_vendor(vendor).record_url(RecordPage("77", accounts, ModuleName(module), RecordId(record), template))


@pytest.mark.parametrize(
    ("vendor", "module", "record", "expected"),
    [
        ("zoho_books", "contacts", "4600", "https://books.zoho.com/app/77#/contacts/4600"),
        ("zoho_books", "contact_persons", "4600.12", "https://books.zoho.com/app/77#/contacts/4600"),
        ("zoho_books", "items", "4601", "https://books.zoho.com/app/77#/items/4601"),
        ("zoho_books", "invoices", "4602", "https://books.zoho.com/app/77#/invoices/4602"),
        ("zoho_invoice", "items", "4601", "https://invoice.zoho.com/app/77#/items/4601"),
        ("zoho_invoice", "contact_persons", "4600.12", "https://invoice.zoho.com/app/77#/contacts/4600"),
        ("zoho_fsm", "Companies", "1011", "https://fsm.zoho.com/fsm/77#/tab/Companies/1011"),
        ("zoho_fsm", "Contacts", "1012", "https://fsm.zoho.com/fsm/77#/tab/Contacts/1012"),
    ],
)
def test_a_record_has_a_page(vendor: str, module: str, record: str, expected: str) -> None:
    assert url(vendor, module, record) == expected
    assert url(vendor, module, record, EU) == expected.replace("zoho.com", "zoho.eu")


def test_an_org_s_own_setting_comes_first() -> None:
    mine = "https://erp.test/{org}/{page}?id={id}"
    assert url("zoho_books", "items", "4601", template=mine) == "https://erp.test/77/items?id=4601"
    assert url("zoho_fsm", "Companies", "1011", "http://127.0.0.1:9", mine) == "https://erp.test/77/Companies?id=1011"


@pytest.mark.parametrize("template", ["javascript:alert({id})", "http://books.test/{id}", "//books.test/{id}"])
def test_an_address_that_is_not_https_is_none(template: str) -> None:
    assert url("zoho_books", "items", "4601", template=template) is None


def test_of_a_host_that_is_no_data_centre_there_is_none() -> None:
    assert url("zoho_books", "items", "4601", "http://127.0.0.1:8/zoho_accounts") is None


def test_what_an_id_holds_does_not_leave_its_place() -> None:
    page = RecordPage("77", US, ModuleName("items"), RecordId("1/../{org}?x#y"))
    assert (
        get_vendor("zoho_books").record_url(page) == "https://books.zoho.com/app/77#/items/1%2F..%2F%7Borg%7D%3Fx%23y"
    )
    foreign = replace(page, org_external_id="{id}/x")
    assert get_vendor("zoho_books").record_url(foreign) == (
        "https://books.zoho.com/app/%7Bid%7D%2Fx#/items/1%2F..%2F%7Borg%7D%3Fx%23y"
    )
