"""`health`: whether work flows."""

from __future__ import annotations

import typer

from api.cli.output import table, tell, tell_json
from api.cli.session import Json, doors, wants_json


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="On this machine")(health)


def health(context: typer.Context, as_json: Json = False) -> None:
    """Whether work flows: when each queue last ran its canary. Exit code 1: one is stalled."""
    from shared.services.health import work_health

    with doors() as opened:
        found = work_health(opened.bus, opened.settings)
    if wants_json(context, as_json):
        tell_json(found)
    else:
        rows = (
            (queue, "stalled" if queue in found.stalled else "ok", "never" if seconds is None else f"{seconds:g} s ago")
            for queue, seconds in found.queues.items()
        )
        table(("queue", "state", "canary"), rows)
        tell()
        tell(f"{found.events} events wait, the oldest for {found.oldest_s:g} s.")
        if not found.mail_set_up:
            tell("Mail is not set up (BOTHWAYS_SMTP_HOST): notifications are not sent.")
    if found.stalled:
        raise typer.Exit(1)
