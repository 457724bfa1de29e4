"""Every table, imported so that the metadata is whole."""

from shared.db.models.imports import ImportChunk, ImportJob, ImportKnown, ImportRow
from shared.db.models.integrations import Installation, Integration, LeaseLog, OpenBatch, OrgLease, Watermark
from shared.db.models.notifications import Notification
from shared.db.models.orgs import Connection, Org, PendingSignIn, Workspace
from shared.db.models.people import ApiToken, AuditLog
from shared.db.models.records import Aside, Binding, Due, Intent, Invoice
from shared.db.models.runs import EventDone, Listing, Outcome, Run, RunCount, Staged

__all__ = [
    "ApiToken",
    "Aside",
    "AuditLog",
    "Binding",
    "Connection",
    "Due",
    "EventDone",
    "ImportChunk",
    "ImportJob",
    "ImportKnown",
    "ImportRow",
    "Installation",
    "Integration",
    "Intent",
    "Invoice",
    "LeaseLog",
    "Listing",
    "Notification",
    "OpenBatch",
    "Org",
    "OrgLease",
    "Outcome",
    "PendingSignIn",
    "Run",
    "RunCount",
    "Staged",
    "Watermark",
    "Workspace",
]
