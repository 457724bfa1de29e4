"""An integration's configuration as one YAML file (SU-6): its form, reading it and writing it. No database.

No secret is in it, and nothing of a vendor's that another installation has not: no ids, tokens or addresses. Reading
takes a part of YAML: texts, true and false, whole numbers, lists and mappings. No aliases, no tags, no key twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
)

from shared.connectors.custom_fields import MOST_FIELDS, CustomField, Name
from shared.errors import Refused
from shared.integrations.defaults import Line
from shared.services.integrations import LONGEST_S, SHORTEST_S
from shared.services.invoicing import MOST_STATUSES, MOST_TERMS_DAYS
from shared.services.mappings import MOST_LINES
from shared.services.notifications import MOST_ADDRESSES
from shared.sync.model import Policy

MOST_BYTES = 300_000
"""Ten times what a large one has. It is read by Python alone: a second's work."""
DEEPEST = 12
DEFAULT = "default"
"""In the place of lines: the mapping that the kind of integration starts with."""
_SHOWN = 5


def _no_default(value: object) -> object:
    return None if value == DEFAULT else value


def _known_text(value: str) -> str:
    if not value.isprintable():
        raise ValueError("no control characters")
    return value


Lines = Annotated[Annotated[tuple[Line, ...], Field(max_length=MOST_LINES)] | None, BeforeValidator(_no_default)]
Text = Annotated[StrictStr, Field(min_length=1, max_length=200), AfterValidator(_known_text)]
Long = Annotated[StrictStr, Field(max_length=2000), AfterValidator(_known_text)]
Whole = Annotated[StrictInt, Field(ge=-(2**63) + 1, le=2**63 - 1)]
Key = Annotated[str, Field(max_length=500)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Schedule(_Form):
    """`automatic`: syncs begin by themselves, `interval_s` after the end of the last one (TR-2). `time_zone` "": the
    accounting org's own."""

    automatic: StrictBool = True
    interval_s: Annotated[StrictInt, Field(ge=SHORTEST_S, le=LONGEST_S)]
    time_zone: Annotated[StrictStr, Field(max_length=100), AfterValidator(_known_text)] = ""


class Invoices(_Form):
    """Of work orders (TR-7): whether they are made, at which statuses by themselves, and due when."""

    on: StrictBool = False
    statuses: Annotated[tuple[Text, ...], Field(max_length=MOST_STATUSES)] = ()
    terms_days: Annotated[StrictInt, Field(ge=0, le=MOST_TERMS_DAYS)] = 0


class Told(_Form):
    addresses: Annotated[tuple[Annotated[str, Field(max_length=254)], ...], Field(max_length=MOST_ADDRESSES)] = ()
    manual: StrictBool = False
    automatic: StrictBool = False


class OrgConfig(_Form):
    """What a person told of the org, for no call of the vendor does."""

    vendor: Text
    capabilities: Annotated[Mapping[Name, StrictBool | Whole | Long], Field(max_length=50)] = Field(
        default_factory=dict
    )
    custom_fields: Mapping[Name, Annotated[tuple[CustomField, ...], Field(max_length=MOST_FIELDS)]] = Field(
        default_factory=dict
    )
    private_fields: Mapping[Name, Annotated[tuple[Name, ...], Field(max_length=MOST_FIELDS)]] = Field(
        default_factory=dict
    )


class Config(_Form):
    """`mappings` and `agreed_fields` are by pair; a pair that is not named has its default mapping."""

    bothways: Literal[1] = 1
    kind: Text
    name: Annotated[StrictStr, Field(min_length=1, max_length=1000)]
    sync_type: Text
    policy: Policy
    schedule: Schedule
    notifications: Told = Told()
    invoicing: Invoices | None = None
    mappings: Annotated[Mapping[Name, Lines], Field(max_length=50)] = Field(default_factory=dict)
    agreed_fields: Mapping[Name, Annotated[tuple[Key, ...], Field(max_length=2 * MOST_LINES)]] = Field(
        default_factory=dict
    )
    left: OrgConfig
    right: OrgConfig


# Writing


class _Flat(dict[str, object]):
    """On one line: {left: Name, right: name}."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    """What breaks a line, in somebody's reading, stands escaped: PyYAML would write U+0085 as it is and lose it."""
    style = None if value.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(
    _Flat, lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data.items(), flow_style=True)
)


