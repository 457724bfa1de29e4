"""`invoicing`: invoices of work orders."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli.output import local, tell, tell_json
from api.cli.session import IntegrationId, Json, doors, wants_json
from shared.services.invoicing import InvoicingView


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Set-up")(invoicing)


def invoicing(
    context: typer.Context,
    integration: IntegrationId,
    on: Annotated[bool | None, typer.Option("--on/--off", help="Whether invoices are made of work orders.")] = None,
    statuses: Annotated[
        list[str] | None,
        typer.Option("--status", metavar="STATUS", help="At which they are; several times for several."),
    ] = None,
    by_hand: Annotated[bool, typer.Option("--by-hand", help="At none by itself.")] = False,
    terms: Annotated[int | None, typer.Option(min=0, max=365, metavar="DAYS", help="After which one is due.")] = None,
    as_json: Json = False,
) -> None:
    """Invoices of completed work orders. One by hand: `bothways sync-record INTEGRATION work_orders left ID`."""
    wanted = [] if by_hand else statuses or None
    with doors() as opened:
        actor = opened.host()
        if on is None and wanted is None and terms is None:
            view = opened.invoicing.get(actor, integration)
        else:
            view = opened.invoicing.set(actor, integration, on=on, statuses=wanted, terms_days=terms)
    if wants_json(context, as_json):
        tell_json(view)
    else:
        _tell(integration, view)


def _tell(integration: int, view: InvoicingView) -> None:
    if not view.on:
        tell(f"No invoices are made. `bothways invoicing {integration} --on` makes them from now on.")
        return
    when = f"at {', '.join(view.statuses)}" if view.statuses else "by hand alone"
    tell(
        f"Work orders are invoiced {when}, if they changed since {local(view.since)}; due in {view.terms_days} days. "
        f"{view.made} so far. Which of their fields go to the invoice: `bothways mapping {integration} {view.pair}`."
    )
