"""Named transforms of a field pair (FM-8): written for left to right, each with its inverse or marked one-way.

No code of a user runs: a mapping holds names. Left out until they can be done right: telephone numbers in
E.164 (needs numbering plans) and country codes (vendors spell country names their own way; a pair's value
table does it meanwhile).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from shared.sync.model import FieldKind, Value
from shared.sync.values import number_text, parse_number

Step = Callable[[Value], Value]


@dataclass(frozen=True, slots=True)
class Transform:
    """`apply` and `inverse` get values that are not blank and raise ValueError, without the value, on one that
    they cannot read.

    `inverse` None: one-way. Law: apply(inverse(apply(x))) is apply(x). `takes` and `gives` are the kinds before and
    after, None for "as it comes".
    """

    name: str
    label: str
    apply: Step
    inverse: Step | None
    takes: FieldKind | None = None
    gives: FieldKind | None = None

    @property
    def one_way(self) -> bool:
        return self.inverse is None


def _text(value: Value) -> str:
    if not isinstance(value, str):
        raise ValueError("not text")  # noqa: TRY004  (bad data, not a bad call)
    return value


def _trim(value: Value) -> Value:
    return value.strip() if isinstance(value, str) else value


def _upper(value: Value) -> Value:
    return _text(value).upper()


def _lower(value: Value) -> Value:
    return _text(value).lower()


def _to_number(value: Value) -> Value:
    if isinstance(value, Decimal):
        return value
    number = parse_number(_text(value))
    if number is None:
        raise ValueError("not a number")
    return number


def _to_text(value: Value) -> Value:
    return number_text(value) if isinstance(value, Decimal) else _text(value)


def _day(value: Value) -> Value:
    return datetime.fromisoformat(_text(value).strip()).date().isoformat()


def _from_written(form: str) -> Step:
    def apply(value: Value) -> Value:
        return datetime.strptime(_text(value).strip(), form).date().isoformat()  # noqa: DTZ007  (a day has no zone)

    return apply


def _to_written(form: str) -> Step:
    def apply(value: Value) -> Value:
        day = datetime.fromisoformat(_text(value).strip()).date()
        return form.replace("%d", f"{day.day:02}").replace("%m", f"{day.month:02}").replace("%Y", f"{day.year:04}")

    return apply


def _written(name: str, label: str, form: str) -> Transform:
    return Transform(name, label, _from_written(form), _to_written(form), FieldKind.TEXT, FieldKind.DATE)


_ALL = (
    Transform("trim", "Trim spaces", _trim, _trim),
    Transform("upper", "Upper case", _upper, None, FieldKind.TEXT, FieldKind.TEXT),
    Transform("lower", "Lower case", _lower, None, FieldKind.TEXT, FieldKind.TEXT),
    Transform("number", "Text to number", _to_number, _to_text, FieldKind.TEXT, FieldKind.NUMBER),
    Transform("number_text", "Number to text", _to_text, _to_number, FieldKind.NUMBER, FieldKind.TEXT),
    Transform("day", "Day of a time", _day, None, FieldKind.DATETIME, FieldKind.DATE),
    _written("date_dmy", "Day written 31/12/2026", "%d/%m/%Y"),
    _written("date_mdy", "Day written 12/31/2026", "%m/%d/%Y"),
)

TRANSFORMS: Mapping[str, Transform] = {transform.name: transform for transform in _ALL}
