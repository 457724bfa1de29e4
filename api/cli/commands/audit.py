"""`audit`: who did what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from api.cli.output import local, table, tell, tell_json
from api.cli.session import Json, doors, wants_json

_FORMS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="People")(audit)


def audit(
    context: typer.Context,
    since: Annotated[datetime | None, typer.Option(formats=_FORMS, help="In this machine's time zone.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """What was done by whom, newest first. Secrets are told as changed, never shown."""
    with doors() as opened:
        moment = None if since is None else since.astimezone()
        found = opened.audit.recent(opened.host(), since=moment, limit=limit)
    if wants_json(context, as_json):
        tell_json(found)
        return
    if not found:
        tell("Nothing was done in this time.")
        return
    rows = (
        (
            one.id,
            local(one.at),
            one.principal if one.token_id is None else f"{one.principal} (token {one.token_id})",
            one.action,
            one.subject_id,
            _shown(one.before),
            _shown(one.after),
        )
        for one in found
    )
    table(("id", "at", "who", "what", "of", "before", "after"), rows, numbers=["id"])


def _shown(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in values.items())
