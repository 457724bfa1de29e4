"""Scopes: as with Zoho Books, under the product's own name [V]."""

from __future__ import annotations

from shared.connectors._zoho.oauth import ZohoSignIn

SCOPES = (
    "ZohoInvoice.contacts.READ",
    "ZohoInvoice.contacts.CREATE",
    "ZohoInvoice.contacts.UPDATE",
    "ZohoInvoice.settings.READ",
    "ZohoInvoice.settings.CREATE",
    "ZohoInvoice.settings.UPDATE",
    "ZohoInvoice.settings.DELETE",
    "ZohoInvoice.invoices.READ",
    "ZohoInvoice.invoices.UPDATE",
)

SIGN_IN = ZohoSignIn(product="zoho_invoice", scopes=SCOPES)
