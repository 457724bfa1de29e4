"""`setup`: an integration step by step (SU-2): policy and sync type, mappings, then enabled, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.output import say, table, tell, tell_json
from api.cli.session import IntegrationId, Json, doors, wants_json
from shared.errors import ConfigError
from shared.sync.model import Policy

if TYPE_CHECKING:
    from shared.services.setup import SetupView


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Set-up")(setup)


def setup(
    context: typer.Context,
    integration: IntegrationId,
    policy: Annotated[Policy | None, typer.Option(help="Where a match is found.")] = None,
    sync_type: Annotated[str | None, typer.Option(help="I to IV, as far as they are offered.")] = None,
    confirm: Annotated[
        str | None, typer.Option(metavar="MODULES", help="Their mapping is right as `bothways mapping` shows it.")
    ] = None,
    last_change_wins: Annotated[
        bool, typer.Option("--last-change-wins", help="With --confirm: other integrations write these fields too.")
    ] = False,
    enable: Annotated[bool, typer.Option("--enable", help="Save and enable, once, when all steps are done.")] = False,
    discard: Annotated[bool, typer.Option("--discard", help="The draft is not wanted any more.")] = False,
    as_json: Json = False,
) -> None:
    """How far the set-up of a draft is, and its next step. `bothways integrations add … --draft` begins one."""
    chooses = policy is not None or sync_type is not None
    if sum((chooses, confirm is not None, enable, discard)) > 1:
        words = "--policy and --sync-type, --confirm, --enable or --discard"
        raise ConfigError(f"One step at a time: {words}.", code="BAD_OPTIONS")
    with doors() as opened:
        actor = opened.host()
        if discard:
            opened.setup.discard(actor, integration)
            say("The draft is discarded.")
            return
        view = opened.setup.get(actor, integration)
        if chooses:
            chosen = policy or Policy(view.policy)
            view = opened.setup.choose(actor, integration, chosen, sync_type or view.sync_type)
        elif confirm is not None:
            view = opened.setup.confirm_mapping(actor, integration, confirm, last_change_wins=last_change_wins)
        elif enable:
            view = opened.setup.enable(actor, integration)
    if wants_json(context, as_json):
        tell_json(view)
    else:
        _show(view)


def _show(view: SetupView) -> None:
    tell(f"Integration {view.integration_id}: {view.state}. Policy {view.policy}, sync type {view.sync_type}.")
    rows = (
        (step.key, step.label, "done" if step.done else "next" if step.key == view.next_step else "")
        for step in view.steps
    )
    table(("step", "", ""), rows)
    if view.state != "draft":
        tell(f"It is set up. Next: `bothways fetch {view.integration_id}`.")
    elif view.next_step is None:
        tell(f"All steps are done: `bothways setup {view.integration_id} --enable`.")
    elif view.next_step == "policy":
        types = ", ".join(one.key for one in view.sync_types if one.offered)
        tell(f"Next: --policy ({', '.join(view.policies)}) and --sync-type ({types}).")
    else:
        pair = view.next_step.partition(":")[2]
        tell(f"Next: look at `bothways mapping {view.integration_id} {pair}`, then --confirm {pair}.")
