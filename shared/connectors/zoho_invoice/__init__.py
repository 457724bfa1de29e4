"""Zoho Invoice v3: the API of Zoho Books under another name. What is the same is in that folder."""

from __future__ import annotations

from shared.connectors.zoho_books.product import Product
from shared.connectors.zoho_books.vendor import FinanceVendor
from shared.connectors.zoho_invoice.auth import SIGN_IN
from shared.connectors.zoho_invoice.settings import DEFAULT_RECORD_URL, LIMITS
from shared.sync.model import VendorName

INVOICE = Product(
    name=VendorName("zoho_invoice"),
    label="Zoho Invoice",
    path="/invoice/v3",
    sign_in=SIGN_IN,
    record_url=DEFAULT_RECORD_URL,
    limits=LIMITS,
)

CONNECTOR = FinanceVendor(INVOICE)
