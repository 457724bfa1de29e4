"""Where a data import goes in Zoho FSM. A contact's company is named in the file, and must be there."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from shared.connectors.zoho_fsm.modules import COMPANIES, CONTACTS, ITEMS
from shared.sync.imports import ImportKind, ImportTarget, Lookup

IMPORTS: Mapping[ImportKind, ImportTarget] = MappingProxyType(
    {
        ImportKind.COMPANIES: ImportTarget(COMPANIES, "Company_Name"),
        ImportKind.CONTACTS: ImportTarget(
            CONTACTS, "Email", lookup=Lookup("Company", COMPANIES, "Company_Name", "Company.id")
        ),
        ImportKind.ITEMS: ImportTarget(ITEMS, "Name"),
    }
)
