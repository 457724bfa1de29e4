"""What a field-service vendor asks of the accounting organisation behind it. Handed over at assembly, so that neither
vendor's folder knows the other's."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from deploy.sandbox.jsonio import JsonObject


class LedgerRefusal(Exception):
    """In the accounting vendor's words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Party:
    """A company, or a person by himself. `own_id` is his id in the accounting organisation, where that is known."""

    own_id: str | None
    name: str
    email: str
    is_person: bool
    first_name: str = ""
    last_name: str = ""
    phone: str = ""


@dataclass(frozen=True, slots=True)
class Article:
    """A service or a part."""

    own_id: str | None
    name: str
    price: Decimal
    is_service: bool
    description: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class BillLine:
    """`tax` is name and percentage; None: none."""

    item_id: str
    quantity: Decimal
    rate: Decimal
    description: str = ""
    tax: tuple[str, Decimal] | None = None


@dataclass(frozen=True, slots=True)
class Bill:
    """`date` and `due_date` are yyyy-mm-dd, "" where they are left to the organisation; `discount` is an amount, or per
    cent with % at its end."""

    customer_id: str
    lines: tuple[BillLine, ...]
    reference: str = ""
    date: str = ""
    due_date: str = ""
    payment_terms: int | None = None
    payment_terms_label: str = ""
    discount: str = ""
    adjustment: Decimal = Decimal(0)


class Ledger(Protocol):
    def customer(self, party: Party) -> str | None:
        """The id of the active customer that is the party's twin: by `own_id`, else by name, a person by email. None:
        there is none, or more than one."""
        ...

    def item(self, article: Article) -> str | None:
        """Likewise, by `own_id`, else by name."""
        ...

    def add_customer(self, party: Party) -> str:
        """Raises LedgerRefusal."""
        ...

    def add_item(self, article: Article) -> str:
        """Raises LedgerRefusal."""
        ...

    def make_invoice(self, bill: Bill) -> str:
        """A draft; its id. Raises LedgerRefusal, and nothing was made then."""
        ...

    def invoice(self, invoice_id: str) -> JsonObject | None:
        """As the accounting vendor shows it; None where it is gone."""
        ...
