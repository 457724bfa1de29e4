"""What a write of a contact or an item says of tax. Ids are checked against the organisation's settings."""

from __future__ import annotations

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.zoho_books import errors
from deploy.sandbox.zoho_books.office import Office

NO_TAX: JsonObject = {"tax_id": "", "tax_name": "", "tax_percentage": 0}
NO_EXEMPTION: JsonObject = {"tax_exemption_id": "", "tax_exemption_code": ""}


def tax_changes(office: Office, given: JsonObject, held: JsonObject | None, exempts: str) -> JsonObject:
    """`exempts` is the type of the exemptions that fit: customer or item. With taxes off no id is taken [I]."""
    if not office.capabilities["taxes_enabled"]:
        for name in ("tax_id", "tax_exemption_id", "tax_authority_id"):
            if given.get(name):
                raise errors.bad_value(name)
    taxable = given.get("is_taxable", (held or {}).get("is_taxable", True))
    if not isinstance(taxable, bool):
        raise errors.bad_value("is_taxable")
    changes: JsonObject = {"is_taxable": taxable} if "is_taxable" in given else {}
    if "tax_id" in given:
        changes.update(tax_of(office, given["tax_id"]))
    if "tax_exemption_id" in given:
        changes.update(_exemption(office, given["tax_exemption_id"], exempts))
    if given.get("tax_authority_id"):
        changes.update(_authority(office, given["tax_authority_id"]))
    return _in_step(changes, taxable)


def _in_step(changes: JsonObject, taxable: bool) -> JsonObject:
    """A tax is there only for what is taxable [V], an exemption only for what is not [I]; changing over empties the
    other [I]."""
    if not taxable and changes.get("tax_id"):
        raise errors.bad_value("tax_id")
    if taxable and changes.get("tax_exemption_id"):
        raise errors.bad_value("tax_exemption_id")
    if "is_taxable" not in changes:
        return changes
    return {**changes, **(NO_EXEMPTION if taxable else NO_TAX)}


def tax_of(office: Office, wanted: object) -> JsonObject:
    """A tax or a tax group [V]; its name and percentage follow from its id."""
    if not wanted:
        return NO_TAX
    for row in office.modules["taxes"].internal():
        if row["tax_id"] == str(wanted):
            return {name: row[name] for name in NO_TAX}
    for row in office.modules["tax_groups"].internal():
        if row["tax_group_id"] == str(wanted):
            names = {"tax_name": row["tax_group_name"], "tax_percentage": row["tax_group_percentage"]}
            return {"tax_id": str(wanted), **names}
    raise errors.bad_value("tax_id")


def _exemption(office: Office, wanted: object, exempts: str) -> JsonObject:
    if not wanted:
        return NO_EXEMPTION
    for row in office.modules["tax_exemptions"].internal():
        if row["tax_exemption_id"] == str(wanted) and row["type"] == exempts:
            return {name: row[name] for name in NO_EXEMPTION}
    raise errors.bad_value("tax_exemption_id")


def _authority(office: Office, wanted: object) -> JsonObject:
    for row in office.modules["tax_authorities"].internal():
        if row["tax_authority_id"] == str(wanted):
            return {name: row[name] for name in ("tax_authority_id", "tax_authority_name")}
    raise errors.bad_value("tax_authority_id")
