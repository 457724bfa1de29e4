"""Taxes, tax groups, authorities and exemptions. Source: the vendor's file taxes.yml [V] but where it says [I]."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.messages import Request
from deploy.sandbox.zoho_books import errors, wire
from deploy.sandbox.zoho_books.office import Office
from deploy.sandbox.zoho_books.settings_table import SettingsTable, refused_use, required, switched_off

COUNTY_TAX: JsonObject = {
    "tax_id": "460000000566009", "tax_name": "County tax", "tax_percentage": Decimal("3.5"), "tax_type": "tax",
    "tax_authority_id": "", "tax_authority_name": "", "is_value_added": False, "is_default_tax": False,
    "is_editable": True,
}  # fmt: skip


class TaxTable(SettingsTable):
    """With taxes off the lists are empty and creates are refused [I]."""

    @property
    def on(self) -> bool:
        return bool(self.office.capabilities["taxes_enabled"])

    def start(self) -> list[JsonObject]:
        return []

    def shown_rows(self, request: Request) -> list[JsonObject]:
        return super().shown_rows(request) if self.on else []

    def check_on(self, request: Request) -> None:
        if not self.on:
            raise switched_off("Tax")

    def check_deletable(self, row: JsonObject) -> None:
        """What a contact or an item has stays [I]."""
        if self.in_use(self.id_key, row[self.id_key]):
            raise refused_use(self.label.lower())

    def check_name(self, name: str, value: str, held: JsonObject | None) -> None:
        """Names are unique without regard to case [I]."""
        for row in self.rows.values():
            if row is not held and str(row[name]).casefold() == value.casefold():
                raise errors.refuse(400, 1000, f"{self.label} {value} already exists.")


class Taxes(TaxTable):
    path, plural, singular, label = "taxes", "taxes", "tax", "Tax"
    words = ("The tax has been added.", "Tax information has been saved.", "The record has been deleted.")
    first_id = 460000000566100
    in_list = True

    def start(self) -> list[JsonObject]:
        return [COUNTY_TAX]

    def blank(self) -> JsonObject:
        return {**COUNTY_TAX, "tax_id": ""}

    def shown_rows(self, request: Request) -> list[JsonObject]:
        """Groups are listed among the taxes, as tax_type tax_group [I]."""
        groups = self.office.modules["tax_groups"].internal() if self.on else []
        return [*super().shown_rows(request), *(group_as_tax(group) for group in groups)]

    def cleaned(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        """Name and percentage are needed [I]."""
        required(given, held, "tax_name", "tax_percentage")
        row = {**COUNTY_TAX, "tax_id": "", **(held or {}), **wire.check_texts(given, {"tax_name": 100})}
        self.check_name("tax_name", row["tax_name"], held)
        row["tax_percentage"] = _percentage(given.get("tax_percentage", row["tax_percentage"]))
        row["tax_type"] = given.get("tax_type", row["tax_type"])
        if row["tax_type"] not in ("tax", "compound_tax"):
            raise errors.bad_value("tax_type")
        row["is_value_added"] = bool(given.get("is_value_added", row["is_value_added"]))
        return {**row, **self._authority(given)}

    def _authority(self, given: JsonObject) -> JsonObject:
        if not given.get("tax_authority_id"):
            return {}
        row = row_of(self.office, "tax_authorities", "tax_authority_id", given["tax_authority_id"])
        return {name: row[name] for name in ("tax_authority_id", "tax_authority_name")}

    def check_deletable(self, row: JsonObject) -> None:
        super().check_deletable(row)
        groups = self.office.modules["tax_groups"].internal()
        if any(row["tax_id"] == tax["tax_id"] for group in groups for tax in group["taxes"]):
            raise refused_use("tax")


class TaxGroups(TaxTable):
    """No list: the vendor's file has none."""

    path, plural, singular, label = "taxgroups", "tax_groups", "tax_group", "Tax group"
    words = ("success", "success", "The tax group has been deleted.")
    first_id = 460000000567100
    listed = False

    def blank(self) -> JsonObject:
        return {"tax_group_name": "", "tax_group_percentage": 0, "taxes": []}

    def cleaned(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        """`taxes` is a text of ids, parted by commas; the percentage is their sum [I]."""
        required(given, held, "tax_group_name", "taxes")
        row = {**(held or {}), **wire.check_texts(given, {"tax_group_name": 100})}
        self.check_name("tax_group_name", row["tax_group_name"], held)
        if "taxes" in given:
            ids = [part.strip() for part in str(given["taxes"]).split(",")]
            row["taxes"] = [row_of(self.office, "taxes", "tax_id", one, "taxes") for one in ids]
        row["tax_group_percentage"] = sum((Decimal(tax["tax_percentage"]) for tax in row["taxes"]), Decimal(0))
        return row

    def check_deletable(self, row: JsonObject) -> None:
        if self.in_use("tax_id", row["tax_group_id"]):
            raise refused_use("tax group")


class TaxAuthorities(TaxTable):
    path, plural, singular, label = "taxauthorities", "tax_authorities", "tax_authority", "Tax authority"
    words = ("Tax Authority has been added.", "Tax Authority information has been updated.",
             "Tax authority has been deleted.")  # fmt: skip
    first_id = 460000000066000
    texts: Mapping[str, int] = {
        "tax_authority_name": 100, "description": 500, "registration_number": 50, "registration_number_label": 50,
    }  # fmt: skip

    def blank(self) -> JsonObject:
        return dict.fromkeys(self.texts, "")

    def cleaned(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        required(given, held, "tax_authority_name")
        row = {**self.blank(), **(held or {}), **wire.check_texts(given, self.texts)}
        self.check_name("tax_authority_name", row["tax_authority_name"], held)
        return row


class TaxExemptions(TaxTable):
    """A create is answered 200 here [V]."""

    path, plural, singular, label = "taxexemptions", "tax_exemptions", "tax_exemption", "Tax exemption"
    words = ("Tax Exemption has been added.", "Tax Exemption has been updated.",
             "Tax exemption has been deleted successfully.")  # fmt: skip
    first_id = 460000000076000
    created_status = 200

    def blank(self) -> JsonObject:
        return {"tax_exemption_code": "", "description": "", "type": "customer"}

    def cleaned(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        required(given, held, "tax_exemption_code", "type")
        texts = wire.check_texts(given, {"tax_exemption_code": 100, "description": 500})
        row = {**self.blank(), **(held or {}), **texts}
        row["type"] = given.get("type", row["type"])
        if row["type"] not in ("customer", "item"):
            raise errors.bad_value("type")
        self.check_name("tax_exemption_code", row["tax_exemption_code"], held)
        return row


def _percentage(given: object) -> int | Decimal:
    value = wire.number_of("tax_percentage", given)
    if not 0 <= value <= 100:
        raise errors.bad_value("tax_percentage")
    return value


def group_as_tax(group: JsonObject) -> JsonObject:
    return {
        "tax_id": group["tax_group_id"], "tax_name": group["tax_group_name"],
        "tax_percentage": group["tax_group_percentage"], "tax_type": "tax_group",
    }  # fmt: skip


def row_of(office: Office, plural: str, id_key: str, wanted: object, said: str = "") -> JsonObject:
    """The row with that id; refused under the name `said`, or that of the id."""
    for row in office.modules[plural].internal():
        if row[id_key] == str(wanted):
            return row
    raise errors.bad_value(said or id_key)


def register(office: Office) -> None:
    for table in (Taxes, TaxGroups, TaxAuthorities, TaxExemptions):
        table(office)
