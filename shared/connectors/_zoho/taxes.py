"""A tax as one text, its name with its rate: by both it is told apart (TR-10)."""

from __future__ import annotations

import re
from decimal import Decimal

TAX = "$tax"
"""The field of that text, made here. No vendor has it."""
_RATE = re.compile(r" \(\d+(\.\d+)?%\)$")


def tax_text(name: str | None, rate: Decimal | None) -> str | None:
    """ "County tax (3.5%)"; without a rate that is known the name alone. None: no tax."""
    if not name:
        return None
    if rate is None:
        return name
    plain = format(rate, "f")
    return f"{name} ({plain.rstrip('0').rstrip('.') if '.' in plain else plain}%)"


def tax_name(text: str) -> str:
    return _RATE.sub("", text)
