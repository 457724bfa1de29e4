"""`connect`, `connections`, `webhook`, `limits`: signing in to vendors, their webhooks, their call limits."""

from __future__ import annotations

import os
import sys
import time
import webbrowser
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import SecretStr

from api.cli.callback import listening
from api.cli.output import clean, local, say, table, tell, tell_json
from api.cli.session import ConnectionId, Json, doors, interactive, wants_json
from shared.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from api.ports import Doors
    from shared.services.connections import ChooseOrg, Connected
    from shared.sync.access import Actor

ID_VARIABLE, SECRET_VARIABLE = "BOTHWAYS_CLIENT_ID", "BOTHWAYS_CLIENT_SECRET"
PORT = 8765
"""Fixed, for a vendor takes only redirect addresses that were entered there."""


def register(app: typer.Typer) -> None:
    for command in (connect, connections, webhook, limits):
        app.command(rich_help_panel="Set-up")(command)
    app.command("rotate-keys", rich_help_panel="On this machine")(rotate_keys)


def rotate_keys(context: typer.Context, as_json: Json = False) -> None:
    """Seal every stored token and secret under the key ring's current key. The old key may go ten minutes later."""
    with doors() as opened:
        count = opened.connections.rotate_keys(opened.host())
    if wants_json(context, as_json):
        tell_json({"resealed": count})
    else:
        tell(f"{count} connections were sealed anew.")


def connect(
    context: typer.Context,
    vendor: Annotated[str, typer.Argument(metavar="VENDOR", help="Such as zoho_fsm, zoho_books, zoho_invoice.")],
    data_centre: Annotated[str, typer.Option(help="us, eu, in, au, …, or sandbox.")] = "us",
    client_id: Annotated[str | None, typer.Option(envvar=ID_VARIABLE, help="Of the OAuth client.")] = None,
    client_secret_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"Holds the client secret; else {SECRET_VARIABLE}, else it is asked for."),
    ] = None,
    org_name: Annotated[str | None, typer.Option(help="For vendors that do not name the org.")] = None,
    org_id: Annotated[str | None, typer.Option(help="The vendor's id of the org, where there are several.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the redirect address; 0 takes a free one.")] = PORT,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    show_webhook_secret: Annotated[bool, typer.Option("--show-webhook-secret")] = False,
    as_json: Json = False,
) -> None:
    """Connect an org of a vendor by signing in to it; connecting it again renews the sign-in.

    With --json two lines come: {"authorize_url", "redirect_uri"} at once, then {"connection", "webhook"}.
    """
    from shared.services.connections import lists_orgs

    as_json = wants_json(context, as_json)
    ask = interactive() and not as_json
    org_is_told = lists_orgs(vendor)  # an unknown vendor is told before anything is asked for
    with doors() as opened:
        actor = opened.host()
        identity = _client_id(client_id, ask)
        secret = _client_secret(client_secret_file, ask)
        if ask and org_name is None and org_id is None and not org_is_told:
            org_name = typer.prompt("Name of the org, as you want to see it here", err=True)
        with listening(port) as listener:
            listener.state, url = opened.connections.begin(
                actor,
                vendor,
                data_centre,
                identity,
                secret,
                listener.redirect_uri,
                org_external_id=org_id,
                org_name=org_name,
            )
            _announce(url, listener.redirect_uri, as_json, browse=ask and not no_browser)
            redirect = listener.wait()
            state = listener.state
        result = opened.connections.finish(
            actor, state, redirect.code, accounts_server=redirect.accounts_server, location=redirect.location
        )
        connected = _chosen(opened, actor, result, ask)
        _tell_connected(opened, actor, connected, as_json, show_webhook_secret)


def _client_id(given: str | None, ask: bool) -> str:
    found = (given or (typer.prompt("Client id", err=True) if ask else "")).strip()
    if not found:
        raise ConfigError(f"No client id: give --client-id or set {ID_VARIABLE}.", code="NO_CLIENT_ID")
    return found


