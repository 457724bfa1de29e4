"""FB: Zoho FSM (left) and Zoho Books, or Zoho Invoice, which is the same API under another name (right)."""

from __future__ import annotations

from shared.integrations.base import Integration, SizeLimit
from shared.integrations.fsm_books.modules.companies__customers import COMPANIES
from shared.integrations.fsm_books.modules.contacts__contact_persons import CONTACT_PERSONS
from shared.integrations.fsm_books.modules.contacts__individuals import CONTACTS
from shared.integrations.fsm_books.modules.services_and_parts__items import ITEMS
from shared.integrations.fsm_books.modules.work_orders__invoices import WORK_ORDERS
from shared.integrations.fsm_books.types import SYNC_TYPES
from shared.sync.model import ModuleName, Policy, Side, VendorName

INTEGRATION = Integration(
    key="fsm_books",
    label="FSM–Books",
    left=(VendorName("zoho_fsm"),),
    right=(VendorName("zoho_books"), VendorName("zoho_invoice")),
    left_label="Zoho FSM",
    right_label="Zoho Books or Invoice",
    pairs=(COMPANIES, CONTACT_PERSONS, CONTACTS, ITEMS),
    tie_side=Side.RIGHT,
    policies=(Policy.OVERWRITE, Policy.CLONE),
    sync_types=SYNC_TYPES,
    default_type="IV",
    same_type_as=("crm_books",),
    limited=(
        SizeLimit(Side.RIGHT, ModuleName("contacts"), "customers"),
        SizeLimit(Side.RIGHT, ModuleName("items"), "items"),
    ),
    limits_manual=True,
    invoicing=WORK_ORDERS,
)
