"""Lists of the organisation's settings (TR-10): its records name currencies and taxes by id, other systems by code, or
by name and rate. None is made here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from shared.connectors._zoho.taxes import tax_text
from shared.connectors.http import VendorHttp, parsed
from shared.connectors.zoho_books import schemas

LOOK_AGAIN_S = 60.0


class Listed:
    """Read when one is first asked for, and again where what is asked for is not in it, once a minute at most."""

    def __init__(self, read: Callable[[VendorHttp], Mapping[str, str]]) -> None:
        self._read = read
        self._ids: Mapping[str, str] = {}
        self._read_at: float | None = None

    def id_of(self, http: VendorHttp, name: str) -> str | None:
        """None: the organisation has no such one. Raises as reads do."""
        now = time.monotonic()
        if name not in self._ids and (self._read_at is None or now - self._read_at >= LOOK_AGAIN_S):
            self._ids = self._read(http)
            self._read_at = now
        return self._ids.get(name)


def currencies(http: VendorHttp) -> dict[str, str]:
    """Ids by code."""
    return {one.currency_code: one.currency_id for one in _currencies(http)}


def base_currency(http: VendorHttp) -> str | None:
    """Its code; None where it is not told."""
    return next((one.currency_code for one in _currencies(http) if one.is_base_currency), None)


def _currencies(http: VendorHttp) -> list[schemas.Currency]:
    return parsed(http.rules, schemas.Currencies, http.call("GET", "/settings/currencies")).currencies


def taxes(http: VendorHttp) -> dict[str, str]:
    """Ids by name and rate, groups of taxes among them."""
    rows = parsed(http.rules, schemas.Taxes, http.call("GET", "/settings/taxes")).taxes
    return {text: one.tax_id for one in rows if (text := tax_text(one.tax_name, one.tax_percentage))}
