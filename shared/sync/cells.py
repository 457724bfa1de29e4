"""Cells of a CSV file that people open in a spreadsheet: none is a formula (reliability section 7)."""

from __future__ import annotations

from collections.abc import Iterable


def neutral(cells: Iterable[object]) -> list[str]:
    """A cell that a spreadsheet would run as a formula gets a leading apostrophe (CSV out)."""
    return [_neutral("" if cell is None else str(cell)) for cell in cells]


def plain(cell: str) -> str:
    """As it was before `neutral`: a file of ours that was corrected comes in again."""
    return cell[1:] if cell[:1] == "'" and _risky(cell[1:]) else cell


def _neutral(cell: str) -> str:
    return "'" + cell if _risky(cell) else cell


def _risky(cell: str) -> bool:
    # The control characters are looked for before blanks and quotes are passed over: a tab is both.
    return cell[:1] in ("\t", "\r", "\n", "\0") or cell.lstrip(" \"'")[:1] in (
        "=",
        "+",
        "-",
        "@",
        "\t",
        "\r",
        "\n",
        "\0",
    )
