"""What each command shares: whether JSON is wanted, and the doors, opened at first use and closed at the end."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli import environment
from shared.errors import Unavailable

if TYPE_CHECKING:
    from api.ports import Doors

Json = Annotated[bool, typer.Option("--json", help="One line of JSON on stdout.")]

_BIGINT = 2**63 - 1


def an_id(name: str, help_text: str) -> typer.models.ArgumentInfo:
    """An argument that is an id in the database."""
    found: typer.models.ArgumentInfo = typer.Argument(metavar=name, min=1, max=_BIGINT, help=help_text)
    return found


IntegrationId = Annotated[int, an_id("INTEGRATION", "Its id; see `bothways integrations`.")]
SyncId = Annotated[int, an_id("SYNC_ID", "See `bothways runs`.")]
ConnectionId = Annotated[int, an_id("CONNECTION", "Its id; see `bothways connections`.")]


def wants_json(context: typer.Context, here: bool) -> bool:
    """`--json` may stand before the command as well as after it."""
    return here or bool(context.find_root().params.get("as_json"))


def interactive() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


@contextmanager
def doors() -> Iterator[Doors]:
    """Raises ConfigError, and Unavailable with a word on the stack where its settings are those in use."""
    from api.ports import open_doors  # takes most of a second: not before it is needed
    from shared.settings import load_settings

    of_stack = environment.complete(os.environ)
    quiet_logging()
    opened = open_doors(load_settings(), threads=2)
    try:
        yield opened
    except Unavailable as error:
        if not of_stack:
            raise
        raise Unavailable(
            f"{error} The settings are those of the stack in {environment.data_dir(os.environ)}: "
            "is it still running (`bothways up`)?"
        ) from error
    finally:
        opened.close()


def quiet_logging() -> None:
    """Warnings only, beside whatever is shown; BOTHWAYS_LOG_LEVEL says otherwise."""
    from shared.observability import configure_logging

    os.environ.setdefault("BOTHWAYS_LOG_LEVEL", "WARNING")
    configure_logging()
    logging.captureWarnings(True)
