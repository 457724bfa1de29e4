"""FSM work orders, of which invoices are made (TR-7), and what of them is written to the invoices (FM-6)."""

from __future__ import annotations

from shared.integrations.base import Invoicing, PairDeclaration
from shared.sync.model import ModuleName, Side

WORK_ORDERS = Invoicing(
    side=Side.LEFT,
    pair=PairDeclaration(
        name="work_orders",
        label="Work orders and invoices",
        left_module=ModuleName("Work_Orders"),
        right_module=ModuleName("invoices"),
        key_left="Name",
        key_right="invoice_number",
        defaults=(),
        makes=False,
        sides=(Side.LEFT,),
    ),
    customers=("companies", "contacts"),
    items="items",
    status_field="Status",
    statuses=("Completed",),
    billed_field="Billing_Status",
    billed="Invoiced",
)
