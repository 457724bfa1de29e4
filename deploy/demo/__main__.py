"""`python -m deploy.demo [--once] [--limits] [--data-dir DIR]`: shows a whole sync between sandbox vendors."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from deploy.demo import place
from deploy.demo.errors import DemoError, StopAsked
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


def _folder(options: Options, show: Show, stack: ExitStack) -> Path:
    if options.once and options.data_dir is None:
        return stack.enter_context(place.temporary())
    path = place.emptied(options.data_dir or DATA_DIR)
    show.line(f"{path} has been emptied for this demonstration.")
    return path


def run(options: Options, show: Show, stop: threading.Event, hurry: threading.Event) -> Ending | None:
    """None: it was stopped before its end. Raises DemoError, LocalStackError."""
    with ExitStack() as context:
        show.line("Starting: Postgres, Redis, API, workers, beat, Flower and the sandbox vendors ...")
        path = _folder(options, show, context)
        wanted = StackOptions(data_dir=path, sandbox=True)
        try:
            with Stack.start(wanted, stop_asked=stop, hurry=hurry) as stack:
                return _told(options, show, stack, stop)
        except (StopAsked, StopAskedError):
            return None
        except (DemoError, LocalStackError) as error:
            raise DemoError(f"{error} The logs are in {path / 'logs'}.") from error


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
        show.section("It stays up until Ctrl-C")
        show.facts(where_to_go(stack))
        stack.wait()
        show.line("Stopping ...")
    return ending


def main(argv: Sequence[str] | None = None) -> int:
    options = options_from(argv)
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    with _signals() as (stop, hurry):
        try:
            ending = run(options, Show(), stop, hurry)
        except DemoError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    if not options.once:
        return 0
    return _last_word(ending)


def _last_word(ending: Ending | None) -> int:
    if ending is None:
        return INTERRUPTED
    complaint = ending.complaint()
    if complaint:
        sys.stderr.write(f"{complaint}\n")
        sys.stderr.flush()
    sys.stdout.write(json.dumps(ending.figures()) + "\n")
    sys.stdout.flush()
    return 1 if complaint else 0


if __name__ == "__main__":
    sys.exit(main())
