"""Following a run until it ends: bars on a terminal, a line per change elsewhere; always on stderr."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Protocol, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from api.cli.output import clean, console, say, words
from shared.errors import Unavailable
from shared.services.imports import ImportView
from shared.services.runs import RunView

POLL_S = 0.4
PATIENCE_S = 60.0
"""How long the database may be away while a run is followed: the run itself goes on."""
LINE_S = 10.0
IDLE_S = 30.0
"""A run that nobody has taken up by then gets a word about the workers."""


class Followed(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def ended(self) -> bool: ...


View = TypeVar("View", bound=Followed)
Show = Callable[[View], None]


def follow(look: Callable[[], RunView]) -> RunView:
    """The run as it ended. Raises Unavailable when the database stays away, KeyboardInterrupt at Ctrl-C."""
    return _follow(look, _display(), "sync")


def follow_import(look: Callable[[], ImportView]) -> ImportView:
    """The same for an import."""
    return _follow(look, _import_display(), "import")


def _follow(look: Callable[[], View], shown: AbstractContextManager[Show[View]], what: str) -> View:
    began = last_seen = time.monotonic()
    told = False
    with _interruptible() as interrupted, shown as show:
        while True:
            if interrupted():
                raise KeyboardInterrupt
            try:
                view = look()
            except Unavailable:
                if time.monotonic() - last_seen > PATIENCE_S:
                    raise
                time.sleep(1)
                continue
            last_seen = time.monotonic()
            show(view)
            if view.ended:
                return view
            if view.state == "queued" and not told and last_seen - began > IDLE_S:
                told = True
                say(f"Nothing has taken {what} {view.id} up yet: are the workers running?")
            time.sleep(POLL_S)


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C is answered between two looks: raised inside the database driver, it can get lost. A second one is raised
    wherever it comes."""
    asked = False  # no Event: setting one in a signal handler can wait for its own lock for ever
    if threading.current_thread() is not threading.main_thread():
        yield lambda: asked
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        signal.signal(signal.SIGINT, before)
        asked = True

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _display() -> Iterator[Show[RunView]]:
    if not sys.stderr.isatty():
        yield _Lines().show
        return
    with _progress() as progress:
        yield _Bars(progress).show


@contextmanager
def _import_display() -> Iterator[Show[ImportView]]:
    if not sys.stderr.isatty():
        yield _ImportLines().show
        return
    with _progress() as progress:
        task = progress.add_task("rows", total=None)

        def show(view: ImportView) -> None:
            total = view.rows if view.ended or view.state == "writing" else None
            progress.update(task, completed=view.done, total=total, description=_describe_import(view))

        yield show


@contextmanager
def upload_bar(total: int) -> Iterator[Callable[[int], None]]:
    """Bytes of a file, as they are sent; nothing where nobody looks at a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with _progress() as progress:
        task = progress.add_task("sending the file", total=total)
        yield lambda count: progress.advance(task, count)


def _progress() -> Progress:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console(sys.stderr))


def _describe_import(view: ImportView) -> str:
    waiting = f", waits for {view.waiting_for}" if view.waiting_for else ""
    return clean(f"import {view.id}: {words(view.state)}{waiting}")


class _ImportLines:
    """A line when the state changes, and while rows are written one from time to time."""

    def __init__(self) -> None:
        self._last = ""
        self._told_at = 0.0

    def show(self, view: ImportView) -> None:
        state, now = _describe_import(view), time.monotonic()
        if state == self._last and now - self._told_at < LINE_S:
            return
        say(state + (f", {view.done} of {view.rows} rows" if view.rows else ""))
        self._last, self._told_at = state, now


def describe(view: RunView) -> str:
    waiting = f", waits for {view.waiting_for}" if view.waiting_for else ""
    return clean(f"sync {view.id}: {words(view.state)}{waiting}")


class _Bars:
    """Rows read so far, whose number nobody knows beforehand; then records settled, of those that need work."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._rows = progress.add_task("rows read", total=None)
        self._records = progress.add_task("records settled", total=None, visible=False)

    def show(self, view: RunView) -> None:
        work = view.total > 0 and view.state in ("draining", "waiting")
        rows_total = view.listed if work or view.ended else None
        self._progress.update(self._rows, completed=view.listed, total=rows_total, description=describe(view))
        if work:
            self._progress.update(self._records, completed=view.settled, total=view.total, visible=True)
        elif view.ended:
            task = self._progress.tasks[self._records]
            if task.total:
                self._progress.update(self._records, completed=task.total)


class _Lines:
    """A line when the state changes, and while records are settled one from time to time."""

    def __init__(self) -> None:
        self._last = ""
        self._told_at = 0.0

    def show(self, view: RunView) -> None:
        state, now = describe(view), time.monotonic()
        if state == self._last and now - self._told_at < LINE_S:
            return
        line = state + (f", {view.listed} rows read" if view.listed else "")
        if view.total and not view.ended:
            line += f", {view.settled} of {view.total} records settled"
        say(line)
        self._last, self._told_at = state, now
