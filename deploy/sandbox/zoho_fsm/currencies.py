"""The organisation's currencies and taxes. What FSM offers for them by API is not established: currencies are served in
the shape of the family's CRM under a capability, taxes are known to the control only."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.zoho_fsm import errors

US_DOLLAR: JsonObject = {
    "id": "1011000000120001", "name": "US Dollar - USD", "iso_code": "USD", "symbol": "$", "exchange_rate": "1",
    "is_active": True, "is_base": True, "prefix_symbol": True,
    "format": {"decimal_separator": "Period", "thousand_separator": "Comma", "decimal_places": "2"},
}  # fmt: skip
# By the sample row of a company [V].
COUNTY_TAX: JsonObject = {"Tax_Id": "2908070000000135005", "Tax_Name": "County tax", "Tax_Percentage": Decimal("3.5")}


class Currencies:
    def __init__(self) -> None:
        self._next_id = 1011000000120002
        self.clear()

    def clear(self) -> None:
        self.rows: dict[str, JsonObject] = {"USD": dict(US_DOLLAR)}

    def usable(self, code: object) -> bool:
        return bool(self.rows.get(str(code), {}).get("is_active"))

    def seed(self, given: JsonObject) -> JsonObject:
        """By iso_code; what is left out is as held, or as in the base currency."""
        code = str(given["iso_code"])
        fresh = {**US_DOLLAR, "id": self._new_id(), "is_base": False, "name": code, "symbol": code}
        self.rows[code] = {**self.rows.get(code, fresh), **given}
        return self.rows[code]

    def added(self, given: JsonObject) -> JsonObject:
        """Needs iso_code, name, symbol and exchange_rate [I]; a second one of a code is refused [I]."""
        for name in ("iso_code", "name", "symbol", "exchange_rate"):
            if given.get(name) in (None, ""):
                raise errors.missing(name)
        if given["iso_code"] in self.rows:
            raise errors.refuse(400, "DUPLICATE_DATA", "duplicate data", {"api_name": "iso_code"})
        _check(given)
        return self.seed({**given, "is_base": False})

    def changed(self, record_id: str, given: JsonObject) -> JsonObject:
        """The code of a currency stays, and the base currency stays active [I]."""
        row = self.by_id(record_id)
        if given.get("iso_code", row["iso_code"]) != row["iso_code"]:
            raise errors.invalid_data("iso_code")
        if row["is_base"] and given.get("is_active") is False:
            raise errors.invalid_data("is_active")
        _check(given)
        return self.seed({**given, "iso_code": row["iso_code"], "is_base": row["is_base"], "id": row["id"]})

    def by_id(self, record_id: str) -> JsonObject:
        for row in self.rows.values():
            if row["id"] == record_id:
                return row
        raise errors.unknown_record()

    def _new_id(self) -> str:
        self._next_id += 1
        return str(self._next_id)


def _check(given: JsonObject) -> None:
    code = given.get("iso_code", "USD")
    if not (isinstance(code, str) and len(code) == 3 and code.isascii() and code.isupper()):
        raise errors.invalid_data("iso_code")
    if not is_rate(given.get("exchange_rate", 1)):
        raise errors.invalid_data("exchange_rate")


def is_rate(value: object) -> bool:
    """A number above zero, or a text that is one."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return False
    try:
        number = Decimal(value)
    except InvalidOperation:
        return False
    return number.is_finite() and number > 0


class Taxes:
    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.rows: list[JsonObject] = [dict(COUNTY_TAX)]

    def seed(self, given: JsonObject) -> None:
        kept = [row for row in self.rows if row["Tax_Id"] != str(given["Tax_Id"])]
        self.rows = [*kept, {**given, "Tax_Id": str(given["Tax_Id"])}]

    def named(self, tax: JsonObject) -> JsonObject | None:
        """By the id where there is one, else by the name."""
        key = "Tax_Id" if tax.get("Tax_Id") else "Tax_Name"
        return next((row for row in self.rows if row[key] == tax.get(key)), None)
