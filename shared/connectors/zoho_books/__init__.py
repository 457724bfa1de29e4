"""Zoho Books v3."""

from __future__ import annotations

from shared.connectors.zoho_books.auth import SIGN_IN
from shared.connectors.zoho_books.product import Product
from shared.connectors.zoho_books.settings import DEFAULT_RECORD_URL, LIMITS
from shared.connectors.zoho_books.vendor import FinanceVendor
from shared.sync.model import VendorName

BOOKS = Product(
    name=VendorName("zoho_books"),
    label="Zoho Books",
    path="/books/v3",
    sign_in=SIGN_IN,
    record_url=DEFAULT_RECORD_URL,
    limits=LIMITS,
)

CONNECTOR = FinanceVendor(BOOKS)
