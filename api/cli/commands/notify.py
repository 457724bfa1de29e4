"""`notify`: whom an integration's notification e-mail goes to, and what became of the latest mails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.output import local, say, table, tell, tell_json, words
from api.cli.session import IntegrationId, Json, doors, wants_json
from shared.errors import ConfigError

if TYPE_CHECKING:
    from shared.services.notifications import NoticeView, Notifications

_KINDS = ("manual", "automatic")
_To = Annotated[list[str] | None, typer.Option(metavar="ADDRESS", help="Again for each. Replaces those of before.")]
_On = Annotated[
    str | None, typer.Option(metavar="KINDS", help="manual, automatic, or both with a comma; - for failures alone.")
]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Set-up")(notify)


def notify(
    context: typer.Context,
    integration: IntegrationId,
    to: _To = None,
    on: _On = None,
    nobody: Annotated[bool, typer.Option("--nobody", help="Tell nobody.")] = False,
    as_json: Json = False,
) -> None:
    """Show or set who is told by e-mail how syncs end. Of failed ones they are told always."""
    if nobody and (to or on):
        raise ConfigError("--nobody stands alone.", code="BAD_OPTIONS")
    with doors() as opened:
        actor = opened.host()
        found = opened.notifications.get(actor, integration)
        if to or on is not None or nobody:
            kinds = _kinds(on) if on is not None else {one for one in _KINDS if getattr(found, one)}
            addresses = [] if nobody else (to or found.addresses)
            found = opened.notifications.save(
                actor, integration, addresses, manual="manual" in kinds, automatic="automatic" in kinds
            )
            say("Saved.")
        sent = opened.notifications.recent(actor, integration)
        set_up = opened.settings.smtp_host is not None
    if wants_json(context, as_json):
        tell_json({"notifications": found, "mail_set_up": set_up, "sent": sent})
        return
    _show(found, sent, set_up=set_up)


def _kinds(given: str) -> set[str]:
    """Raises ConfigError."""
    kinds = {part.strip() for part in given.split(",")} - {"", "-"}
    if strange := sorted(kinds - set(_KINDS)):
        raise ConfigError(f"--on takes {' and '.join(_KINDS)}, not {', '.join(strange)}.", code="BAD_OPTIONS")
    return kinds


def _show(found: Notifications, sent: list[NoticeView], *, set_up: bool) -> None:
    if found.addresses:
        kinds = [one for one in _KINDS if getattr(found, one)]
        tell(f"Told of failed syncs{''.join(f', of {one} ones' for one in kinds)}: {', '.join(found.addresses)}.")
    else:
        tell("Nobody is told. `--to ADDRESS` has failed syncs told, `--on manual,automatic` the others too.")
    if not set_up:
        tell("Mail is not set up (BOTHWAYS_SMTP_HOST): nothing is sent.")
    if sent:
        tell()
        columns = ("sync", "what", "state", "told", "waiting", "refused", "at", "next try", "why")
        rows = (
            (
                one.run_id, words(one.kind), one.state, one.sent, one.waiting, one.refused, local(one.created_at),
                local(one.due_at if one.state == "waiting" else None), one.detail,
            )
            for one in sent
        )  # fmt: skip
        table(columns, rows, numbers=("sync", "told", "waiting", "refused"))
