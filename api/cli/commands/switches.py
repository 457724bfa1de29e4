"""`schedule`, `pause`, `disable`, `enable`, and `support enable`: when an integration runs, and whether it may."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.output import local, tell, tell_json, words
from api.cli.session import IntegrationId, Json, doors, wants_json
from shared.errors import ConfigError

if TYPE_CHECKING:
    from api.ports import Doors
    from shared.services.integrations import IntegrationView

_UNITS_S = {"m": 60, "h": 3600, "d": 86_400}


def register(app: typer.Typer) -> None:
    for command in (schedule, pause, disable, enable):
        app.command(rich_help_panel="Set-up")(command)
    group = typer.Typer(help="What support alone may do, by whoever has this machine.", rich_markup_mode=None)
    group.callback()(support)
    group.command("enable")(support_enable)
    app.add_typer(group, name="support", rich_help_panel="People")


def schedule(
    context: typer.Context,
    integration: IntegrationId,
    every: Annotated[
        str | None, typer.Option(metavar="TIME", help="After the end of the last sync: 30m, 3h, 1d; or off.")
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help='Such as Europe/Berlin; "" is the accounting org\'s own.')
    ] = None,
    as_json: Json = False,
) -> None:
    """When it syncs by itself, and in which time zone its days are."""
    interval_s = None if every in (None, "off") else _seconds(str(every))
    on = None if every is None else every != "off"

    def act(opened: Doors) -> IntegrationView:
        if every is None and time_zone is None:
            return opened.integrations.get(opened.host(), integration)
        return opened.integrations.set_schedule(
            opened.host(), integration, on=on, interval_s=interval_s, time_zone=time_zone
        )

    view = _acted(context, as_json, act)
    if view is not None:
        every_h = f"{view.schedule_interval_s / 3600:g} hours after the end of the last" if view.schedule_on else ""
        told = f"A sync comes {every_h} one; the next: {local(view.next_run_at)}." if every_h else "None by the clock."
        tell(f"{told} Its days are those of {view.time_zone}.")


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if found is None:
        raise ConfigError(f"{text} is no time: 30m, 3h and 1d are, and off.", code="BAD_OPTIONS")
    return int(found[1]) * _UNITS_S[found[2]]


def pause(context: typer.Context, integration: IntegrationId, as_json: Json = False) -> None:
    """Keep events and write nothing, until it is enabled; a sync that is on rests."""
    _told(_acted(context, as_json, lambda opened: opened.integrations.pause(opened.host(), integration)))


def disable(context: typer.Context, integration: IntegrationId, as_json: Json = False) -> None:
    """No syncs, and no events taken; a sync that is on ends."""
    _told(_acted(context, as_json, lambda opened: opened.integrations.disable(opened.host(), integration)))


def enable(context: typer.Context, integration: IntegrationId, as_json: Json = False) -> None:
    """What you paused or disabled goes on. What a rule disabled, support alone can enable."""
    _told(_acted(context, as_json, lambda opened: opened.integrations.enable(opened.host(), integration)))


def support() -> None:
    """What support alone may do, by whoever has this machine."""


def support_enable(
    context: typer.Context,
    integration: IntegrationId,
    note: Annotated[str, typer.Option(help="Why it may go on; kept in the audit log.")],
    as_json: Json = False,
) -> None:
    """Let go on what a rule disabled. Where the rule still holds, the next sync stops it again."""
    _told(
        _acted(context, as_json, lambda opened: opened.integrations.enable_again(opened.support(), integration, note))
    )


def _acted(context: typer.Context, as_json: bool, act: Callable[[Doors], IntegrationView]) -> IntegrationView | None:
    """None: told as JSON."""
    with doors() as opened:
        view = act(opened)
    if wants_json(context, as_json):
        tell_json(view)
        return None
    return view


def _told(view: IntegrationView | None) -> None:
    if view is not None:
        tell(f"Integration {view.id} ({view.name}) is {words(view.state)}.")
