"""A CRM that has nothing to list, and CRM–Books with the four sync types (SU-5) and no pairs of modules."""

from __future__ import annotations

from shared.integrations.base import Integration, SyncType
from shared.sync.model import Policy, Side, VendorName
from tests.bench_vendor.connector import BenchVendor

CRM = BenchVendor("stub_crm", "Stub CRM")
CRM_BOOKS = Integration(
    key="crm_books",
    label="CRM–Books",
    left=(CRM.name,),
    right=(VendorName("zoho_books"),),
    left_label=CRM.label,
    right_label="Zoho Books",
    pairs=(),
    tie_side=Side.RIGHT,
    policies=(Policy.OVERWRITE,),
    sync_types=tuple(SyncType(key, f"Type {key}", "Nothing yet.", ()) for key in ("I", "II", "III", "IV")),
    default_type="IV",
)
