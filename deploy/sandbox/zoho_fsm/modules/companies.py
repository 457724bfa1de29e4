"""Companies. Fields [V]; lengths other than the street [I]. List rows show no times, a single read does."""

from __future__ import annotations

from deploy.sandbox.zoho_fsm.fields import Field, Module

MODULE = Module(
    name="Companies",
    fields={
        "Company_Name": Field(length=255),
        "Email": Field("email", 100),
        "Phone": Field(length=30),
        "Mobile": Field(length=30),
        "Fax": Field(length=30),
        "Website": Field(length=255),
        "Company_Type": Field(length=100),
        "Service_Address": Field("address"),
        "Billing_Address": Field("address"),
        "Tax": Field("tax"),
        "Currency": Field(length=3),
        "Exchange_Rate": Field("number"),
        "ZBilling_Id": Field(length=30),
        "ZCRM_Id": Field(length=30),
    },
    required=("Company_Name",),
    searchable=("Company_Name", "ZBilling_Id", "ZCRM_Id"),
    first_id=1011000000195001,
    tab_name="Companies",
    constant={"$currency_symbol": "$", "$editable": True, "Config": "{}"},
    defaults={"Currency": "USD", "Exchange_Rate": 1, "Company_Type": "Customer"},
    write_paths=("Companies",),
)
