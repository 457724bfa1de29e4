"""`logs export`: the sync logs of whole months, before they are removed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.cli.commands.runs import deliver
from api.cli.session import IntegrationId, doors
from shared.errors import ConfigError

_Month = typer.Option(metavar="YYYY-MM", help="In UTC, such as 2026-05.")


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Sync logs of whole months: export.", rich_markup_mode=None, no_args_is_help=True)
    group.callback()(_logs)
    group.command()(export)
    app.add_typer(group, name="logs", rich_help_panel="Syncs")


def _logs() -> None:
    """Sync logs of whole months: export."""


def export(
    integration: IntegrationId,
    month: Annotated[str | None, _Month] = None,
    first: Annotated[str | None, typer.Option("--from", metavar="YYYY-MM", help="With --to, instead of --month.")] = (
        None
    ),
    last: Annotated[str | None, typer.Option("--to", metavar="YYYY-MM")] = None,
    output: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="A file or folder; else stdout.")] = None,
) -> None:
    """Every outcome of a month, or of several, as CSV: what is to be kept longer than here."""
    begin = month or first
    if begin is None or (month and (first or last)):
        raise ConfigError("Name a --month, or several by --from and --to.", code="BAD_OPTIONS")
    from shared.services.log_export import export_name

    with doors() as opened:
        content = opened.log_export.months_csv(opened.host(), integration, begin, last)
        deliver(content, export_name(integration, begin, last), output)
