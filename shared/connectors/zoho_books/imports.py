"""Where a data import goes in Zoho Books: both kinds of customers are contacts, told apart by their sub-type."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from shared.connectors.zoho_books.modules import CONTACTS, ITEMS
from shared.sync.imports import ImportKind, ImportTarget

_BUSINESS = {"contact_type": "customer", "customer_sub_type": "business"}
_INDIVIDUAL = {"contact_type": "customer", "customer_sub_type": "individual"}

IMPORTS: Mapping[ImportKind, ImportTarget] = MappingProxyType(
    {
        ImportKind.COMPANIES: ImportTarget(CONTACTS, "contact_name", constants=_BUSINESS, scope=_BUSINESS),
        ImportKind.CONTACTS: ImportTarget(
            CONTACTS,
            "email",
            constants=_INDIVIDUAL,
            scope=_INDIVIDUAL,
            composed={"contact_name": ("first_name", "last_name")},
        ),
        # For sale; Books asks for no account then.
        ImportKind.ITEMS: ImportTarget(ITEMS, "name", constants={"item_type": "sales"}),
    }
)
