"""What the person sees: plain lines, 100 columns at most, a live bar only on a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

_WIDE, _NARROW = 100, 80
_LINE_S = 2.0

Report = Callable[[str, int, int], None]
"""(what is being done, how many are done, of how many; 0: nobody knows yet)"""


class Show:
    def __init__(self) -> None:
        tty = sys.stdout.isatty()
        width = max(_NARROW, min(_WIDE, shutil.get_terminal_size((_WIDE, 24)).columns)) if tty else _WIDE
        self._console = Console(
            highlight=False, markup=False, emoji=False, width=width, color_system="auto" if tty else None
        )

    def section(self, title: str) -> None:
        self._console.print()
        self._console.print(Text(title, style="bold"))

    def line(self, text: str = "", style: str = "") -> None:
        """Wrapped at words, the rest of a line under its beginning."""
        self._console.print(Padding(Text(_clean(text), style=style), (0, 0, 0, 2), expand=False) if text else "")

    def raw(self, text: str) -> None:
        """As it is, for copying: never wrapped."""
        self._console.print(Text(f"  {_clean(text)}", style="cyan"), soft_wrap=True)

    def facts(self, rows: Iterable[tuple[str, str]]) -> None:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows:
            table.add_row(f"  {name}", Text(_clean(value)))
        self._console.print(table)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """The first two columns are words, the others numbers."""
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=True)
        for number, name in enumerate(columns):
            table.add_column(name, justify="left" if number < 2 else "right")
        for row in rows:
            table.add_row(*(Text(_clean(str(cell))) for cell in row))
        self._console.print(table)

    def change(self, way: str, kind: str, name: str, what: str, delay: str) -> None:
        room = self._console.width - 64
        at = time.strftime("%H:%M:%S")
        text = f"  {at}  {way:<11}  {kind:<7}  {_cut(name, room):<{room}}  {_cut(what, 19):<19}  {delay:>7}"
        self._console.print(Text(_clean(text)), soft_wrap=True)

    @contextmanager
    def progress(self, title: str) -> Iterator[Report]:
        if not self._console.is_terminal:
            yield _Lines(self, title)
            return
        columns = (TextColumn("  {task.description}"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as bars:
            task = bars.add_task(title, total=None)

            def report(doing: str, done: int, total: int) -> None:
                bars.update(task, description=f"{title}: {doing}", completed=done, total=total or None)

            yield report


class _Lines:
    """Without a terminal: a line when something else begins, and from time to time."""

    def __init__(self, show: Show, title: str) -> None:
        self._show, self._title = show, title
        self._last, self._done, self._told_at = "", 0, 0.0

    def __call__(self, doing: str, done: int, total: int) -> None:
        now = time.monotonic()
        if doing == self._last and (done == self._done or now - self._told_at < _LINE_S):
            return
        self._last, self._done, self._told_at = doing, done, now
        self._show.line(f"{self._title}: {doing}" + (f", {done} of {total}" if total else ""))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _clean(text: str) -> str:
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in text)
