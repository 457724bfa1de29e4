"""`config export`, `config import`: an integration's whole configuration as one YAML file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from api.cli.commands.runs import deliver
from api.cli.output import say, tell, tell_json
from api.cli.session import IntegrationId, Json, doors, wants_json
from shared.errors import ConfigError

_MOST_ID = 2**63 - 1
_Org = typer.Option(min=1, max=_MOST_ID, metavar="ORG", help="Of a new integration; see `bothways connections`.")


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="An integration's configuration as one file: export, import.", rich_markup_mode=None, no_args_is_help=True
    )
    group.callback()(_config)
    group.command()(export)
    group.command("import")(import_)
    app.add_typer(group, name="config", rich_help_panel="Set-up")


def _config() -> None:
    """An integration's configuration as one file: export, import."""


def export(
    integration: IntegrationId,
    output: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="A file or folder; else stdout.")] = None,
) -> None:
    """All that was chosen for it, as YAML. No secrets are in it; addresses that are told by e-mail are."""
    with doors() as opened:
        content = opened.config.export(opened.host(), integration)
    deliver([content], f"integration-{integration}.yaml", output)


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As `config export` writes it; - for stdin.")],
    left: Annotated[int | None, _Org] = None,
    right: Annotated[int | None, _Org] = None,
    into: Annotated[
        int | None, typer.Option(min=1, max=_MOST_ID, metavar="INTEGRATION", help="One that is there, instead.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Say what would change, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Make a draft of two connected orgs, or one that is there, what the file says: all of it, or nothing."""
    content = _content(file)
    with doors() as opened:
        actor = opened.host()
        if into is not None and left is None and right is None:
            done = opened.config.save(actor, into, content, check=check)
        elif into is None and left is not None and right is not None:
            done = opened.config.create(actor, content, left, right, check=check)
        else:
            raise ConfigError("Name --left and --right of a new integration, or --into of another.", code="BAD_OPTIONS")
    if wants_json(context, as_json):
        tell_json(done)
        return
    tell(done.diff.rstrip() or "Nothing changes.")
    if not done.saved:
        say("Only checked: nothing was changed.")
    elif into is None:
        say(f"Integration {done.integration_id} is a draft. Look at it, then enable it: `bothways setup`.")
    elif done.diff:
        say("Saved.")


def _content(file: Path) -> str:
    """Raises ConfigError."""
    from shared.services.config_file import MOST_BYTES

    try:
        if str(file) == "-":
            raw = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with file.open("rb") as opened:
                raw = opened.read(MOST_BYTES + 1)
        return raw.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.", code="BAD_CONFIG") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is no text in UTF-8.", code="BAD_CONFIG") from None
