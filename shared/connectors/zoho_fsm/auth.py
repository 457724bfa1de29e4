"""Scopes per module and verb (zoho-fsm.md, section 1): Service_And_Parts keeps the underscores of its name, Work_Orders
does not. Invoices are of the custom modules [V], whose scopes name no module."""

from __future__ import annotations

from shared.connectors._zoho.oauth import ZohoSignIn

SCOPES = (
    "ZohoFSM.modules.Companies.READ",
    "ZohoFSM.modules.Companies.CREATE",
    "ZohoFSM.modules.Companies.UPDATE",
    "ZohoFSM.modules.Contacts.READ",
    "ZohoFSM.modules.Contacts.CREATE",
    "ZohoFSM.modules.Contacts.UPDATE",
    "ZohoFSM.modules.Service_And_Parts.READ",
    "ZohoFSM.modules.Service_And_Parts.CREATE",
    "ZohoFSM.modules.Service_And_Parts.UPDATE",
    "ZohoFSM.modules.WorkOrders.READ",
    "ZohoFSM.modules.custom.ALL",
)

SIGN_IN = ZohoSignIn(product="zoho_fsm", scopes=SCOPES)
