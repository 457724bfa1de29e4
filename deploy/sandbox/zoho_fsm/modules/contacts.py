"""Contacts. Required fields and the Company lookup [V]; lengths [I]; rows without times [I], as with Companies."""

from __future__ import annotations

from deploy.sandbox.zoho_fsm.fields import Field, Module

MODULE = Module(
    name="Contacts",
    fields={
        "Salutation": Field(length=25),
        "First_Name": Field(length=100),
        "Last_Name": Field(length=100),
        "Email": Field("email", 100),
        "Phone": Field(length=30),
        "Mobile": Field(length=30),
        "Fax": Field(length=30),
        "Company": Field("lookup", module="Companies"),
        "Service_Address": Field("address"),
        "Billing_Address": Field("address"),
        "Tax": Field("tax"),
        "Currency": Field(length=3),
        "Exchange_Rate": Field("number"),
        "ZBilling_Id": Field(length=30),
        "ZCRM_Id": Field(length=30),
    },
    required=("Last_Name", "Email"),
    searchable=("Email", "Last_Name", "Mobile", "Phone", "ZBilling_Id", "ZCRM_Id"),
    first_id=1011000000295001,
    tab_name="Contacts",
    constant={"$currency_symbol": "$", "$editable": True},
    defaults={"Currency": "USD", "Exchange_Rate": 1},
    write_paths=("Contacts",),
    seed_rank=1,
)
