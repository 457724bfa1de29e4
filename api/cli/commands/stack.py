"""Things that run here: `up`, `demo`, `sandbox`. Each takes this process' place, with all further words passed on.

The doors import nothing of `deploy`, which may be absent: it is started as a program.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

import typer

from api.cli import environment
from shared.errors import NotFound

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
_PANEL = "On this machine"


def register(app: typer.Typer) -> None:
    for command in (up, demo, sandbox):
        app.command(context_settings=_PASS_ON, rich_help_panel=_PANEL)(command)


def up(context: typer.Context) -> None:
    """Run the whole stack here until Ctrl-C (--sandbox, --data-dir, --api-port; --help shows all)."""
    words = list(context.args)
    folder = os.environ.get(environment.DATA_DIR)
    if folder and not any(word.split("=")[0] == "--data-dir" for word in words):
        words = ["--data-dir", folder, *words]
    _become("deploy.local.stack", words)


def demo(context: typer.Context) -> None:
    """Show a whole sync between sandbox vendors, from nothing."""
    _become("deploy.demo", context.args)


def sandbox(context: typer.Context) -> None:
    """Run the sandbox vendors alone (--port N); prints one line of JSON: address and test credentials."""
    _become("deploy.sandbox", context.args)


def _become(module: str, words: Sequence[str]) -> None:
    """Raises NotFound; else it does not return: signals and the exit code are the program's own."""
    if not _installed(module):
        raise NotFound(
            f"This installation has no {module}: install Bothways from its source folder "
            "(`pip install -e .`) or use docker-compose.yml.",
            code="NOT_INSTALLED",
        )
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *words])  # noqa: S606  our own module, no shell


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of its parent
        return False
