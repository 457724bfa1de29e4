"""`sync-record`: one record, now (TR-6)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.output import say, tell, tell_json, words
from api.cli.session import IntegrationId, Json, doors, wants_json
from shared.sync.model import Side
from shared.sync.reasons import REASONS, sentence

if TYPE_CHECKING:
    from shared.services.events import RecordSync

_POLL_S = 0.1


def register(app: typer.Typer) -> None:
    app.command(name="sync-record", rich_help_panel="Syncs")(sync_record)


def sync_record(
    context: typer.Context,
    integration: IntegrationId,
    pair: Annotated[str, typer.Argument(help="As `bothways integrations` names it, such as companies.")],
    side: Annotated[Side, typer.Argument(help="Where the record is.")],
    record_id: Annotated[str, typer.Argument(help="The vendor's id of it.")],
    wait_s: Annotated[float, typer.Option(min=0, max=600, help="Seconds to wait for its outcome.")] = 60.0,
    as_json: Json = False,
) -> None:
    """One record now, before webhooks and runs. Exit code 2: it failed; 1: it has no outcome yet."""
    with doors() as opened:
        actor = opened.host()
        found = opened.events.sync_record(actor, integration, pair, side, record_id)
        ends = time.monotonic() + wait_s
        while found.outcome is None and time.monotonic() < ends:
            time.sleep(_POLL_S)
            found = opened.events.record_sync(actor, integration, pair, side, record_id, found.event_id)
    if wants_json(context, as_json):
        tell_json(found)
    else:
        _tell(found)
    if wait_s and found.outcome in (None, "failed"):
        raise typer.Exit(2 if found.outcome else 1)


def _tell(found: RecordSync) -> None:
    if found.outcome is not None:
        twin = f"; its twin is {found.twin_id}" if found.twin_id else ""
        tell(f"{words(found.outcome).capitalize()}{twin} (sync {found.sync_id}).")
        if found.reason in REASONS:
            say(f"{sentence(found.reason, found.detail)}. {REASONS[found.reason].remedy}")
    elif found.waiting_for is not None:
        tell(f"It waits: {found.waiting_for}. It is synced as soon as it can be.")
    else:
        tell("It is kept, and synced as soon as its orgs are free.")
