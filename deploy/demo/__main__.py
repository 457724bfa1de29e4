"""`python -m deploy.demo [--once] [--limits] [--data-dir DIR]`: shows a whole sync between sandbox vendors."""

from __future__ import annotations

import argparse
import io
import json
import logging
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from deploy.demo import place
from deploy.demo.errors import DemoError, NotAsPromised, StopAsked
from deploy.demo.show import Show
from deploy.demo.story import Ending, Story, where_to_go
from deploy.local.process import LocalStackError
from deploy.local.stack import Stack, StackOptions
from deploy.local.supervisor import StopAskedError

DATA_DIR = Path(".bothways/demo")
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Options:
    """`data_dir` None: a temporary one with `once`, else `DATA_DIR`."""

    once: bool
    limits: bool
    data_dir: Path | None


def options_from(argv: Sequence[str] | None = None) -> Options:
    parser = argparse.ArgumentParser(prog="bothways demo", description="Show a whole sync between sandbox vendors.")
    parser.add_argument("--once", action="store_true", help="end by itself; the last line is a JSON object")
    parser.add_argument("--limits", action="store_true", help="at the vendors' published limits, untimed (minutes)")
    parser.add_argument("--data-dir", type=Path, help=f"emptied at the start; {DATA_DIR} unless --once")
    return Options(**vars(parser.parse_args(argv)))


@contextmanager
def _signals() -> Iterator[tuple[threading.Event, threading.Event]]:
    """(stop, hurry): set by the first and the second Ctrl-C, SIGTERM or SIGHUP."""
    stop, hurry = threading.Event(), threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        (hurry if stop.is_set() else stop).set()

    before = {n: signal.signal(n, on_signal) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield stop, hurry
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(options: Options, show: Show, stop: threading.Event, hurry: threading.Event) -> Ending | None:
    """None: it was stopped before its end. Raises DemoError; a temporary folder is kept then, for its logs."""
    show.line("Starting: Postgres, Redis, API, workers, beat, Flower and the sandbox vendors ...")
    passing = options.once and options.data_dir is None
    path = place.temporary() if passing else place.emptied(options.data_dir or DATA_DIR)
    if not passing:
        show.line(f"{path} has been emptied for this demonstration.")
    ending = _run_in(path, options, show, stop, hurry)
    if passing:
        place.remove(path)
    return ending


def _run_in(path: Path, options: Options, show: Show, stop: threading.Event, hurry: threading.Event) -> Ending | None:
    try:
        with Stack.start(StackOptions(data_dir=path, sandbox=True), stop_asked=stop, hurry=hurry) as stack:
            ending = _told(options, show, stack, stop)
    except (StopAsked, StopAskedError):
        return None
    except (DemoError, LocalStackError) as error:
        raise DemoError(f"{error} The logs are in {path / 'logs'}.") from error
    except Exception as error:
        why = path / "logs" / "demo.log"
        why.write_text(traceback.format_exc(), "utf-8")
        raise DemoError(f"The demonstration broke off ({type(error).__name__}); why is in {why}.") from error
    if options.once and ending.complaint():
        raise NotAsPromised(f"{ending.complaint()} The logs are in {path / 'logs'}.", json.dumps(ending.figures()))
    return ending


def _told(options: Options, show: Show, stack: Stack, stop: threading.Event) -> Ending:
    story = Story(show, stack, options.limits, stop)
    try:
        ending = story.tell()
    except Exception:
        if stop.is_set():  # whatever was cut off by it
            raise StopAsked from None
        raise
    finally:
        story.close()
    if not options.once:
        if ending.complaint():
            show.line(ending.complaint(), style="red")
        show.section("It stays up until Ctrl-C")
        show.facts(where_to_go(stack))
        stack.wait()
        show.line("Stopping ...")
    return ending


def main(argv: Sequence[str] | None = None) -> int:
    options = options_from(argv)
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    with _signals() as (stop, hurry):
        try:
            ending = run(options, Show(), stop, hurry)
        except (DemoError, LocalStackError) as error:
            sys.stderr.write(f"{error}\n")
            sys.stderr.flush()
            if isinstance(error, NotAsPromised):
                _last_line(error.figures)
            return 1
    if options.once and ending is not None:
        _last_line(json.dumps(ending.figures()))
    return INTERRUPTED if options.once and ending is None else 0


def _last_line(figures: str) -> None:
    sys.stdout.write(f"{figures}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
