"""Currencies and their exchange rates. Source: the vendor's file currency.yml [V] but where it says [I]."""

from __future__ import annotations

from functools import partial

from deploy.sandbox.jsonio import JsonObject
from deploy.sandbox.messages import Answer, Request
from deploy.sandbox.zoho_books import custom_values, errors, wire
from deploy.sandbox.zoho_books.office import ORG, Office
from deploy.sandbox.zoho_books.settings_table import SettingsTable, refused_use, required, switched_off

LENGTHS = {"currency_code": 100, "currency_symbol": 4, "currency_format": 100}
NAMES = {
    "AUD": "Australian Dollar", "CAD": "Canadian Dollar", "CHF": "Swiss Franc", "EUR": "Euro", "GBP": "Pound Sterling",
    "INR": "Indian Rupee", "JPY": "Japanese Yen", "NZD": "New Zealand Dollar", "USD": "United States Dollar",
}  # fmt: skip
US_DOLLAR: JsonObject = {
    "currency_id": ORG["currency_id"], "currency_code": "USD", "currency_name": "USD- United States Dollar",
    "currency_symbol": "$", "price_precision": 2, "currency_format": "1,234,567.89", "is_base_currency": True,
    "exchange_rate": 1, "effective_date": "",
}  # fmt: skip
EURO: JsonObject = {
    **US_DOLLAR, "currency_id": "460000000000099", "currency_code": "EUR", "currency_name": "EUR- Euro",
    "currency_symbol": "€", "is_base_currency": False,
}  # fmt: skip


