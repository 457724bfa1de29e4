"""The sync types of companies and contacts (SU-5), as data. Items are synced by each of them."""

from __future__ import annotations

from shared.integrations.base import SyncType
from shared.sync.model import Presence, Side

SYNC_TYPES = (
    SyncType(
        key="I",
        label="Type I",
        description="Companies with customers of type Business. Contacts are not synced.",
        pairs=("companies", "items"),
    ),
    SyncType(
        key="II",
        label="Type II",
        description=(
            "Contacts, with or without a company, with customers of type Individual. Companies are not synced."
        ),
        pairs=("contacts", "items"),
    ),
    SyncType(
        key="III",
        label="Type III",
        description=(
            "Companies and their contacts with customers of type Business and their contact persons. "
            "Contacts without a company are not synced."
        ),
        pairs=("companies", "contact_persons", "items"),
    ),
    SyncType(
        key="IV",
        label="Type IV",
        description=(
            "Companies and their contacts with customers of type Business and their contact persons; "
            "contacts without a company with customers of type Individual."
        ),
        pairs=("companies", "contact_persons", "contacts", "items"),
        scope={"contacts": {Side.LEFT: {"Company.id": Presence.BLANK}}},
    ),
)
