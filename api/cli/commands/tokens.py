"""`tokens`: who may call the REST API; `tokens add`, `tokens revoke`."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli.output import local, say, table, tell, tell_json
from api.cli.session import Json, an_id, doors, wants_json
from shared.errors import ConfigError
from shared.sync.access import DEFAULT_DAYS, Role


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Tokens of the REST API: list, add, revoke.", rich_markup_mode=None)
    group.callback(invoke_without_command=True)(tokens)
    group.command()(add)
    group.command()(revoke)
    app.add_typer(group, name="tokens", rich_help_panel="People")


def tokens(context: typer.Context, as_json: Json = False) -> None:
    """List the tokens, without their secrets; `add` makes one."""
    if context.invoked_subcommand is not None:
        return
    with doors() as opened:
        found = opened.tokens.list(opened.host())
    if wants_json(context, as_json):
        tell_json(found)
        return
    if not found:
        tell("There is no token yet: `bothways tokens add NAME --role admin --logs`.")
        return
    columns = ("token", "name", "role", "logs", "made", "expires", "last used", "revoked")
    rows = (
        (
            one.id,
            one.principal,
            one.role,
            "yes" if one.read_logs else "no",
            local(one.created_at),
            "never" if one.expires_at is None else local(one.expires_at),
            local(one.last_used_at),
            local(one.revoked_at),
        )
        for one in found
    )
    table(columns, rows, numbers=["token"])


def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is: the audit log has this name.")],
    role: Annotated[Role, typer.Option(help="What it may do.")],
    logs: Annotated[bool, typer.Option("--logs", help="May read the two-way sync logs as well.")] = False,
    expires_days: Annotated[int | None, typer.Option(min=1, help=f"Days it lasts; {DEFAULT_DAYS} unless told.")] = None,
    no_expiry: Annotated[bool, typer.Option("--no-expiry", help="It lasts until it is revoked.")] = False,
    as_json: Json = False,
) -> None:
    """Make a token and show it, this once. With --json: {"token", "id", "principal", ...}."""
    if no_expiry and expires_days is not None:
        raise ConfigError("Choose one of --expires-days and --no-expiry.", code="BAD_OPTIONS")
    days = None if no_expiry else expires_days or DEFAULT_DAYS
    with doors() as opened:
        made = opened.tokens.add(opened.host(), name, role, read_logs=logs, expires_days=days)
    if _json(context, as_json):
        from dataclasses import asdict

        tell_json({"token": made.token.get_secret_value(), **asdict(made.view)})
        return
    until = "until it is revoked" if made.view.expires_at is None else f"until {local(made.view.expires_at)}"
    say(f"Token {made.view.id} of {made.view.principal} ({made.view.role}), good {until}. It is not shown again:")
    tell(made.token.get_secret_value())


def revoke(
    context: typer.Context,
    token: Annotated[int, an_id("TOKEN", "Its id; see `bothways tokens`.")],
    as_json: Json = False,
) -> None:
    """Refuse a token from now on."""
    with doors() as opened:
        view = opened.tokens.revoke(opened.host(), token)
    if _json(context, as_json):
        tell_json(view)
    else:
        tell(f"Token {view.id} of {view.principal} is revoked.")


def _json(context: typer.Context, here: bool) -> bool:
    """`--json` may stand after `tokens` too."""
    return wants_json(context, here) or bool(context.parent and context.parent.params.get("as_json"))
