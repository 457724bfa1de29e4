"""`integrations`: what is kept in step, and `integrations add`."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli.output import local, table, tell, tell_json, words
from api.cli.session import Json, doors, wants_json
from shared.sync.model import Policy

_OrgId = Annotated[int, typer.Option(min=1, max=2**63 - 1, metavar="ORG", help="See `bothways connections`.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Two orgs kept in step: list, add.", rich_markup_mode=None)
    group.callback(invoke_without_command=True)(integrations)
    group.command()(add)
    app.add_typer(group, name="integrations", rich_help_panel="Set-up")


def integrations(context: typer.Context, as_json: Json = False) -> None:
    """List the integrations; `add` makes one of two connected orgs."""
    if context.invoked_subcommand is not None:
        return
    with doors() as opened:
        found = opened.integrations.of_workspace(opened.host())
    if wants_json(context, as_json):
        tell_json(found)
        return
    if not found:
        tell("There is no integration yet. Connect two orgs (`bothways connect`), then `bothways integrations add`.")
        return
    rows = (
        (
            one.id,
            one.name,
            one.kind,
            words(one.state),
            local(one.fetched_at),
            local(one.next_run_at),
            ", ".join(one.pairs),
            one.disabled_code or "",
        )
        for one in found
    )
    table(("id", "name", "kind", "state", "fetched", "next sync", "modules", "stopped by"), rows, numbers=["id"])
    for one in found:
        if one.disabled_code:
            tell(f"{one.id}: {one.disabled_detail} `bothways support enable {one.id} --note …`.")


def add(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Such as fsm_books.")],
    left: _OrgId,
    right: _OrgId,
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    draft: Annotated[bool, typer.Option("--draft", help="To be set up step by step: `bothways setup`.")] = False,
    policy: Annotated[Policy, typer.Option(help="Where a match is found: overwrite one by the other, or clone.")] = (
        Policy.OVERWRITE
    ),
    sync_type: Annotated[
        str | None,
        typer.Option(help="Which companies and contacts are synced: I to IV, as far as there are several."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Keep two connected orgs in step. Nothing is written yet: Fetch comes first."""
    with doors() as opened:
        actor = opened.host()
        made = opened.integrations.create(actor, kind, left, right, name, policy, sync_type=sync_type, draft=draft)
        view = opened.integrations.get(actor, made)
    if wants_json(context, as_json) or bool(context.parent and context.parent.params.get("as_json")):
        tell_json(view)
        return
    following = "setup" if draft else "fetch"
    tell(f"Integration {view.id}: {view.name} ({view.label}). Next: `bothways {following} {view.id}`.")
