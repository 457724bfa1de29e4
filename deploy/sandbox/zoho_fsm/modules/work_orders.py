"""Work orders. Required fields by create-work-order [V]; lengths [I]. Name, status and money are its own
affair. Rows show no lines, by the samples of the two reads [V]."""

from __future__ import annotations

from deploy.sandbox.zoho_fsm.fields import Field, Module

MODULE = Module(
    name="Work_Orders",
    fields={
        "Name": Field(length=50, read_only=True),
        "Summary": Field(length=255),
        "Type": Field(choices={"Service": "Service", "Inspection": "Inspection"}),
        "Priority": Field(length=50),
        "Due_Date": Field(length=10),
        "Status": Field(length=50, read_only=True),
        "Billing_Status": Field(length=50, read_only=True),
        "Contact": Field("lookup", module="Contacts"),
        "Company": Field("lookup", module="Companies"),
        "Email": Field("email", 100),
        "Phone": Field(length=30),
        "Territory": Field("any"),
        "Request": Field("any"),
        "Estimate": Field("any"),
        "Asset": Field("any"),
        "Service_Address": Field("address"),
        "Billing_Address": Field("address"),
        "Sub_Total": Field("number", read_only=True),
        "Tax_Amount": Field("number", read_only=True),
        "Grand_Total": Field("number", read_only=True),
        "Currency": Field(length=3, read_only=True),
        "Exchange_Rate": Field("number", read_only=True),
        "ZCRM_Deals_Id": Field(length=30, read_only=True),
        "ZCRM_Deals_Name": Field(length=255, read_only=True),
    },
    required=("Summary", "Type"),
    searchable=("Company", "Contact", "Name", "Status", "Territory", "ZCRM_Deals_Id", "ZCRM_Deals_Name"),
    first_id=1011000000571001,
    tab_name="Work_Orders",
    constant={"$currency_symbol": "$", "$editable": True, "Invalid_Data": False},
    defaults={"Status": "New", "Billing_Status": "Not yet Invoiced", "Currency": "USD", "Exchange_Rate": 1},
    write_paths=("Work_Orders",),
    seed_rank=2,
    scope="WorkOrders",
    name_field="Name",
    inner=("Service_And_Parts",),
)
