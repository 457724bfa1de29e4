"""Currencies of the organisation (TR-10): one that it lacks is added with a rate of one, where its API lets us.

The vendor documents no such call; with the setting `currencies_api` those of the family's CRM are taken to serve [I].
"""

from __future__ import annotations

from shared.connectors.http import VendorHttp, parsed
from shared.connectors.zoho_fsm import schemas
from shared.connectors.zoho_fsm.errors import RULES
from shared.errors import RecordRejected, RetryableError, UnsureWrite

PATH = "/org/currencies"


class Currencies:
    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()

    def base(self, http: VendorHttp) -> str | None:
        """The code of the organisation's base currency; None where it is not told. Raises as reads do."""
        return next((one.iso_code for one in _listed(http) if one.is_base), None)

    def ensure(self, http: VendorHttp, code: str) -> None:
        """Rates of those that are there stay as they are. Raises RecordRejected (CURRENCY_MISSING: it is there and
        inactive, or is refused), and as reads do."""
        if code in self._known:
            return
        self._known = frozenset(one.iso_code for one in _listed(http) if one.is_active)
        if code not in self._known:
            self._add(http, code)
            self._known |= {code}

    def _add(self, http: VendorHttp, code: str) -> None:
        row = {"iso_code": code, "name": code, "symbol": code, "exchange_rate": "1", "is_active": True}
        try:
            http.call("POST", PATH, json={"currencies": [row]})
        except UnsureWrite as error:
            raise RetryableError("Whether the currency was added is not known; it is looked for.") from error
        except RecordRejected as error:
            raise RecordRejected(
                str(error), code="CURRENCY_MISSING", vendor_code=error.vendor_code, vendor_message=code
            ) from None


def _listed(http: VendorHttp) -> list[schemas.Currency]:
    return parsed(RULES, schemas.Currencies, http.call("GET", PATH)).currencies
