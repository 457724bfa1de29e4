"""Invoices: links to those of the accounting organisation. Made by their own call, never changed. Rows by get-invoices
[V]; their scopes are those of `custom` [V], which `modules.all` does not hold [I]."""

from __future__ import annotations

from deploy.sandbox.zoho_fsm.fields import Field, Module

MODULE = Module(
    name="Invoices",
    fields={
        "Name": Field(length=100, read_only=True),
        "Status": Field(length=50, read_only=True),
        "Work_Order": Field("lookup", module="Work_Orders", read_only=True),
        "Contact_Id": Field("lookup", module="Contacts", read_only=True),
        "ZBilling_InvoiceId": Field(length=30, read_only=True),
        "Date": Field(length=10, read_only=True),
        "Due_Date": Field(length=10, read_only=True),
        "Currency": Field(length=3, read_only=True),
        "Exchange_Rate": Field("number", read_only=True),
    },
    required=(),
    searchable=(),
    first_id=1011000000671001,
    tab_name="Invoices",
    constant={
        "$currency_symbol": "$",
        "$editable": True,
        "$permissions": {"read": True, "edit": True, "delete": True},
    },
    defaults={"Currency": "USD", "Exchange_Rate": 1},
    seed_rank=3,
    scope="custom",
    in_all=False,
    name_field="Name",
)
