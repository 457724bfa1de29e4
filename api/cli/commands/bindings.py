"""`bindings`: search, CSV out and in; `bind`, `unbind`, `release`, `create-again`: people know better (DU-1)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.output import local, say, table, tell, tell_json, words
from api.cli.session import IntegrationId, Json, doors, wants_json
from shared.errors import ConfigError
from shared.sync.model import BindingState, Side

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.services.bindings import AsideView, BindingView, Imported

_MOST_BYTES = 10_000_000
_Modules = Annotated[str, typer.Argument(metavar="MODULES", help="Such as companies; see `bothways integrations`.")]
_Side = Annotated[Side, typer.Argument(help="Where the record is.")]
_RecordId = Annotated[str, typer.Argument(metavar="RECORD", help="The vendor's id of it.")]
_SOON = "It is synced within seconds, once Fetch has run."


def register(app: typer.Typer) -> None:
    for command in (bindings, bind, unbind, release):
        app.command(rich_help_panel="Bindings")(command)
    app.command(name="create-again", rich_help_panel="Bindings")(create_again)


def bindings(
    context: typer.Context,
    integration: IntegrationId,
    modules: Annotated[str | None, typer.Option(help="Of one pair of modules.")] = None,
    state: Annotated[BindingState | None, typer.Option(help="In this state.")] = None,
    search: Annotated[str | None, typer.Option(help="A record's id, or a part of its name.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    aside: Annotated[bool, typer.Option("--aside", help="Records that are set aside.")] = False,
    to_csv: Annotated[bool, typer.Option("--csv", help="All of them, as CSV.")] = False,
    given: Annotated[
        Path | None,
        typer.Option(
            "--import", exists=True, dir_okay=False, readable=True, metavar="FILE",
            help="Bind by a CSV file with the columns modules, left_record and right_record.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Which records are bound to each other. Exit code 2: some lines of an imported file were refused."""
    if sum((aside, to_csv, given is not None)) > 1:
        raise ConfigError("Choose one of --aside, --csv and --import.", code="BAD_OPTIONS")
    json = wants_json(context, as_json)
    with doors() as opened:
        actor = opened.host()
        if given is not None:
            _tell_imported(opened.bindings.import_csv(actor, integration, _text(given)), json=json)
        elif to_csv:
            _write(opened.bindings.csv(actor, integration, modules))
        elif aside:
            _tell_aside(opened.bindings.aside(actor, integration), json=json)
        else:
            found = opened.bindings.search(actor, integration, pair=modules, state=state, search=search, limit=limit)
            _tell(found, json=json)


def _tell(found: Sequence[BindingView], *, json: bool) -> None:
    if json:
        tell_json(found)
        return
    rows = (
        (
            one.pair,
            one.left_id,
            one.right_id,
            one.left_name or one.right_name,
            words(one.state),
            local(one.bound_at),
            "by hand" if one.bound_by_sync is None else f"sync {one.bound_by_sync}",
        )
        for one in found
    )
    table(("modules", "left", "right", "name", "state", "bound", "by"), rows)


def _tell_aside(found: Sequence[AsideView], *, json: bool) -> None:
    if json:
        tell_json(found)
        return
    rows = (
        (one.pair, one.side.value, one.record_id, words(one.why), one.other_id, local(one.at), one.by_name)
        for one in found
    )
    table(("modules", "side", "record", "why", "other record", "at", "by"), rows)


def _tell_imported(told: Imported, *, json: bool) -> None:
    if json:
        tell_json(told)
    else:
        tell(f"{told.bound} bound, {told.same} were bound so already, {len(told.refused)} lines refused.")
        for one in told.refused:
            tell(f"Line {one.line}: {one.code}: {one.sentence}")
    if told.refused:
        raise typer.Exit(2)


def _write(pieces: Iterator[str]) -> None:
    """As it is: lines end as RFC 4180 wants them."""
    for piece in pieces:
        sys.stdout.write(piece)


def _text(path: Path) -> str:
    """Raises ConfigError on what is no text."""
    if path.stat().st_size > _MOST_BYTES:
        raise ConfigError(f"{path.name} is longer than {_MOST_BYTES} bytes; split it.", code="BAD_CSV")
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{path.name} is not UTF-8; save it as “CSV UTF-8”.", code="BAD_CSV") from None


def bind(
    integration: IntegrationId,
    modules: _Modules,
    left: Annotated[str, typer.Argument(metavar="LEFT", help="Id of the record on the left side.")],
    right: Annotated[str, typer.Argument(metavar="RIGHT", help="Id of the record on the right side.")],
) -> None:
    """These two records are the same."""
    with doors() as opened:
        opened.bindings.bind(opened.host(), integration, modules, left, right)
    say(f"{left} and {right} are bound. {_SOON}")


def unbind(integration: IntegrationId, modules: _Modules, side: _Side, record_id: _RecordId) -> None:
    """A record and its twin are not the same. Neither is matched or made anew until it is bound or released."""
    with doors() as opened:
        twin = opened.bindings.unbind(opened.host(), integration, modules, side, record_id)
    say(f"{record_id} and {twin} are not bound any more, and both are left alone. Nothing was written to a vendor.")


def release(integration: IntegrationId, modules: _Modules, side: _Side, record_id: _RecordId) -> None:
    """A record that was unbound may be matched and made again."""
    with doors() as opened:
        opened.bindings.release(opened.host(), integration, modules, side, record_id)
    say(f"{record_id} is released. {_SOON}")


def create_again(integration: IntegrationId, modules: _Modules, side: _Side, record_id: _RecordId) -> None:
    """The twin of this record was deleted, and is wanted back."""
    with doors() as opened:
        opened.bindings.create_again(opened.host(), integration, modules, side, record_id)
    say(f"The twin of {record_id} is made again. {_SOON}")
