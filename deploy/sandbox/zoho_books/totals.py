"""What an invoice comes to, exactly. Pure; money is Decimal, rounded to the cent, half a cent up.

What the vendor says of discounts and taxes is in its file invoices.yml [V]; how parts of a cent are shared is [I]: a
line's total is rounded, a discount on the whole is taken from the lines in proportion, the tax of each kind is rounded
once, over all its lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

CENT = Decimal("0.01")
NOTHING = Decimal("0.00")


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Part:
    """`value` is an amount, or per cent of what it is taken from."""

    value: Decimal = Decimal(0)
    percent: bool = False

    def of(self, amount: Decimal) -> Decimal:
        return amount * self.value / 100 if self.percent else self.value


@dataclass(frozen=True, slots=True)
class Line:
    """`tax` is the id of one; `tax_percent` is 0 where there is none."""

    quantity: Decimal
    rate: Decimal
    discount: Part = Part()
    tax: str = ""
    tax_percent: Decimal = Decimal(0)

    @property
    def amount(self) -> Decimal:
        return cents(self.quantity * self.rate)


@dataclass(frozen=True, slots=True)
class Terms:
    """`entity_level`: the discount is on the whole, and those of the lines do not count."""

    discount: Part = Part()
    entity_level: bool = True
    before_tax: bool = True
    inclusive: bool = False
    shipping: Decimal = Decimal(0)
    adjustment: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Totals:
    """`line_totals` are after the lines' own discounts, `taxes` amounts by the id of the tax."""

    line_totals: tuple[Decimal, ...]
    line_discounts: tuple[Decimal, ...]
    sub_total: Decimal
    discount_total: Decimal
    taxes: dict[str, Decimal]
    tax_total: Decimal
    total: Decimal


def totals_of(lines: Sequence[Line], terms: Terms) -> Totals:
    discounts = tuple(NOTHING if terms.entity_level else cents(line.discount.of(line.amount)) for line in lines)
    line_totals = tuple(line.amount - discount for line, discount in zip(lines, discounts, strict=True))
    sub_total = sum(line_totals, NOTHING)
    whole = cents(terms.discount.of(sub_total)) if terms.entity_level else NOTHING
    taxed = _taxed(lines, line_totals, sub_total, terms, whole)
    taxes = _taxes(lines, taxed, terms.inclusive)
    tax_total = sum(taxes.values(), NOTHING)
    total = sub_total - whole + cents(terms.shipping) + cents(terms.adjustment)
    return Totals(
        line_totals, discounts, sub_total, whole or sum(discounts, NOTHING), taxes, tax_total,
        total if terms.inclusive else total + tax_total,
    )  # fmt: skip


def _taxed(
    lines: Sequence[Line], line_totals: Sequence[Decimal], sub_total: Decimal, terms: Terms, whole: Decimal
) -> list[Decimal]:
    """What each line is taxed on: with the discount after tax, all that it would cost without one."""
    if not terms.before_tax:
        return [line.amount for line in lines]
    share = whole / sub_total if sub_total else Decimal(0)
    return [total - total * share for total in line_totals]


def _taxes(lines: Sequence[Line], taxed: Sequence[Decimal], inclusive: bool) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = {}
    for line, base in zip(lines, taxed, strict=True):
        if line.tax:
            of = 100 + line.tax_percent if inclusive else Decimal(100)
            sums[line.tax] = sums.get(line.tax, Decimal(0)) + base * line.tax_percent / of
    return {tax: cents(amount) for tax, amount in sums.items()}
