"""What depends on the organisation: its currencies, its tax edition, and whether an email is taken once."""

from __future__ import annotations

from deploy.sandbox.capabilities import Capabilities
from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.store import Record
from deploy.sandbox.zoho_fsm import errors
from deploy.sandbox.zoho_fsm.currencies import Currencies, Taxes, is_rate
from deploy.sandbox.zoho_fsm.records import Records

MONEY = ("Currency", "Exchange_Rate")
ITEMS = "Service_And_Parts"
# Edition to the tax keys that a create must give: those of companies and contacts, and those of items. That these
# belong to the edition is [V]; which of them may not be missing, and that `uk` asks nothing of items, is [I].
EDITIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "off": ((), ()),
    "us": (("Taxable",), ("Taxable",)),
    "in": (("GST_Treatment", "Place_of_Supply"), ("Inter_State_Tax_Rate", "Intra_State_Tax_Rate")),
    "uk": (("VAT_Treatment",), ()),
}  # fmt: skip
EMAIL_TAKEN = "Contact with this email-id is already associated with this company"


class Rules:
    def __init__(self, capabilities: Capabilities, currencies: Currencies, taxes: Taxes) -> None:
        self._capabilities = capabilities
        self._currencies = currencies
        self._taxes = taxes

    def applied(self, records: Records, changes: JsonObject, record: Record | None) -> JsonObject:
        """The changes as they are kept; raises a refusal. `record` None means a create."""
        changes = self._money(records, changes, record)
        changes = self._tax(records, changes, record)
        self._check_email(records, changes, record)
        return changes

    def _money(self, records: Records, changes: JsonObject, record: Record | None) -> JsonObject:
        """Mandatory of companies when multi-currency is on [V], of contacts only checked [I]; when it is off both are
        dropped like any field that is not there [I]."""
        if not self._capabilities["multi_currency"]:
            return {name: value for name, value in changes.items() if name not in MONEY}
        for name in MONEY:
            asked = name in changes or (record is None and records.module.name == "Companies")
            if asked and changes.get(name) in (None, ""):
                raise errors.missing(name)
        if "Currency" in changes and not self._currencies.usable(changes["Currency"]):
            raise errors.invalid_data("Currency")
        if "Exchange_Rate" in changes and not is_rate(changes["Exchange_Rate"]):
            raise errors.invalid_data("Exchange_Rate")
        return changes

    def _tax(self, records: Records, changes: JsonObject, record: Record | None) -> JsonObject:
        """`Tax` of the changes is the whole group that the write leaves. With taxes off it is kept as given [I]."""
        edition = self._capabilities["taxes"]
        if "Tax" not in records.module.fields:
            return changes
        if edition == "off" or (record is not None and "Tax" not in changes):
            return changes
        tax = changes.get("Tax") or {}
        for name in EDITIONS[edition][records.module.name == ITEMS]:
            if tax.get(name) in (None, ""):
                raise errors.missing(name, "Tax")
        return {**changes, "Tax": self._known(tax)}

    def _known(self, tax: JsonObject) -> JsonObject:
        """A tax is one of the organisation's, and its id and percentage follow from it; what is not taxable has none
        and says why [I]."""
        if tax.get("Taxable") is False:
            if not tax.get("Tax_Exemption_Code"):
                raise errors.missing("Tax_Exemption_Code", "Tax")
            return {**tax, "Tax_Id": None, "Tax_Name": None, "Tax_Percentage": None}
        if not (tax.get("Tax_Id") or tax.get("Tax_Name")):
            return tax
        found = self._taxes.named(tax)
        if found is None:
            raise errors.invalid_data("Tax_Id" if tax.get("Tax_Id") else "Tax_Name", "Tax")
        return {**tax, **found}

    def _check_email(self, records: Records, changes: JsonObject, record: Record | None) -> None:
        """The text is that of the native sync [V]; that the API refuses, and with which code, is [I]. Contacts without
        a company are not compared [I]."""
        if not self._capabilities["unique_contact_email"] or records.module.name != "Contacts":
            return
        after = {**(record.data if record else {}), **changes}
        if not after.get("Company"):
            return
        for other in records.table.find("Email", str(after["Email"]).casefold()):
            if other is not record and (other.data.get("Company") or {}).get("id") == after["Company"]["id"]:
                raise errors.refuse(400, "DUPLICATE_DATA", EMAIL_TAKEN, {"api_name": "Email"})
