"""Services and parts. `Part` is taken and shown as `Goods` [T]; changed under /Products too [T]."""

from __future__ import annotations

from deploy.sandbox.zoho_fsm.fields import Field, Module

MODULE = Module(
    name="Service_And_Parts",
    fields={
        "Name": Field(length=255),
        "Description": Field(length=2000),
        "Unit": Field(length=100),
        "Unit_Price": Field("number"),
        "Type": Field(choices={"Service": "Service", "Part": "Goods", "Goods": "Goods"}),
        "SKU": Field(length=100),
        "Work_Type": Field("any"),
        "Service_Tasks": Field("any"),
        "Tax": Field("tax"),
        "ZBilling_Id": Field(length=30),
        "ZCRM_Id": Field(length=30),
    },
    required=("Name", "Unit_Price", "Type"),
    searchable=("Name", "ZBilling_Id", "ZCRM_Id"),
    first_id=1011000000471001,
    tab_name="Products",
    constant={
        "$currency_symbol": "$",
        "$editable": True,
        "$permissions": {"read": True, "edit": True, "delete": True},
        "Layout": {"name": "Parts_Fsm_Standard", "id": "1011000000149098"},
    },
    defaults={"Tax": {"Taxable": True}},
    write_paths=("Service_And_Parts", "Products"),
)
