"""`import`, `imports`, `import-report`, `import-cancel`: a customer list into an organisation, and what came of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from api.cli.output import local, say, table, tell, tell_json, words
from api.cli.session import ConnectionId, Json, an_id, doors, wants_json
from shared.errors import BothwaysError, ConfigError
from shared.sync.imports import ImportKind, OnMatch, named_columns
from shared.sync.reasons import REASONS

if TYPE_CHECKING:
    from api.ports import Doors
    from shared.services.imports import ImportView, RowView
    from shared.sync.access import Actor

ImportId = Annotated[int, an_id("IMPORT", "Its id; see `bothways imports`.")]
_Outcome = Annotated[
    Literal["created", "updated", "skipped", "failed"] | None, typer.Option(help="Rows of this outcome only.")
]
_EXIT_CODES = {"completed": 0, "completed_with_failures": 2}
_PIECE_BYTES = 65_536
_PAGE = 500


def register(app: typer.Typer) -> None:
    app.command(name="import", rich_help_panel="Imports")(import_file)
    app.command(name="imports", rich_help_panel="Imports")(imports)
    app.command(name="import-report", rich_help_panel="Imports")(import_report)
    app.command(name="import-cancel", rich_help_panel="Imports")(import_cancel)


def import_file(
    context: typer.Context,
    connection: ConnectionId,
    kind: Annotated[ImportKind, typer.Argument(help="What the rows are.")],
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="CSV in UTF-8, with a header line.")
    ],
    on_match: Annotated[
        OnMatch, typer.Option(help="What happens to a record that is there already: blank cells never overwrite.")
    ] = OnMatch.SKIP,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="HEADER=FIELD", help="The field of a column whose header names none; can be repeated."),
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Only start it.")] = False,
    as_json: Json = False,
) -> None:
    """Import a CSV file into an organisation. Exit code 2: it completed, and some rows failed."""
    from api.cli.progress import follow_import
    from shared.bus import redis_errors

    as_json = wants_json(context, as_json)
    named = named_columns(column or [])
    with doors() as opened:
        actor = opened.host()
        with redis_errors():  # an import whose wake-up cannot be sent would look as if it hung
            opened.bus.redis.ping()
        view = _sent(opened, actor, connection, kind, file, on_match, named)
        if not no_wait:
            try:
                view = follow_import(lambda: opened.imports.get(actor, view.id))
            except KeyboardInterrupt:
                say(f"\nImport {view.id} goes on. Look at it with `bothways import-report {view.id}`.")
                raise
    if as_json:
        tell_json(view)
    elif no_wait:
        tell(f"Import {view.id} has started. Look at it with `bothways import-report {view.id}`.")
    else:
        _summary(view)
    if not no_wait:
        raise typer.Exit(_EXIT_CODES.get(view.state, 1))


def _sent(
    opened: Doors,
    actor: Actor,
    connection: int,
    kind: ImportKind,
    file: Path,
    on_match: OnMatch,
    named: dict[str, str],
) -> ImportView:
    from api.cli.progress import upload_bar

    upload = opened.imports.begin(actor, connection, kind, on_match=on_match, columns=named, name=file.name)
    try:
        with file.open("rb") as source, upload_bar(file.stat().st_size) as sent:
            while piece := source.read(_PIECE_BYTES):
                upload.write(piece)
                sent(len(piece))
        return upload.finish()
    except OSError as error:
        upload.drop()
        raise ConfigError(f"{file.name} cannot be read: {error.strerror}.", code="BAD_CSV") from None
    except (BothwaysError, KeyboardInterrupt):
        upload.drop()
        raise


def imports(
    context: typer.Context,
    connection: Annotated[int | None, typer.Option(min=1, max=2**63 - 1, help="Only into this one.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: Json = False,
) -> None:
    """The latest imports, newest first."""
    with doors() as opened:
        found = opened.imports.recent(opened.host(), connection, limit)
    if wants_json(context, as_json):
        tell_json(found)
        return
    if not found:
        tell("There is no import yet. Start with `bothways import CONNECTION KIND FILE`.")
        return
    columns = ("import", "into", "kind", "file", "state", "began", "ended", "rows", "created", "updated", "skipped",
               "failed", "remark")  # fmt: skip
    rows = (
        (
            one.id,
            one.org_name,
            one.kind,
            one.name,
            words(one.state),
            local(one.started_at or one.created_at),
            local(one.ended_at),
            one.rows,
            one.created,
            one.updated,
            one.skipped,
            one.failed,
            one.error_code or one.waiting_for or "",
        )
        for one in found
    )
    table(columns, rows, numbers=("import", "rows", "created", "updated", "skipped", "failed"))


def import_report(
    context: typer.Context,
    import_id: ImportId,
    outcome: _Outcome = None,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV; what failed can be imported again.")] = False,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="A file for the CSV.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Rows at most, but for --csv.")] = 1000,
    as_json: Json = False,
) -> None:
    """What came of each row of an import."""
    with doors() as opened:
        actor = opened.host()
        view = opened.imports.get(actor, import_id)
        if csv or output is not None:
            _deliver(opened.imports.report(actor, import_id, outcome=outcome), output)
            return
        rows = _rows(opened, actor, import_id, outcome, limit)
    if wants_json(context, as_json):
        from dataclasses import asdict

        tell_json({**asdict(view), "done": view.done, "report": rows})
        return
    _summary(view)
    if rows:
        tell()
        shown = ((one.line, one.outcome, one.record_id, one.reason, one.sentence, one.remedy) for one in rows)
        table(("line", "outcome", "record", "reason", "what happened", "what to do"), shown, numbers=["line"])


def _rows(opened: Doors, actor: Actor, import_id: int, outcome: str | None, limit: int) -> list[RowView]:
    rows: list[RowView] = []
    while len(rows) < limit:
        size = min(_PAGE, limit - len(rows))
        after = rows[-1].line if rows else 0
        page = opened.imports.rows(actor, import_id, outcome=outcome, after_line=after, limit=size)
        rows += page
        if len(page) < size:
            break
    return rows


def _deliver(pieces: Iterator[str], output: Path | None) -> None:
    """Raises ConfigError where the file cannot be written. It holds personal data: for its owner only."""
    if output is None:
        for piece in pieces:
            sys.stdout.write(piece)
        return
    try:
        opened = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(opened, "w", encoding="utf-8", newline="") as file:
            file.writelines(pieces)
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror}.", code="BAD_OUTPUT") from None
    say(f"Written to {output}.")


def import_cancel(import_id: ImportId) -> None:
    """Cancel an import. What is written by then stays."""
    with doors() as opened:
        opened.imports.cancel(opened.host(), import_id)
    say(f"Import {import_id} ends as soon as what it is sending has its outcome.")


def _summary(view: ImportView) -> None:
    began, ended = local(view.started_at or view.created_at), local(view.ended_at)
    tell(f"Import {view.id} ({view.kind} into {view.org_name}): {words(view.state)}. Began {began}, ended {ended}.")
    if view.waiting_for:
        tell(f"It waits for {view.waiting_for}.")
    if view.error_code:
        reason = REASONS.get(view.error_code)
        tell(f"{view.error_code}: {view.error_detail or (reason.sentence if reason else '')}")
    tell(
        f"{view.rows} rows read: {view.created} created, {view.updated} updated, {view.skipped} skipped, "
        f"{view.failed} failed."
    )
    if view.failed:
        tell(
            f"Why: `bothways import-report {view.id} --outcome failed`, or with --csv to correct and import them again."
        )
    if view.created or view.updated:
        tell(view.afterwards)