def _client_secret(file: Path | None, ask: bool) -> SecretStr:
    """Never from the command line, which every user of the machine can read."""
    if file is not None:
        try:
            text = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ConfigError(f"{file} cannot be read: {why}.", code="NO_CLIENT_SECRET") from None
    else:
        text = os.environ.get(SECRET_VARIABLE) or ""
        if not text and ask:
            text = typer.prompt("Client secret", hide_input=True, err=True)
    if not text.strip():
        raise ConfigError(
            f"No client secret: set {SECRET_VARIABLE} or give --client-secret-file.", code="NO_CLIENT_SECRET"
        )
    return SecretStr(text.strip())


def _announce(url: str, redirect_uri: str, as_json: bool, browse: bool) -> None:
    if as_json:
        tell_json({"authorize_url": url, "redirect_uri": redirect_uri})
        return
    say(f"The redirect address of the client at the vendor must be {redirect_uri}")
    say("Open this address and sign in (within ten minutes):")
    tell(url)
    sys.stdout.flush()
    if browse:
        webbrowser.open(url)


def _chosen(opened: Doors, actor: Actor, result: Connected | ChooseOrg, ask: bool) -> Connected:
    from shared.services.connections import Connected

    if isinstance(result, Connected):
        return result
    listed = ", ".join(f"{one.external_id} ({one.name})" for one in result.choices)
    if not ask:
        raise NotFound(
            f"The sign-in reaches several orgs: run it again with --org-id. They are {listed}.", code="CHOOSE_ORG"
        )
    for number, one in enumerate(result.choices, 1):
        say(f"{number}. {one.name} ({one.external_id})")
    number = 0
    while not 1 <= number <= len(result.choices):
        number = typer.prompt(f"Which one (1 to {len(result.choices)})", type=int, err=True)
    return opened.connections.choose(actor, result.state, result.choices[number - 1].external_id)


def _tell_connected(opened: Doors, actor: Actor, connected: Connected, as_json: bool, show_secret: bool) -> None:
    hook = _webhook(opened, actor, connected.connection_id, show_secret)
    view = opened.connections.describe(actor, connected.connection_id)
    if as_json:
        tell_json({"connection": view, "webhook": hook})
        return
    tell(f"Connected: {view.org_name} ({view.vendor_label}). Connection {view.id}, org {view.org_id}.")
    tell()
    _tell_webhook(hook)
    if not show_secret:
        tell(f"The secret: `bothways webhook {view.id}`.")


def connections(context: typer.Context, as_json: Json = False) -> None:
    """List the connected orgs."""
    with doors() as opened:
        found = opened.connections.list(opened.host())
    if wants_json(context, as_json):
        tell_json(found)
        return
    if not found:
        tell("No org is connected yet: `bothways connect VENDOR`.")
        return
    columns = ("connection", "org", "vendor", "name", "id at the vendor", "data centre", "status", "since")
    rows = (
        (
            one.id,
            one.org_id,
            one.vendor,
            one.org_name,
            one.org_external_id,
            one.data_centre,
            one.status if one.broken_reason is None else f"{one.status}: {one.broken_reason}",
            local(one.created_at),
        )
        for one in found
    )
    table(columns, rows, numbers=("connection", "org"))


def webhook(
    context: typer.Context,
    connection: ConnectionId,
    create: Annotated[
        bool, typer.Option("--create", help="Make them at the vendor, where it has a call for it.")
    ] = False,
    wait: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Wait for the first delivery so long.")] = 0,
    as_json: Json = False,
) -> None:
    """What to enter at the vendor so that its changes come at once. Shows the secret, unless it makes or waits."""
    with doors() as opened:
        actor = opened.host()
        if create:
            opened.connections.make_webhooks(actor, connection, opened.settings.public_base)
        hook = None if create or wait else _webhook(opened, actor, connection, show_secret=True)
        live_at = _awaited(opened, actor, connection, wait)
    if wants_json(context, as_json):
        tell_json({"connection_id": connection, **(hook or {}), "webhook_live_at": live_at})
    else:
        if create:
            tell("The webhooks are made.")
        if hook is not None:
            _tell_webhook(hook)
        _tell_live(live_at)
    if wait and live_at is None:
        raise typer.Exit(1)


