"""`fetch`, `sync`, `runs`, `run`, `failures`: starting syncs, following them, looking at what came out."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.output import local, say, table, tell, tell_json, words
from api.cli.session import IntegrationId, Json, SyncId, doors, wants_json
from shared.errors import ConfigError
from shared.sync.model import OutcomeKind, Policy
from shared.sync.reasons import REASONS

if TYPE_CHECKING:
    from api.ports import Doors
    from shared.services.integrations import IntegrationView
    from shared.services.runs import FailureGroup, RunView
    from shared.sync.access import Actor

_EXIT_CODES = {"completed": 0, "completed_with_failures": 2}
_NoWait = Annotated[bool, typer.Option("--no-wait", help="Only start it.")]
_PAGE = 500
FORMS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]
"""How a moment is written."""


def register(app: typer.Typer) -> None:
    for command in (fetch, sync, runs, run, failures):
        app.command(rich_help_panel="Syncs")(command)


def fetch(context: typer.Context, integration: IntegrationId, no_wait: _NoWait = False, as_json: Json = False) -> None:
    """Bind what is the same on both sides; writes to neither. Must come before the first sync."""
    _start(context, integration, no_wait, as_json, lambda opened, actor: opened.runs.fetch(actor, integration))


def sync(
    context: typer.Context,
    integration: IntegrationId,
    compare: Annotated[
        bool, typer.Option("--compare", help="List everything, and find what was deleted without a word.")
    ] = False,
    confirm_deletions: Annotated[
        bool, typer.Option("--confirm-deletions", help="The same; however much has vanished at once, it is so.")
    ] = False,
    no_wait: _NoWait = False,
    as_json: Json = False,
) -> None:
    """Sync now, both ways. Exit code 2: it completed, and some records failed."""

    def begin(opened: Doors, actor: Actor) -> int:
        return opened.runs.sync_now(actor, integration, compare=compare, confirm_deletions=confirm_deletions)

    _start(context, integration, no_wait, as_json, begin)


def _start(
    context: typer.Context, integration: int, no_wait: bool, as_json: bool, begin: Callable[[Doors, Actor], int]
) -> None:
    from api.cli.progress import follow
    from shared.bus import redis_errors

    as_json = wants_json(context, as_json)
    with doors() as opened:
        actor = opened.host()
        with redis_errors():  # a run whose wake-up cannot be sent would look as if it hung
            opened.bus.redis.ping()
        run_id = begin(opened, actor)
        if no_wait:
            view = opened.runs.get(actor, run_id)
        else:
            try:
                view = follow(lambda: opened.runs.get(actor, run_id))
            except KeyboardInterrupt:
                say(f"\nSync {run_id} goes on. Look at it with `bothways run {run_id}`.")
                raise
        sides = opened.integrations.get(actor, integration)
    if as_json:
        tell_json(view)
    elif no_wait:
        tell(f"Sync {run_id} has started. Look at it with `bothways run {run_id}`.")
    else:
        _summary(view, sides)
    if not no_wait:
        raise typer.Exit(_EXIT_CODES.get(view.state, 1))


def runs(
    context: typer.Context,
    integration: Annotated[int | None, typer.Option(min=1, max=2**63 - 1, help="Only of this one.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    since: Annotated[datetime | None, typer.Option(formats=FORMS, help="In this machine's time zone.")] = None,
    before: Annotated[str | None, typer.Option(metavar="CURSOR", help="The page after the one that told it.")] = None,
    as_json: Json = False,
) -> None:
    """The latest syncs, newest first: of two months; with --since or --before as far back as there are any."""
    with doors() as opened:
        actor = opened.host()
        if integration is not None:
            opened.integrations.get(actor, integration)
        moment = None if since is None else since.astimezone()
        found = opened.runs.recent(actor, integration, limit, since=moment, before=before)
    if wants_json(context, as_json):
        tell_json(found)
        return
    if not found:
        tell("There is no sync in this time. Start one with `bothways fetch INTEGRATION`.")
        return
    columns = ("sync", "integration", "kind", "trigger", "state", "began", "ended", "records", "failed", "remark")
    rows = (
        (
            one["id"],
            one["integration_id"],
            one["kind"],
            one["trigger"],
            words(one["state"]),
            local(one["started_at"] or one["created_at"]),
            local(one["ended_at"]),
            one["records"],
            one["failed"],
            one["error_code"] or one["waiting_for"] or "",
        )
        for one in found
    )
    table(columns, rows, numbers=("sync", "integration", "records", "failed"))
    if len(found) == limit:
        say(f"Older ones: --before {found[-1]['cursor']}")


def run(
    context: typer.Context,
    sync_id: SyncId,
    details: Annotated[bool, typer.Option("--details", help="Each record as well.")] = False,
    outcome: Annotated[OutcomeKind | None, typer.Option(help="Details of this outcome only.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Details at most.")] = 1000,
    as_json: Json = False,
) -> None:
    """One sync: its counts, and with --details its records."""
    wanted = details or outcome is not None
    with doors() as opened:
        actor = opened.host()
        view = opened.runs.get(actor, sync_id)
        rows = _details(opened, actor, sync_id, outcome, limit) if wanted else []
        sides = opened.integrations.get(actor, view.integration_id)
    if wants_json(context, as_json):
        from dataclasses import asdict

        tell_json({**asdict(view), "details": rows} if wanted else view)
        return
    _summary(view, sides)
    if wanted:
        tell()
        if rows:
            _records(rows)
        else:
            tell("No record has such an outcome in this sync.")
        if len(rows) == limit:
            say(f"Only the first {limit} are shown; --limit shows more.")


def _details(
    opened: Doors, actor: Actor, sync_id: int, outcome: OutcomeKind | None, limit: int
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while len(rows) < limit:
        size = min(_PAGE, limit - len(rows))
        after = rows[-1]["id"] if rows else 0
        page = opened.runs.outcomes(actor, sync_id, outcome=outcome, after_id=after, limit=size)
        rows += page
        if len(page) < size:
            break
    return rows


def failures(
    context: typer.Context,
    sync_id: SyncId,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV, on stdout or into --output.")] = False,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="A file or folder for the CSV.")] = None,
    groups: Annotated[bool, typer.Option("--groups", help="How many, by modules, direction and reason.")] = False,
    pair: Annotated[str | None, typer.Option(metavar="MODULES", help="Only of these.")] = None,
    direction: Annotated[str | None, typer.Option(help="Such as zoho_fsm>zoho_books.")] = None,
    reason: Annotated[str | None, typer.Option(metavar="CODE", help="Only with this reason.")] = None,
    as_json: Json = False,
) -> None:
    """The records that failed in a sync: why, and what to do."""
    from shared.services.runs import Failures

    wanted = Failures(pair, direction, reason)
    as_json = wants_json(context, as_json)
    csv = csv or output is not None
    if csv and as_json:
        raise typer.BadParameter("Choose one of --csv and --json.")
    with doors() as opened:
        actor = opened.host()
        if groups:
            _groups(opened.runs.failure_groups(actor, sync_id), as_json)
            return
        if csv:
            name = opened.runs.failures_name(actor, sync_id, wanted)
            deliver(opened.runs.failures_csv(actor, sync_id, wanted), name, output)
            return
        found = opened.runs.failures(actor, sync_id, wanted)
    if as_json:
        tell_json(found)
    elif not found:
        tell(f"No record failed in sync {sync_id}.")
    else:
        _records(found)


def _groups(found: Sequence[FailureGroup], as_json: bool) -> None:
    if as_json:
        tell_json(found)
        return
    rows = ((one.records, one.pair, one.direction, one.reason, f"{one.sentence}. {one.remedy}") for one in found)
    table(("records", "modules", "direction", "reason", "what to do"), rows, numbers=["records"])


def deliver(content: Iterable[str], name: str, output: Path | None) -> None:
    """As it comes. A file holds record ids: it is for its owner only, and is there whole or not at all.

    Raises ConfigError where it cannot be written.
    """
    if output is None:
        for part in content:
            sys.stdout.write(part)
        return
    path = output / name if output.is_dir() else output
    try:
        if path.exists() and not path.is_file():  # a pipe, a device: it stays what it is
            with path.open("w", encoding="utf-8", newline="") as file:
                file.writelines(content)
        else:
            _replace(path, content)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.", code="BAD_OUTPUT") from None
    say(f"Written to {path}.")


def _replace(path: Path, content: Iterable[str]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    opened = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(opened, "w", encoding="utf-8", newline="") as file:
            file.writelines(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


# Text


def _summary(view: RunView, sides: IntegrationView) -> None:
    began, ended = local(view.started_at or view.created_at), local(view.ended_at)
    tell(f"Sync {view.id} ({view.kind} of {sides.name}): {words(view.state)}. Began {began}, ended {ended}.")
    if view.waiting_for:
        tell(f"It waits for {view.waiting_for}.")
    if not view.ended:
        tell(f"{view.listed} rows read, {view.settled} of {view.total} records settled.")
    if view.error_code:
        reason = REASONS.get(view.error_code)
        said = view.error_detail or (f"{reason.sentence}." if reason else "")
        remedy = reason.remedy if reason and reason.remedy not in said else ""
        tell(" ".join(part for part in (f"{view.error_code}: {said}", remedy) if part))
    if view.counts:
        tell()
        _counts(view)
    elif view.ended and not view.error_code and not view.report.keys() - {"unchecked"}:
        tell("Nothing had changed on either side.")
    for one in view.report.get("unchecked", ()):
        tell(f"{one['code']}: {one['sentence']}")
    if found := {pair: told for pair, told in view.report.items() if pair not in ("held_back", "unchecked")}:
        tell()
        _report(found, sides)
    for place, told in view.report.get("held_back", {}).items():
        pair, _, side = place.partition("/")
        tell(
            f"{told['missing']} of {told['of']} bound {pair} are missing on the {side} side, more than is believed at "
            f"once; nothing was done about them. If they were deleted: "
            f"`bothways sync {view.integration_id} --confirm-deletions`."
        )
    _reasons(view)


def _counts(view: RunView) -> None:
    """A line per direction and module, a column per outcome that came up."""
    sums: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for one in view.counts:
        line = sums[one.direction, one.pair]
        line[one.outcome] += one.records
        line["conflicts"] += one.conflicts
    present = {name for line in sums.values() for name, count in line.items() if count}
    standing = (OutcomeKind.CREATED, OutcomeKind.UPDATED, OutcomeKind.BOUND, OutcomeKind.UNCHANGED, OutcomeKind.FAILED)
    columns = [kind.value for kind in OutcomeKind if kind in standing or kind.value in present] + ["conflicts"]
    rows = ((direction, pair, *(line[name] for name in columns)) for (direction, pair), line in sorted(sums.items()))
    table(("direction", "module", *columns), rows, numbers=columns)


def _report(report: Mapping[str, Any], sides: IntegrationView) -> None:
    """What Fetch found (SU-4)."""
    columns = {
        "bound": "bound",
        "create_left": f"a sync would create in {sides.left_vendor}",
        "create_right": f"… in {sides.right_vendor}",
        "ambiguous_left": f"key not unique in {sides.left_vendor}",
        "ambiguous_right": f"… in {sides.right_vendor}",
    }
    if sides.policy == Policy.CLONE:
        columns["clone"] = "matches that get a record of their own"
    pairs = {pair: found for pair, found in report.items() if isinstance(found, Mapping)}
    rows = ((pair, *(found.get(key, 0) for key in columns)) for pair, found in sorted(pairs.items()))
    table(("module", *columns.values()), rows, numbers=columns.values())


def _reasons(view: RunView) -> None:
    sums: dict[str, int] = defaultdict(int)
    for one in view.counts:
        if one.outcome == OutcomeKind.FAILED:
            sums[one.reason] += one.records
    if not sums:
        return
    tell()
    rows: Sequence[tuple[object, ...]] = [
        (
            count,
            code,
            REASONS[code].sentence.rstrip(":") if code in REASONS else "",
            REASONS[code].remedy if code in REASONS else "",
        )
        for code, count in sorted(sums.items(), key=lambda one: (-one[1], one[0]))
    ]
    table(("failed", "reason", "what happened", "what to do"), rows, numbers=["failed"])
    tell(f"Each of them: `bothways failures {view.id}`, or with --csv.")


def _records(rows: Sequence[Mapping[str, Any]]) -> None:
    columns = ("at", "direction", "module", "record", "twin", "outcome", "fields changed", "reason", "what to do")
    shown = (
        (
            local(row["at"]),
            row["direction"],
            row["pair"],
            row["record_id"],
            row["twin_id"],
            row["outcome"],
            ", ".join(str(change.get("field", "")) for change in row["changes"] if isinstance(change, Mapping)),
            " ".join(part for part in (row["reason"], row["sentence"]) if part),
            row["remedy"],
        )
        for row in rows
    )
    table(columns, shown)
