"""What a section of the bench tells: rows of a table, each with what it is held against, and a dict for bench.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A figure, what stands beside it in the same run, and the floor that it must hold.

    `value` and `beside` are written out, with their unit; `held` is None where nothing is asked of the figure.
    """

    what: str
    value: str
    beside: str = ""
    floor: str = ""
    held: bool | None = None


@dataclass(frozen=True)
class Found:
    """Of one section: `figures` go into bench.json under the section's name, `settings` are those that it needed beyond
    their defaults, as "BOTHWAYS_MOST_RECORDS=1000000: ST-2's limit"."""

    figures: Json
    rows: Sequence[Row]
    settings: Sequence[str] = field(default_factory=tuple)


def at_least(what: str, value: float, least: float, beside: str = "", unit: str = "×") -> Row:
    """A ratio that must not be smaller."""
    return Row(what, f"{value:.2f} {unit}", beside, f"≥ {least:g} {unit}", value >= least)


def at_most(what: str, value: float, most: float, beside: str = "", unit: str = "×", digits: int = 2) -> Row:
    return Row(what, f"{value:.{digits}f} {unit}", beside, f"≤ {most:g} {unit}", value <= most)


def share(values: Sequence[float], part: float) -> float:
    """The value below which `part` (0 to 1) of them lie, by the nearest rank; not interpolated."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(part * len(ordered)) - 1))]


def table(found: Sequence[tuple[str, Found]]) -> str:
    """Of all sections, as it is printed."""
    lines = []
    for name, section in found:
        lines.append(f"\n{name}" + "".join(f"\n    with {setting}" for setting in section.settings))
        for row in section.rows:
            verdict = {True: "held", False: "NOT HELD", None: ""}[row.held]
            lines.append(f"  {row.what:<44} {row.value:>18}  {row.beside:<34} {row.floor:<12} {verdict}".rstrip())
    return "\n".join(lines)