def _awaited(opened: Doors, actor: Actor, connection_id: int, wait_s: float) -> datetime | None:
    """When the first delivery with the secret in force came; looked for again for so long."""
    ends = time.monotonic() + wait_s
    asked = False
    while True:
        live_at = opened.connections.describe(actor, connection_id).webhook_live_at
        left_s = ends - time.monotonic()
        if live_at is not None or left_s <= 0:
            return live_at
        if not asked:
            asked = True
            say("Change any record there now; waiting for the vendor to tell of it.")
        time.sleep(min(0.5, left_s))


def _tell_live(live_at: datetime | None) -> None:
    if live_at is None:
        tell("No delivery has come yet with this secret. Change any record there; --wait 60 waits for it.")
    else:
        tell(f"Live: the first delivery with this secret came at {local(live_at)}.")


def limits(
    context: typer.Context,
    connection: ConnectionId,
    per_minute: Annotated[int | None, typer.Option(min=1, help="Calls a minute.")] = None,
    per_day: Annotated[int | None, typer.Option(min=1, help="Calls in 24 hours.")] = None,
    concurrent: Annotated[int | None, typer.Option(min=1, help="Calls at the same time.")] = None,
    off: Annotated[bool, typer.Option("--off", help="Hold no budget; the vendor alone refuses.")] = False,
    published: Annotated[bool, typer.Option("--published", help="Back to what the vendor publishes.")] = False,
    as_json: Json = False,
) -> None:
    """How many calls an org may get; without an option it is only told. What is not given is as published."""
    windows = {"per_minute": (per_minute, 60), "per_day": (per_day, 86_400), "concurrent": (concurrent, 0)}
    wanted = {name: {"calls": calls, "window_s": s} for name, (calls, s) in windows.items() if calls is not None}
    if bool(wanted) + off + published > 1:
        raise ConfigError("Choose figures, --off or --published.", code="BAD_OPTIONS")
    with doors() as opened:
        actor = opened.host()
        if off:
            found = opened.connections.set_limits(actor, connection, False)
        elif wanted or published:
            found = opened.connections.set_limits(actor, connection, wanted)
        else:
            found = opened.connections.limits(actor, connection)
    if wants_json(context, as_json):
        tell_json([{"name": one.name, "calls": one.calls, "window_s": one.window_s} for one in found])
    elif found:
        rows = [(one.name, one.calls, one.window_s or "at the same time") for one in found]
        table(("limit", "calls", "seconds"), rows)
    else:
        tell("No limit is held.")


def _webhook(opened: Doors, actor: Actor, connection_id: int, show_secret: bool) -> dict[str, Any]:
    """{connection_id, vendor, url, steps, values, bodies, notes}, and `secret` where it is to be shown."""
    from shared.services.webhook_steps import webhook_steps

    view = opened.connections.describe(actor, connection_id)
    setup = opened.connections.webhook_setup(actor, connection_id)
    base = opened.settings.public_base
    secret = setup.secret if show_secret else None
    steps = webhook_steps(view.vendor, base + setup.path, secret)
    return {
        "connection_id": connection_id,
        "vendor": view.vendor,
        "url": base + setup.path,
        **({"secret": setup.secret.get_secret_value()} if show_secret else {}),
        "steps": steps.steps,
        "values": steps.values,
        "bodies": steps.bodies,
        "notes": steps.notes,
    }


def _tell_webhook(hook: dict[str, Any]) -> None:
    """Values stand alone on their lines, so that they can be copied."""
    tell("To receive its changes at once:")
    for number, step in enumerate(hook["steps"], 1):
        tell(f"  {number}. {step}")
    tell()
    width = max(len(name) for name in hook["values"])
    for name, value in hook["values"].items():
        tell(f"  {name.ljust(width)}  {clean(value)}")
    for name, body in hook["bodies"].items():
        tell(f"  Body for {name}:\n    {body}")
    for note in hook["notes"]:
        tell(f"  {note}")