def written(config: Config) -> str:
    plain = config.model_dump(mode="json", exclude={"mappings", "left", "right"})
    plain["mappings"] = {
        pair: DEFAULT if lines is None else [_Flat(_short(line)) for line in lines]
        for pair, lines in config.mappings.items()
    }
    for side in ("left", "right"):
        org: OrgConfig = getattr(config, side)
        plain[side] = {
            **org.model_dump(mode="json", exclude={"custom_fields"}),
            "custom_fields": {
                module: [_Flat(_short(one)) for one in fields] for module, fields in org.custom_fields.items()
            },
        }
    text = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return f"{_HEADING}\n{text}"


_HEADING = "# An integration of Bothways: `bothways config import`. No secrets are in it; e-mail addresses may be."


def _short(model: BaseModel) -> dict[str, object]:
    return model.model_dump(mode="json", exclude_defaults=True)


# Reading


def read(text: str) -> Config:
    """Raises Refused, naming the places that are wrong and never what stands there."""
    if len(text.encode("utf-8", "replace")) > MOST_BYTES:
        raise _refused(f"it is longer than {MOST_BYTES} bytes")
    try:
        node = yaml.compose(text, Loader=_Loader)
        plain = _plain(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        raise _refused(f"{where}{_problem(error)}") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise _refused("it is no YAML") from None
    try:
        return Config.model_validate(plain)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False, include_context=False)
    told = [f"{_place(one['loc'])}: {one['msg']}" for one in wrong[:_SHOWN]]
    more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
    raise _refused("; ".join([*told, *more]))


def _refused(why: str) -> Refused:
    return Refused(f"The configuration cannot be used: {why}.", code="CONFIG_REFUSED")


_NO_ALIASES = "aliases are not taken"


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(problem=_NO_ALIASES, problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)


def _problem(error: yaml.MarkedYAMLError) -> str:
    """YAML's own words quote what stands there."""
    return _NO_ALIASES if error.problem == _NO_ALIASES else "this is no YAML"


def _plain(node: yaml.Node | None, path: tuple[str, ...]) -> object:
    if len(path) > DEEPEST:
        raise _refused(f"{_place(path)}: too deep")
    match node:
        case None:
            return None
        case yaml.MappingNode():
            return _mapping(node, path)
        case yaml.SequenceNode():
            return [_plain(one, (*path, str(number))) for number, one in enumerate(node.value)]
        case yaml.ScalarNode():
            return _scalar(node, path)
    raise _refused(f"{_place(path)}: this is no YAML")


def _mapping(node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key_node, value_node in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        if key is None or key in found:
            what = "a key is a word" if key is None else "a key stands here twice"
            raise _refused(f"{_place((*path, key or '?'))}: {what}")
        found[key] = _plain(value_node, (*path, key))
    return found


_BOOLS: Mapping[str, bool] = {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False}


def _scalar(node: yaml.ScalarNode, path: tuple[str, ...]) -> object:
    kind, value = node.tag.removeprefix("tag:yaml.org,2002:"), str(node.value)
    match kind:
        case "str":
            if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
                raise _refused(f"{_place(path)}: no control characters")
            return value
        case "null":
            return None
        case "bool" if value.lower() in _BOOLS:
            return _BOOLS[value.lower()]
        case "int" if re.fullmatch("-?(0|[1-9][0-9]{0,17})", value):
            return int(value)
    raise _refused(f"{_place(path)}: put it in quotes; only texts, true and false, and whole numbers are taken")


def _place(path: Sequence[object]) -> str:
    """Of a file: mappings.companies.3.flow."""
    shown = ("".join(char if char.isprintable() else "?" for char in str(part))[:60] for part in path)
    return ".".join(shown) or "the file"
