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
from shared.errors import BothwaysError, ConfigError, Unavailable

if TYPE_CHECKING:
    from api.ports import Doors

Json = Annotated[bool, typer.Option("--json", help="One line of JSON on stdout.")]

_BIGINT = 2**63 - 1
_NO_SUCH_TABLE_OR_COLUMN = (" 42P01 ", " 42703 ")


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
    """Raises ConfigError, Unavailable (with a word on the stack, where its settings are those in use)."""
    of_stack = environment.complete(os.environ)
    quiet_logging()
    opened = _open()
    try:
        yield opened
    except Unavailable as error:
        if not of_stack:
            raise
        folder = environment.data_dir(os.environ)
        raise Unavailable(f"{error} Is the stack in {folder} still running (`bothways up`)?") from error
    except BothwaysError as error:
        if error.code != "DATABASE" or not any(state in str(error) for state in _NO_SUCH_TABLE_OR_COLUMN):
            raise
        raise ConfigError(
            "The database does not have the tables of this version: run `python -m shared.db.migrate`.",
            code="NOT_MIGRATED",
        ) from error
    finally:
        opened.close()


def _open() -> Doors:
    from sqlalchemy.exc import ArgumentError

    from api.ports import open_doors  # takes most of a second: not before it is needed
    from shared.settings import load_settings

    settings = load_settings()
    try:
        return open_doors(settings, threads=2)
    except (ValueError, ImportError, ArgumentError):
        pass  # raised below: the address and its password hang on these
    raise ConfigError(
        "DATABASE_URL or REDIS_URL cannot be used: postgresql+psycopg://… and redis://… are expected.",
        code="BAD_SETTINGS",
    )


def quiet_logging() -> None:
    """Warnings only, beside whatever is shown; BOTHWAYS_LOG_LEVEL says otherwise."""
    from shared.observability import configure_logging

    configure_logging()
    if "BOTHWAYS_LOG_LEVEL" not in os.environ:
        logging.getLogger().setLevel(logging.WARNING)
