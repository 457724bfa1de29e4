"""What counts as the same value, and what a value becomes in a field that holds less.

Everything here is total: no value of a vendor (a number out of range, a text of any length) makes it raise,
unless its docstring says so.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from typing import assert_never

import msgspec

from shared.sync.model import Base, FieldDef, FieldKind, Fields, Sent, Side, Value

Json = str | bool | None | Mapping[str, str]
"""A value as JSON: a Decimal is {"d": "18.10"}, everything else is itself."""

UNREADABLE = "\ufffe"
"""Stands for bytes of a vendor's answer that are no text; no text holds it otherwise. A value with it is never carried
on: the bytes may have been spoilt on their way."""
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?\Z")
_PLAIN_DIGITS = 60
"""Numbers of more digits than this are written with an exponent, or 1E+999999 would become a megabyte of zeros."""


def is_blank(value: Value) -> bool:
    """None, and text of nothing but white space: vendors trim, so the two cannot be told apart afterwards."""
    return value is None or (isinstance(value, str) and not value.strip())


def is_unreadable(value: Value) -> bool:
    return isinstance(value, str) and UNREADABLE in value


def normal_text(text: str) -> str:
    """NFC with \\n line ends; nothing else is folded."""
    if text.isascii():
        return text if "\r" not in text else text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


def parse_number(text: str) -> Decimal | None:
    """Plain ASCII digits with an optional sign and point; no grouping, no exponent. None: not a number."""
    stripped = text.strip()
    return Decimal(stripped) if _NUMBER.match(stripped) else None


def number_text(number: Decimal) -> str:
    """Without exponent where that is short, and without trailing zeros after the point: 18.10 is "18.1"."""
    if not number.is_finite() or abs(number.adjusted()) > _PLAIN_DIGITS:
        return str(number)
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def same(a: Value, b: Value) -> bool:
    """Whether two values need no write between them.

    Blank equals blank; numbers by value, also a number and the text of one; text exactly, after NFC and line
    ends. Two texts are never compared as numbers ("1" and "1.0" are two article codes), so this is an
    equivalence within one type, not across types.
    """
    if a is b:
        return True
    if isinstance(a, str) and isinstance(b, str):
        return a == b or _same_text(a, b)
    if is_blank(a) or is_blank(b):
        return is_blank(a) and is_blank(b)
    return _same_number(a, b)  # True and False are no numbers here, and the same only as themselves


def _same_text(a: str, b: str) -> bool:
    left, right = normal_text(a), normal_text(b)
    return left == right or not (left.strip() or right.strip())


def _same_number(a: Value, b: Value) -> bool:
    left, right = _number(a), _number(b)
    if left is None or right is None:
        return False
    if left.is_finite() and right.is_finite():
        return left == right
    return str(left) == str(right)


def _number(value: Value) -> Decimal | None:
    if isinstance(value, str):
        return parse_number(value)
    return value if isinstance(value, Decimal) else None


# JSON


def encode_value(value: Value) -> Json:
    return {"d": str(value)} if isinstance(value, Decimal) else value


def decode_value(raw: object) -> Value:
    """Raises ValueError on anything that `encode_value` does not make (a JSON number would have been a float)."""
    if raw is None or isinstance(raw, (str, bool)):
        return raw
    if isinstance(raw, Mapping) and set(raw) == {"d"} and isinstance(raw["d"], str):
        return Decimal(raw["d"])
    raise ValueError(f"not an encoded value: {type(raw).__name__}")


def encode_fields(fields: Fields) -> dict[str, Json]:
    return {name: encode_value(value) for name, value in fields.items()}


def decode_fields(raw: Mapping[str, object]) -> dict[str, Value]:
    return {name: decode_value(value) for name, value in raw.items()}


def encode_base(base: Base) -> dict[str, list[Json]]:
    """{"Company_Name|contact_name": [left, right]}."""
    return {key: [encode_value(left), encode_value(right)] for key, (left, right) in base.items()}


def decode_base(raw: Mapping[str, object]) -> dict[str, tuple[Value, Value]]:
    return {key: _decode_pair(value) for key, value in raw.items()}


def encode_pending(pending: Mapping[Side, Sent]) -> dict[str, dict[str, object]]:
    """{"right": {"base": {key: [left, right]}, "old": {key: value}}}."""
    return {
        side.value: {"base": encode_base(sent.base), "old": encode_fields(sent.old)} for side, sent in pending.items()
    }


def decode_pending(raw: Mapping[str, Mapping[str, Mapping[str, object]]]) -> dict[Side, Sent]:
    return {Side(side): Sent(decode_base(sent["base"]), decode_fields(sent["old"])) for side, sent in raw.items()}


def _decode_pair(raw: object) -> tuple[Value, Value]:
    if isinstance(raw, (list, tuple)) and len(raw) == 2:
        return decode_value(raw[0]), decode_value(raw[1])
    raise ValueError("not an encoded base value")


_quoted = json.encoder.encode_basestring_ascii
"""A text as JSON, as `json.dumps` has it."""


def row_hash(fields: Fields) -> str:
    """24 hex digits over the normalised fields: blank equals missing, 18.0 equals 18, order does not count.

    Values that are `same` and of one type hash alike; a number and its text do not (a vendor keeps to one).
    """
    rows = [f"[{_quoted(name)},{_canonical(fields[name])}]" for name in sorted(fields) if not is_blank(fields[name])]
    text = f"[{','.join(rows)}]"
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _canonical(value: Value) -> str:
    """Its kind and text, as JSON."""
    if isinstance(value, bool):
        return f'"b","{value}"'
    if isinstance(value, Decimal):
        return f'"d","{_canonical_number(value)}"'
    return f'"s",{_quoted(normal_text(value or ""))}'


def _canonical_number(number: Decimal) -> str:
    """Digits without trailing zeros and an exponent; `Decimal.normalize` would round to 28 digits."""
    sign, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        return str(number)
    text = "".join(map(str, digits))
    bare = text.rstrip("0")
    if not bare:
        return "0"
    return f"{'-' if sign else ''}{bare.lstrip('0')}E{exponent + len(text) - len(bare)}"


# Fitting a value into a field, and recognising what a vendor made of one


class Fitted(msgspec.Struct, frozen=True):
    """`cut`: something was lost on the way (characters, digits)."""

    value: Value
    cut: bool = False


def fit(value: Value, definition: FieldDef) -> Fitted:
    """What of `value` the field can hold: text cut to `max_length` characters and, where the vendor cuts there,
    from the first character above U+FFFF on; numbers rounded half up to `decimals`."""
    if isinstance(value, str):
        cut = _fit_text(value, definition)
        return Fitted(cut, cut != value)
    if isinstance(value, Decimal) and definition.decimals is not None:
        rounded = round_number(value, definition.decimals)
        return Fitted(rounded, not _same_number(rounded, value))
    return Fitted(value)


def _fit_text(text: str, definition: FieldDef) -> str:
    if definition.bmp_only and not text.isascii():
        text = next((text[:at] for at, char in enumerate(text) if char > "\uffff"), text)
    return text if definition.max_length is None else text[: definition.max_length]


def round_number(number: Decimal, decimals: int, rounding: str = ROUND_HALF_UP) -> Decimal:
    """As it is where it has no more digits than that (so 1E+999999 is left alone), and where it is no number."""
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent >= -decimals:
        return number
    digits = max(number.adjusted(), 0) + decimals + 2
    return number.quantize(Decimal(1).scaleb(-decimals), rounding=rounding, context=Context(prec=digits))


def plausible_form(sent: Value, got: Value, definition: FieldDef) -> bool:
    """Whether `got` may be what the vendor made of the `sent` value, rather than somebody's edit.

    Used for FM-10 on a side that was written and not read since: trimmed, other case or white space, cut (a
    proper, non-empty beginning), or rounded. A blank is no form of a value: a vendor that drops a value whole
    has refused it, and that must be seen. Wrong in one way only: a person's edit that looks like it, made
    between our write and our next read, stays where it was made; the reverse would carry a cut value back over
    the original.
    """
    if same(sent, got):
        return True
    if is_blank(sent) or is_blank(got):
        return False
    left, right = _number(sent), _number(got)
    if definition.kind is FieldKind.NUMBER or isinstance(sent, Decimal):
        return left is not None and right is not None and _is_rounding(left, right)
    if isinstance(sent, bool) or isinstance(got, bool):
        return False
    return _is_text_form(_as_text(sent), _as_text(got), definition.kind)


def _is_text_form(sent: str, got: str, kind: FieldKind) -> bool:
    if kind is FieldKind.DATETIME:
        return _same_instant(sent, got)
    return _folded(sent).startswith(_folded(got))


def _same_instant(sent: str, got: str) -> bool:
    try:
        a, b = datetime.fromisoformat(sent), datetime.fromisoformat(got)
    except ValueError:
        return False
    return (a.tzinfo is None) == (b.tzinfo is None) and a == b


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _is_rounding(sent: Decimal, got: Decimal) -> bool:
    if not (sent.is_finite() and got.is_finite()):
        return False
    exponent = sent.as_tuple().exponent
    most = min(-exponent if isinstance(exponent, int) else 0, 40)
    return any(
        round_number(sent, decimals, rounding) == got
        for decimals in range(max(most, 0))
        for rounding in (ROUND_HALF_UP, ROUND_HALF_EVEN, ROUND_DOWN)
    )


def _as_text(value: Value) -> str:
    if isinstance(value, Decimal):
        return number_text(value)
    return value if isinstance(value, str) else ""


# From one kind of field to another

_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


def convert(value: Value, kind: FieldKind) -> Value:
    """`value` as a field of `kind` takes it; blank stays blank. Raises ValueError, without the value, if it cannot."""
    if value is None or is_blank(value):
        return None
    match kind:
        case FieldKind.TEXT | FieldKind.PICKLIST:
            return _to_text(value)
        case FieldKind.NUMBER:
            return _to_number(value)
        case FieldKind.BOOLEAN:
            return _to_boolean(value)
        case FieldKind.DATE | FieldKind.DATETIME:
            return _to_date(value, kind)
    assert_never(kind)


def _to_text(value: str | Decimal | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, Decimal) else value


def _to_number(value: str | Decimal | bool) -> Decimal:
    number = None if isinstance(value, bool) else _number(value)
    if number is None or not number.is_finite():
        raise ValueError("not a number")
    return number


def _to_boolean(value: str | Decimal | bool) -> bool:
    if isinstance(value, bool):
        return value
    word = _to_text(value).strip().casefold()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError("neither true nor false")


def _to_date(value: str | Decimal | bool, kind: FieldKind) -> str:
    if not isinstance(value, str):
        raise ValueError("not a date")  # noqa: TRY004  (bad data, not a bad call)
    day_only = len(value.strip()) == 10
    if day_only is not (kind is FieldKind.DATE):
        raise ValueError("not a date" if kind is FieldKind.DATE else "not a time")
    datetime.fromisoformat(value.strip())
    return value
