"""`sync-record`: one record, now (TR-6); `record`: its page (LG-5)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.output import local, say, table, tell, tell_json, words
from api.cli.session import IntegrationId, Json, doors, wants_json
from shared.sync.model import Side
from shared.sync.reasons import REASONS, sentence

if TYPE_CHECKING:
    from shared.services.events import RecordSync
    from shared.services.records import RecordView

_Modules = Annotated[str, typer.Argument(metavar="MODULES", help="Such as companies; see `bothways integrations`.")]
_Side = Annotated[Side, typer.Argument(help="Where the record is.")]
_RecordId = Annotated[str, typer.Argument(metavar="RECORD", help="The vendor's id of it.")]

_POLL_S = 0.1


def register(app: typer.Typer) -> None:
    app.command(name="sync-record", rich_help_panel="Syncs")(sync_record)
    app.command(rich_help_panel="Syncs")(record)


def sync_record(
    context: typer.Context,
    integration: IntegrationId,
    pair: _Modules,
    side: _Side,
    record_id: _RecordId,
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


def record(
    context: typer.Context,
    integration: IntegrationId,
    pair: _Modules,
    side: _Side,
    record_id: _RecordId,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Syncs of it at most, the newest.")] = 20,
    as_json: Json = False,
) -> None:
    """To what a record is bound, what it waits for, and what was done to it."""
    with doors() as opened:
        view = opened.records.get(opened.host(), integration, pair, side, record_id, limit=limit)
    if wants_json(context, as_json):
        tell_json(view)
    else:
        _page(view)


def _page(view: RecordView) -> None:
    if view.twin_id is None:
        tell(f"{view.module} {view.record_id} is not bound.")
    else:
        state = "" if view.binding == "live" else f", {words(view.binding or '')}"
        who = "by hand" if view.bound_by_sync is None else f"by sync {view.bound_by_sync}"
        by = f"since {local(view.bound_at)}, {who}"
        tell(f"{view.module} {view.record_id} is bound to {view.twin_module} {view.twin_id} {by}{state}.")
    for url in (view.url, view.twin_url):
        if url is not None:
            tell(url)
    if view.aside is not None:
        other, when = f"{view.twin_module} {view.aside.other_id}", local(view.aside.at)
        if view.aside.why == "unbound":
            tell(f"It was unbound from {other} at {when} by {view.aside.by_name}, and is left alone.")
        else:
            tell(f"By the policy Clone {other} got a record of its own at {when}; this one is left alone.")
    if view.waiting is not None:
        when = "with the next sync" if view.waiting.due_at is None else f"at {local(view.waiting.due_at)}"
        tell(f"{view.waiting.sentence}. {view.waiting.remedy} Tried again {when}.")
    rows = (
        (one["run_id"], local(one["at"]), one["direction"], words(one["outcome"]), one["sentence"], _fields(one))
        for one in view.history
    )
    table(("sync", "at", "direction", "outcome", "why", "changed"), rows, numbers=["sync"])


def _fields(row: Mapping[str, Any]) -> str:
    """Names alone: values are in --json."""
    return ", ".join(dict.fromkeys(str(one["field"]) for one in row["changes"]))
