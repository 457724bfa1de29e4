"""Scopes: items, organisations and webhooks live under `settings` (zoho-books.md, section 1)."""

from __future__ import annotations

from shared.connectors._zoho.oauth import ZohoSignIn

SCOPES = (
    "ZohoBooks.contacts.READ",
    "ZohoBooks.contacts.CREATE",
    "ZohoBooks.contacts.UPDATE",
    "ZohoBooks.settings.READ",
    "ZohoBooks.settings.CREATE",
    "ZohoBooks.settings.UPDATE",
    "ZohoBooks.settings.DELETE",
    "ZohoBooks.invoices.READ",
    "ZohoBooks.invoices.UPDATE",
)

SIGN_IN = ZohoSignIn(product="zoho_books", scopes=SCOPES)
