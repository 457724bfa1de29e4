"""`bothways`: finds the commands, runs one, and turns every trouble into a sentence and an exit code.

Exit codes: 0 done; 1 it could not be done; 2 a sync that ended with failed records; 130 Ctrl-C; 141 nobody reads.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from api.cli import commands, environment
from api.cli.output import say
from shared.errors import BothwaysError
from shared.sync.reasons import REASONS

INTERRUPTED, NOBODY_READS = 130, 141


def build() -> typer.Typer:
    app = typer.Typer(
        name="bothways",
        help="Two-way record sync. Start with `bothways up --sandbox`, then `bothways connect`.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_root)
    for found in sorted(pkgutil.iter_modules(commands.__path__), key=lambda one: one.name):
        importlib.import_module(f"{commands.__name__}.{found.name}").register(app)
    return app


def _root(as_json: Annotated[bool, typer.Option("--json", help="One line of JSON on stdout.")] = False) -> None:
    """Two-way record sync. Start with `bothways up --sandbox`, then `bothways connect`."""


def main(arguments: Sequence[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        return _nobody_reads()
    return code


def _run(arguments: list[str]) -> int:
    group = typer.main.get_command(build())
    assert isinstance(group, TyperGroup)  # noqa: S101
    try:
        code = group.main(arguments, prog_name="bothways", standalone_mode=False)
    except typer.exceptions.TyperException as error:
        return _misused(error)
    except typer.Abort:
        return INTERRUPTED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BothwaysError as error:
        say(f"{error.code}: {_with_remedy(error)}")
        return 1
    except BrokenPipeError:
        raise
    except SystemExit as error:  # how typer and rich tell that nobody reads
        raise BrokenPipeError from error
    except Exception as error:  # noqa: BLE001  a bug: told in a sentence
        return _bug(error)
    return code if isinstance(code, int) else 0


def _misused(error: typer.exceptions.TyperException) -> int:
    """Wrong arguments. Code 1, not 2 as is usual: 2 tells of a sync that has failed records."""
    if hasattr(error, "show"):
        error.show()
    else:
        say(f"Error: {error}")
    return 1


def _with_remedy(error: BothwaysError) -> str:
    reason = REASONS.get(error.code)
    message = str(error)
    if reason is None or reason.remedy in message:
        return message
    return f"{message} {reason.remedy}"


def _bug(error: Exception) -> int:
    say(f"INTERNAL: This is a mistake in Bothways ({type(error).__name__}); nothing was lost by it. {_kept(error)}")
    if os.environ.get("BOTHWAYS_DEBUG"):
        traceback.print_exception(error)
    return 1


def _kept(error: Exception) -> str:
    """Where the traceback is: in the local stack's folder of logs, where there is one."""
    path = environment.data_dir(os.environ) / "logs" / "cli.log"
    try:
        if path.parent.is_dir():
            _append(path, "".join(traceback.format_exception(error)))
            return f"The traceback is in {path}."
    except OSError:
        pass
    return "Set BOTHWAYS_DEBUG=1 and run it again to see the traceback."


def _append(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as file:
        file.write(text)


def _nobody_reads() -> int:
    """As `head` does it to us. What is still in the buffer goes nowhere, so that the interpreter ends quietly."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
    finally:
        os.close(nowhere)
    return NOBODY_READS


if __name__ == "__main__":
    sys.exit(main())
