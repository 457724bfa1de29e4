"""Scopes: items and organisations live under `settings` (zoho-books.md, section 1)."""

from __future__ import annotations

from shared.connectors._zoho.oauth import ZohoSignIn

SCOPES = (
    "ZohoBooks.contacts.READ",
    "ZohoBooks.contacts.CREATE",
    "ZohoBooks.contacts.UPDATE",
    "ZohoBooks.settings.READ",
    "ZohoBooks.settings.CREATE",
    "ZohoBooks.settings.UPDATE",
)

SIGN_IN = ZohoSignIn(product="zoho_books", scopes=SCOPES)
