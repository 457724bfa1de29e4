"""`mapping`: the field pairs of two modules; `--check FILE`, `--save FILE`, `--default`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.output import say, table, tell, tell_json
from api.cli.session import IntegrationId, Json, doors, wants_json
from shared.errors import ConfigError

if TYPE_CHECKING:
    from shared.integrations.defaults import Line
    from shared.services.mappings import FieldView, MappingView

_MOST_BYTES = 1_000_000
_Pair = Annotated[str, typer.Argument(metavar="MODULES", help="Such as companies; see `bothways integrations`.")]
_File = typer.Option(exists=True, dir_okay=False, readable=True, metavar="FILE", help="YAML: a list of lines.")


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Set-up")(mapping)


def mapping(
    context: typer.Context,
    integration: IntegrationId,
    modules: _Pair,
    check: Annotated[Path | None, _File] = None,
    save: Annotated[Path | None, _File] = None,
    default: Annotated[bool, typer.Option("--default", help="Back to the default mapping.")] = False,
    last_change_wins: Annotated[
        bool, typer.Option("--last-change-wins", help="Agree that other integrations write these fields too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the mapping of a pair of modules, check another one, or save it; its records follow with the next sync.

    A line is {left: Field, right: field}, and may have flow, transforms, table, default_left, default_right, on_create.
    """
    if sum((check is not None, save is not None, default)) > 1:
        raise ConfigError("Choose one of --check, --save and --default.", code="BAD_OPTIONS")
    with doors() as opened:
        actor = opened.host()
        if check is not None:
            problems = opened.mappings.check(actor, integration, modules, _lines(check))
            if wants_json(context, as_json):
                tell_json(problems)
                return
            for one in problems:
                tell(f"{'Note' if one.warning else 'Wrong'}: {one.sentence}")
            if not problems:
                tell("Nothing is wrong with it.")
            return
        if save is not None or default:
            lines = None if save is None else _lines(save)
            view = opened.mappings.save(actor, integration, modules, lines, last_change_wins=last_change_wins)
            say("Saved. All its records are due in the next sync.")
        else:
            view = opened.mappings.get(actor, integration, modules)
    if wants_json(context, as_json):
        tell_json(view)
    else:
        _show(view)


def _show(view: MappingView) -> None:
    tell(f"{view.label}{' (the default)' if view.default else ''}")
    labels = {side: {one.name: one.label for one in fields} for side, fields in _sides(view)}
    rows = (
        (
            labels["left"].get(line.left, line.left),
            {"both": "<>", "to_right": ">", "to_left": "<"}[line.flow],
            labels["right"].get(line.right, line.right),
            ", ".join(_notes(line)),
        )
        for line in view.lines
    )
    table((view.left_module, "", view.right_module, ""), rows)
    for one in view.problems:
        tell(f"{'Note' if one.warning else 'Wrong'}: {one.sentence}")
    for field in view.contested:
        tell(f"Note: {field.label} is written by {', '.join(field.others)} too; the last change wins.")


def _sides(view: MappingView) -> tuple[tuple[str, tuple[FieldView, ...]], ...]:
    return (("left", view.left_fields), ("right", view.right_fields))


def _notes(line: Line) -> list[str]:
    notes = list(line.transforms)
    if line.table:
        notes.append(f"table of {len(line.table)}")
    if line.default_left is not None or line.default_right is not None:
        notes.append("default")
    return [*notes, "on create only"] if line.on_create else notes


def _lines(path: Path) -> list[Line]:
    """Raises ConfigError on what is no list of lines."""
    import yaml
    from pydantic import TypeAdapter, ValidationError

    from shared.integrations.defaults import Line

    if path.stat().st_size > _MOST_BYTES:
        raise ConfigError(f"{path.name} is longer than a mapping can be.", code="BAD_MAPPING")
    try:
        return TypeAdapter(list[Line]).validate_python(yaml.safe_load(path.read_text("utf-8")))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5])
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        wrong = "it is no YAML"
    raise ConfigError(f"{path.name} is no list of mapping lines: {wrong}.", code="BAD_MAPPING")
