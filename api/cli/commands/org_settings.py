"""`capabilities` and `fields`: what a person tells of an org, where no call of the vendor does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.output import table, tell, tell_json
from api.cli.session import ConnectionId, Json, doors, wants_json
from shared.errors import ConfigError

if TYPE_CHECKING:
    from shared.connectors.custom_fields import CustomField
    from shared.sync.model import FieldDef

_MOST_BYTES = 1_000_000


def register(app: typer.Typer) -> None:
    for command in (capabilities, fields, helpers):
        app.command(rich_help_panel="Set-up")(command)


def capabilities(
    context: typer.Context,
    connection: ConnectionId,
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=VALUE", help="Such as inactive_writable=true; NAME= takes a setting back."),
    ] = None,
    as_json: Json = False,
) -> None:
    """What the vendor lets programs do in this org: probed, and what you set for it."""
    with doors() as opened:
        actor = opened.host()
        if settings:
            found = opened.org_settings.set_capabilities(actor, connection, dict(map(_setting, settings)))
        else:
            found = opened.org_settings.capabilities(actor, connection)
    if wants_json(context, as_json):
        tell_json(dict(found))
    elif found:
        table(("capability", "value"), [(name, str(value).lower()) for name, value in sorted(found.items())])
    else:
        tell("Nothing is known yet.")


def _setting(text: str) -> tuple[str, bool | int | str | None]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ConfigError(f"{text} is not NAME=VALUE.", code="BAD_OPTIONS")
    if value in ("true", "false"):
        return name, value == "true"
    if value.removeprefix("-").isdecimal() and len(value) < 19:
        return name, int(value)
    return name, value or None


def fields(
    context: typer.Context,
    connection: ConnectionId,
    module: Annotated[str | None, typer.Argument(metavar="MODULE", help="Such as Companies.")] = None,
    custom: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, readable=True, metavar="FILE", help="YAML: all custom fields."),
    ] = None,
    private: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Holds personal data; all of them, again and again.")
    ] = None,
    none_private: Annotated[bool, typer.Option("--none-private", help="None but those the vendor marks.")] = False,
    as_json: Json = False,
) -> None:
    """The fields of an org's modules. Tell the custom ones where no probe finds them; mark what nobody may map.

    A custom field is {name: Region__C, label: Region, kind: text}, and may have required, read_only, pii, max_length,
    picklist.
    """
    changes = (custom is not None, bool(private), none_private)
    if sum(changes) > 1 or (any(changes) and module is None):
        raise ConfigError("Choose one of --custom, --private and --none-private, of one MODULE.", code="BAD_OPTIONS")
    with doors() as opened:
        actor = opened.host()
        if module is not None and custom is not None:
            found = {module: opened.org_settings.set_custom_fields(actor, connection, module, _custom(custom))}
        elif module is not None and any(changes):
            found = {module: opened.org_settings.set_private_fields(actor, connection, module, private or [])}
        else:
            found = dict(opened.org_settings.fields(actor, connection))
    shown = {name: one for name, one in found.items() if module in (None, name)}
    if not shown:
        raise ConfigError(f"There is no module {module}; there is {', '.join(found)}.", code="UNKNOWN_MODULE")
    if wants_json(context, as_json):
        tell_json({name: [_plain(one) for one in told] for name, told in shown.items()})
        return
    rows = [
        (name, one.name, one.label, one.kind, ", ".join(_notes(one))) for name, told in shown.items() for one in told
    ]
    table(("module", "field", "label", "kind", ""), rows)


def helpers(
    context: typer.Context,
    connection: ConnectionId,
    create: Annotated[bool, typer.Option("--create", help="Make those that are missing, and use them.")] = False,
    as_json: Json = False,
) -> None:
    """Fields of ours that make syncing safer, at a vendor that can hold them. Doing it twice changes nothing."""
    with doors() as opened:
        actor = opened.host()
        if create:
            found = opened.org_settings.make_helpers(actor, connection)
            opened.org_settings.use_helpers(actor, connection)
        else:
            found = opened.org_settings.helpers(actor, connection)
    if wants_json(context, as_json):
        tell_json([{"module": one.module, "label": one.label, "name": one.name, "why": one.why} for one in found])
    elif found:
        table(("module", "field", ""), [(one.module, one.label, one.name or "not there yet") for one in found])
        for why in dict.fromkeys(one.why for one in found):
            tell(why)
    else:
        tell("This vendor takes none.")


def _plain(one: FieldDef) -> dict[str, object]:
    return {
        "name": one.name,
        "label": one.label,
        "kind": one.kind,
        "required": one.required,
        "read_only": one.read_only,
        "pii": one.pii,
        "custom": one.custom,
    }


def _notes(one: FieldDef) -> list[str]:
    told = {"custom": one.custom, "mandatory": one.required, "read only": one.read_only, "personal": one.pii}
    return [word for word, is_so in told.items() if is_so]


def _custom(path: Path) -> list[CustomField]:
    """Raises ConfigError on what is no list of fields."""
    import yaml
    from pydantic import TypeAdapter, ValidationError

    from shared.connectors.custom_fields import CustomField

    if path.stat().st_size > _MOST_BYTES:
        raise ConfigError(f"{path.name} is longer than a list of fields can be.", code="BAD_FIELDS")
    try:
        return TypeAdapter(list[CustomField]).validate_python(yaml.safe_load(path.read_text("utf-8")))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5])
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        wrong = "it is no YAML"
    raise ConfigError(f"{path.name} is no list of custom fields: {wrong}.", code="BAD_FIELDS")
