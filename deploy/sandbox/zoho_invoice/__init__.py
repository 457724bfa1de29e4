"""Zoho Invoice (vendor id `zoho_invoice`): the API of Zoho Books under another name, without vendors.

One platform [V]; what the two have in common is in the folder of Zoho Books."""

from __future__ import annotations

from deploy.sandbox.vendor import Vendor, World
from deploy.sandbox.zoho_books.office import ORG, Edition
from deploy.sandbox.zoho_books.server import ZohoBooks

# No daily figure was found: 1,000 [I]. The others are those of a free Books plan [I].
INVOICE = Edition(
    vendor="zoho_invoice",
    prefix="ZohoInvoice",
    path="/invoice/v3",
    header="x-com-zoho-invoice-organizationid",
    org={
        **ORG,
        "organization_id": "10234711",
        "name": "Zylker Invoice",
        "email": "invoice@zylker.test",
        "plan_type": 0,
        "plan_name": "FREE",
        "version": "invoice",
    },
    published={"per_minute": 100, "per_day": 1000, "concurrent": 5},
    scopes=("ZohoInvoice.contacts.ALL", "ZohoInvoice.settings.ALL", "ZohoInvoice.invoices.ALL"),
    buys=False,
)


def build(world: World) -> Vendor:
    return ZohoBooks(world, INVOICE)