class Currencies(SettingsTable):
    path, plural, singular, label = "currencies", "currencies", "currency", "Currency"
    words = ("The currency has been added.", "Currency information has been saved.", "The currency has been deleted.")
    first_id = 460000000000200

    def __init__(self, office: Office) -> None:
        # Rates by currency, those by their id.
        self.rates: dict[str, dict[str, JsonObject]] = {}
        super().__init__(office)
        path, add = f"{office.settings}/currencies/{{id}}/exchangerates", office.router.add
        add("GET", path, self._list_rates, "settings.read")
        add("POST", path, partial(self._put_rate, words="The exchange rate has been added."), "settings.create")
        add("GET", f"{path}/{{rate}}", self._read_rate, "settings.read")
        changed = "The exchange rate has been updated."
        add("PUT", f"{path}/{{rate}}", partial(self._put_rate, words=changed), "settings.update")
        add("DELETE", f"{path}/{{rate}}", self._delete_rate, "settings.delete")

    def clear(self) -> None:
        self.rates.clear()
        super().clear()

    def start(self) -> list[JsonObject]:
        return [US_DOLLAR, EURO]

    def blank(self) -> JsonObject:
        return {**EURO, "currency_id": ""}

    @property
    def multi(self) -> bool:
        return bool(self.office.capabilities["multi_currency"])

    def shown_rows(self, request: Request) -> list[JsonObject]:
        """With multi-currency off only the base currency [I]."""
        without_base = request.query.get("filter_by") == "Currencies.ExcludeBaseCurrency"
        rows = [row for row in self.rows.values() if self.multi or row["is_base_currency"]]
        return [row for row in rows if not (without_base and row["is_base_currency"])]

    def check_on(self, request: Request) -> None:
        if not self.multi:
            raise switched_off("Multi-currency")

    def cleaned(self, given: JsonObject, held: JsonObject | None) -> JsonObject:
        """A second currency of one code is refused, as is a code that is not three capital letters [I]."""
        for name in ("currency_code", "currency_format"):
            if not given.get(name):
                raise errors.empty(name)
        texts = wire.check_texts(given, LENGTHS)
        code = texts["currency_code"]
        if not (len(code) == 3 and code.isascii() and code.isupper()):
            raise errors.bad_value("currency_code")
        if any(row["currency_code"] == code for row in self.rows.values() if row is not held):
            raise errors.refuse(400, 1000, f"The currency {code} already exists.")
        precision = given.get("price_precision", (held or {}).get("price_precision", 2))
        if isinstance(precision, bool) or precision not in (0, 2, 3):
            raise errors.bad_value("price_precision")
        base = {"is_base_currency": False, "exchange_rate": 1, "effective_date": "", "currency_symbol": code}
        name = f"{code}- {NAMES.get(code, code)}"
        return {**base, **(held or {}), **texts, "currency_name": name, "price_precision": precision}

    def check_deletable(self, row: JsonObject) -> None:
        """The base currency, and one that a contact has, stay [I]."""
        if row["is_base_currency"] or self.in_use("currency_id", row["currency_id"]):
            raise refused_use("currency")

    # Exchange rates

    def _rates_of(self, request: Request) -> dict[str, JsonObject]:
        return self.rates.setdefault(self.found(request)["currency_id"], {})

    def _rate(self, request: Request) -> JsonObject:
        rate = self._rates_of(request).get(request.params["rate"])
        if rate is None:
            raise errors.not_found("Exchange rate")
        return rate

    def _list_rates(self, request: Request) -> Answer:
        """From `from_date` on; with is_current_date only those of today [I for both readings]."""
        rates = sorted(self._rates_of(request).values(), key=lambda one: str(one["effective_date"]))
        first = request.query.get("from_date", "")
        if request.query.get("is_current_date") == "true":
            rates = [rate for rate in rates if rate["effective_date"] == self._today()]
        shown = [rate for rate in rates if rate["effective_date"] >= first]
        return Answer.of({"code": 0, "message": "success", "exchange_rates": shown})

    def _read_rate(self, request: Request) -> Answer:
        return Answer.of({"code": 0, "message": "success", "exchange_rate": self._rate(request)["rate"]})

    def _put_rate(self, request: Request, words: str) -> Answer:
        """The answer holds the bare number: ids are told by the list only [V]. `rate` is needed [I], a rate without a
        date is today's [I]."""
        currency = self.found(request)
        self.check_on(request)
        held = self._rate(request) if "rate" in request.params else None
        given = wire.body_of(request)
        required(given, held, "rate")
        base = held or {
            "exchange_rate_id": self.new_id(), "currency_id": currency["currency_id"],
            "currency_code": currency["currency_code"], "effective_date": self._today(),
        }  # fmt: skip
        changed = self._cleaned_rate(given, base)
        self._rates_of(request)[changed["exchange_rate_id"]] = changed
        self._apply_rates(currency)
        request.touch(self.plural, currency["currency_id"], applied=True)
        message = {"code": 0, "message": words, "exchange_rate": changed["rate"]}
        return Answer.of(message, 200 if held else 201)

    def _cleaned_rate(self, given: JsonObject, base: JsonObject) -> JsonObject:
        rate = wire.number_of("rate", given.get("rate", base.get("rate")))
        if rate <= 0:
            raise errors.bad_value("rate")
        date = given.get("effective_date") or base["effective_date"]
        return {**base, "rate": rate, "effective_date": custom_values.checked("effective_date", "date", (), date)}

    def _delete_rate(self, request: Request) -> Answer:
        rate = self._rate(request)
        currency = self.found(request)
        del self._rates_of(request)[rate["exchange_rate_id"]]
        self._apply_rates(currency)
        request.touch(self.plural, currency["currency_id"], applied=True)
        return Answer.of({"code": 0, "message": "Exchange rate successfully deleted"})

    def _apply_rates(self, currency: JsonObject) -> None:
        """A currency shows the rate that came into force last [I]."""
        rates = [one for one in self.rates[currency["currency_id"]].values() if one["effective_date"] <= self._today()]
        last = max(rates, key=lambda one: str(one["effective_date"]), default=None)
        currency["exchange_rate"] = last["rate"] if last else 1
        currency["effective_date"] = last["effective_date"] if last else ""

    def _today(self) -> str:
        return self.office.clock.now().astimezone(wire.OFFSET).date().isoformat()


def register(office: Office) -> None:
    Currencies(office)
