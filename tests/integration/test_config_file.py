"""An integration's configuration as one YAML file (SU-6): the same after a way round, or refused with its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.connectors.custom_fields import CustomField
from shared.errors import BothwaysError, ConfigError, NotAllowed, NotFound, Refused
from shared.integrations.defaults import Line
from shared.integrations.registry import integration as declared
from shared.services.config import ConfigService
from shared.services.config_file import MOST_BYTES, Config, Invoices, OrgConfig, Schedule, Told, read, written
from shared.services.integrations import IntegrationService
from shared.services.invoicing import InvoicingService
from shared.services.mappings import MappingService
from shared.services.notifications import NotificationService
from shared.services.org_settings import OrgSettingsService
from shared.services.setup import SetupService
from shared.services.workspaces import host_actor
from shared.sync.access import Actor, ActorKind, Permission, host
from shared.sync.model import FieldFlow, FieldKind, Policy
from tests.integration.test_doors import serving
from tests.integration.world import Office

pytestmark = pytest.mark.rule("SU-6")

COMPANIES = (
    Line(left="Company_Name", right="contact_name"),
    Line(left="Website", right="website", flow=FieldFlow.TO_RIGHT, default_right="https://none.example.com"),
    Line(left="Region__C", right="cf_region", transforms=("trim",)),
)


@dataclass
class Place:
    """Two pairs of connected orgs, and an integration of the first pair with all that can be chosen."""

    office: Office
    actor: Actor
    orgs: list[int]
    connections: dict[int, int] = field(default_factory=dict)
    integration: int = 0

    @property
    def service(self) -> ConfigService:
        return ConfigService(self.office.db, self.office.settings, self.office.connections)

    @property
    def of_org(self) -> OrgSettingsService:
        return OrgSettingsService(self.office.db, self.office.connections)

    def export(self, integration: int | None = None) -> str:
        return self.service.export(self.actor, integration or self.integration)

    def everything(self) -> dict[str, str]:
        """What an import may touch, for telling that nothing was."""
        tables = ("integration", "org", "connection", "audit_log", "binding")
        return {one: str(self.office.sql(f"SELECT t::text AS line FROM {one} t ORDER BY id")) for one in tables}


def connected(office: Office, workspace: int, name: str, vendor: str) -> tuple[int, int]:
    org = office.value(
        "INSERT INTO org (workspace_id, vendor, external_id, name, data_centre) VALUES (:w, :v, :n, :n, 'eu') "
        "RETURNING id", w=workspace, v=vendor, n=name,
    )  # fmt: skip
    connection = office.value(
        "INSERT INTO connection (workspace_id, org_id, vendor, data_centre, accounts_server, api_domain, client_id) "
        "VALUES (:w, :o, :v, 'eu', 'https://a.test', 'https://b.test', 'c') RETURNING id", w=workspace, o=org, v=vendor,
    )  # fmt: skip
    return int(org), int(connection)


@pytest.fixture
def place(office: Office) -> Place:
    place = Place(office, host_actor(office.db), [])
    for number in range(2):
        for vendor in ("zoho_fsm", "zoho_books"):
            org, place.connections[org] = connected(office, place.actor.workspace, f"{vendor} {number}", vendor)
            place.orgs.append(org)
    place.integration = IntegrationService(office.db, office.settings).create(
        place.actor, "fsm_books", place.orgs[0], place.orgs[1], "Zylker", sync_type="III"
    )
    return place


def furnished(place: Place) -> None:
    left, right = (place.connections[one] for one in place.orgs[:2])
    actor, office = place.actor, place.office
    place.of_org.set_capabilities(actor, left, {"create_batch": 5, "inactive_writable": True})
    region = CustomField(name="Region__C", label="Région", kind=FieldKind.TEXT, max_length=40)
    place.of_org.set_custom_fields(actor, left, "Companies", [region])
    told = CustomField(name="cf_region", picklist=("North", "Süd", "yes", "1.0"), wire_id="4600000000001")
    place.of_org.set_custom_fields(actor, right, "contacts", [told])
    place.of_org.set_private_fields(actor, right, "contacts", ["notes"])
    MappingService(office.db).save(actor, place.integration, "companies", COMPANIES)
    NotificationService(office.db).save(actor, place.integration, ["ann@example.com"], manual=True, automatic=False)
    integrations = IntegrationService(office.db, office.settings)
    integrations.rename(actor, place.integration, "Zylker: «yes»")
    integrations.set_schedule(actor, place.integration, on=False, interval_s=7200, time_zone="Europe/Berlin")
    InvoicingService(office.db).set(actor, place.integration, statuses=["Closed"], terms_days=30)


# The form, without a database.

WORDS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12),
    st.sampled_from(
        ["yes", "null", "1", "1.0", "0x1", "2026-01-01", "12:30", "=", "<<", "~", "- a", "a: b", "#", "é\x85"]
    ),
)
LINES = st.builds(
    Line,
    left=WORDS,
    right=WORDS,
    flow=st.sampled_from(FieldFlow),
    transforms=st.lists(WORDS, max_size=2).map(tuple),
    table=st.lists(st.tuples(WORDS, WORDS), max_size=3).map(tuple),
    default_left=st.one_of(st.none(), st.booleans(), WORDS),
    default_right=st.one_of(st.none(), st.booleans(), WORDS),
    on_create=st.booleans(),
)
PLAIN = WORDS.filter(str.isprintable)
ORG = st.builds(
    OrgConfig,
    vendor=PLAIN,
    capabilities=st.dictionaries(PLAIN, st.one_of(st.booleans(), st.integers(-(10**17), 10**17), PLAIN), max_size=3),
    custom_fields=st.dictionaries(
        PLAIN, st.lists(st.builds(CustomField, name=PLAIN, kind=st.sampled_from(FieldKind)), max_size=2).map(tuple),
        max_size=2,
    ),
    private_fields=st.dictionaries(PLAIN, st.lists(PLAIN, max_size=2).map(tuple), max_size=2),
)  # fmt: skip
CONFIGS = st.builds(
    Config,
    kind=PLAIN,
    name=WORDS,
    sync_type=PLAIN,
    policy=st.sampled_from(Policy),
    schedule=st.builds(
        Schedule, automatic=st.booleans(), interval_s=st.integers(300, 10**6), time_zone=st.sampled_from(["", "UTC"])
    ),
    invoicing=st.one_of(
        st.none(), st.builds(Invoices, on=st.booleans(), statuses=st.lists(PLAIN, max_size=2).map(tuple))
    ),
    notifications=st.builds(Told, addresses=st.lists(WORDS, max_size=2).map(tuple), manual=st.booleans()),
    mappings=st.dictionaries(PLAIN, st.one_of(st.none(), st.lists(LINES, max_size=4).map(tuple)), max_size=3),
    agreed_fields=st.dictionaries(PLAIN, st.lists(WORDS, max_size=2).map(tuple), max_size=2),
    left=ORG,
    right=ORG,
)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(config=CONFIGS)
def test_what_is_written_is_read_as_it_was(config: Config) -> None:
    text = written(config)
    assert read(text) == config
    assert written(read(text)) == text
    assert yaml.safe_load(text)["name"] == config.name, "others read it as we do"


GOOD = """\
bothways: 1
kind: fsm_books
name: Zylker
sync_type: III
policy: overwrite
schedule: {automatic: true, interval_s: 10800}
mappings:
  companies:
  - {left: Company_Name, right: contact_name}
left: {vendor: zoho_fsm}
right: {vendor: zoho_books}
"""


def test_a_short_file_is_enough() -> None:
    config = read(GOOD)
    assert config.mappings == {"companies": (Line(left="Company_Name", right="contact_name"),)}
    assert (config.notifications, config.agreed_fields) == (Told(), {})
    assert read(GOOD.replace("true", "yes")) == config
    assert read(GOOD.replace("  - {left: Company_Name, right: contact_name}", "    default")).mappings == {
        "companies": None
    }


@pytest.mark.rule("P14")
@pytest.mark.parametrize(
    ("before", "after", "where"),
    [
        ("policy: overwrite", "policy: kanary", "policy: "),
        ("kind: fsm_books\n", "", "kind: Field required"),
        ("right: contact_name}", "right: contact_name, code: kanary}", "mappings.companies.0.code: Extra inputs"),
        ("right: contact_name}", "right: contact_name, flow: kanary}", "mappings.companies.0.flow: "),
        ("right: contact_name}", "right: 7}", "mappings.companies.0.right: "),
        ("right: contact_name}", 'right: "a\\0kanary"}', "mappings.companies.0.right: no control characters"),
        ("name: Zylker", "name: 2026-11-27", "name: put it in quotes"),
        ("name: Zylker", "name: 1.5", "name: put it in quotes"),
        ("name: Zylker", "name: !!python/name:os.system kanary", "name: put it in quotes"),
        ("name: Zylker", "name: !!binary kanary", "name: put it in quotes"),
        ("interval_s: 10800", "interval_s: 010", "schedule.interval_s: put it in quotes"),
        ("interval_s: 10800", "interval_s: " + "9" * 5000, "schedule.interval_s: put it in quotes"),
        ("interval_s: 10800", "interval_s: 0", "schedule.interval_s: Input should be greater"),
        ("name: Zylker", "name: Zylker\nname: kanary", "name: a key stands here twice"),
        ("name: Zylker", "? [kanary]\n: 1", "?: a key is a word"),
        ("name: Zylker", "secret: kanary\nname: Zylker", "secret: Extra inputs"),
        ("bothways: 1", "bothways: 2", "bothways: "),
        ("name: Zylker", "name: &a Zylker\nleft: *a", "line 4, column 7: aliases are not taken"),
        ("name: Zylker", "name: [kanary", "line 4, column 10: this is no YAML"),
        ("name: Zylker", "name: \tkanary: [", "line 3"),
        ("bothways: 1\n", "--- 1\n---\n", "line 2"),
        ("name: Zylker", "name: \x07kanary", "it is no YAML"),
        ("name: Zylker", "name: " + "[" * 40 + "]" * 40, "too deep"),
        ("name: Zylker", "name: " + "[" * 5000, "it is no YAML"),
        ("name: Zylker", "name: " + "x" * MOST_BYTES, "longer than"),
        (GOOD, "", "the file: "),
        (GOOD, "kanary", "the file: "),
        (GOOD, "[]", "the file: "),
    ],
)
def test_what_is_wrong_is_named_by_its_place_and_not_repeated(before: str, after: str, where: str) -> None:
    assert before in GOOD
    with pytest.raises(Refused) as caught:
        read(GOOD.replace(before, after, 1))
    assert caught.value.code == "CONFIG_REFUSED"
    assert where in str(caught.value)
    assert "kanary" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.rule("P13")
def test_a_billion_laughs_are_not_heard() -> None:
    laughs = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghijk", "bcdefghijkl", strict=True)
    )
    with pytest.raises(Refused, match="aliases are not taken"):
        read(laughs)


# Round the services.


def test_a_whole_configuration_comes_back_as_it_was(place: Place) -> None:
    furnished(place)
    text = place.export()
    told = yaml.safe_load(text)
    assert told["mappings"]["companies"][1] == {
        "left": "Website", "right": "website", "flow": "to_right", "default_right": "https://none.example.com",
    }  # fmt: skip
    assert (told["mappings"]["contact_persons"], told["mappings"]["items"]) == ("default", "default")
    assert told["schedule"] == {"automatic": False, "interval_s": 7200, "time_zone": "Europe/Berlin"}
    assert told["invoicing"] == {"on": False, "statuses": ["Closed"], "terms_days": 30}
    assert told["notifications"]["addresses"] == ["ann@example.com"]
    assert told["left"]["capabilities"] == {"create_batch": 5, "inactive_writable": True}
    assert told["right"]["custom_fields"]["contacts"] == [
        {"name": "cf_region", "picklist": ["North", "Süd", "yes", "1.0"]}
    ], "without the vendor's id"
    assert told["right"]["private_fields"] == {"contacts": ["notes"]}

    before = place.everything()
    again = place.service.save(place.actor, place.integration, text)
    assert (again.diff, again.saved) == ("", True)
    assert place.everything() == before, "nothing was changed, and nothing is said to have been"

    made = place.service.create(place.actor, text, *place.orgs[2:])
    assert made.integration_id is not None
    assert place.export(made.integration_id) == text
    setup = SetupService(place.office.db, IntegrationService(place.office.db, place.office.settings),
                         MappingService(place.office.db))  # fmt: skip
    view = setup.get(place.actor, made.integration_id)
    assert (view.state, view.next_step) == ("draft", None)
    assert setup.enable(place.actor, made.integration_id).state == "enabled"
    actions = [row["action"] for row in place.office.sql("SELECT action FROM audit_log ORDER BY id DESC LIMIT 20")]
    for action in (
        "integration.created", "integration.mapping_saved", "integration.notifications_set", "integration.schedule_set",
        "connection.capabilities_set", "connection.custom_fields_set", "connection.private_fields_set",
    ):  # fmt: skip
        assert action in actions


def test_a_check_says_what_would_change_and_changes_nothing(place: Place) -> None:
    furnished(place)
    before = place.everything()
    wanted = (
        place.export().replace("interval_s: 7200", "interval_s: 3600").replace("create_batch: 5", "create_batch: 9")
    )
    told = place.service.save(place.actor, place.integration, wanted, check=True)
    assert not told.saved
    assert {line for line in told.diff.splitlines() if line[0] in "+-" and line[:3] not in ("+++", "---")} == {
        "-  interval_s: 7200", "+  interval_s: 3600", "-    create_batch: 5", "+    create_batch: 9",
    }  # fmt: skip
    new = place.service.create(place.actor, wanted, *place.orgs[2:], check=True)
    assert (new.integration_id, new.saved) == (None, False)
    assert "+kind: fsm_books" in new.diff
    assert place.everything() == before
    saved = place.service.save(place.actor, place.integration, wanted)
    assert saved.diff == told.diff
    assert place.export() == wanted


def test_the_vendor_s_id_of_a_field_is_kept(place: Place) -> None:
    furnished(place)
    wanted = place.export().replace("North", "Nord")
    place.service.save(place.actor, place.integration, wanted)
    (stored,) = place.office.value(
        "SELECT settings->'custom_fields'->'contacts' FROM org WHERE id = :o", o=place.orgs[1]
    )
    assert (stored["wire_id"], stored["picklist"][0]) == ("4600000000001", "Nord")


@pytest.mark.parametrize(
    ("before", "after", "code", "said"),
    [
        ("right: contact_name}", "right: status}", "MAPPING_REFUSED", "The mapping was not saved."),
        ("interval_s: 7200", "interval_s: 1\n  often: 2", "CONFIG_REFUSED", "schedule.often"),
        ("kind: fsm_books", "kind: fsm_moon", "CONFIG_REFUSED", "kind: "),
        ("  items: default", "  moons: default", "CONFIG_REFUSED", "mappings.moons"),
        ("sync_type: III", "sync_type: V", "CONFIG_REFUSED", "sync_type: "),
        ("sync_type: III", "sync_type: IV", "ALREADY_SET_UP", "sync_type"),
        ("policy: overwrite", "policy: clone", "ALREADY_SET_UP", "policy"),
        ("vendor: zoho_fsm", "vendor: zoho_books", "WRONG_VENDOR", "left.vendor"),
        ("ann@example.com", "ann", "BAD_ADDRESS", "Address 1"),
        ("inactive_writable: true", "moon: true", "UNKNOWN_CAPABILITY", "moon"),
        ("create_batch: 5", "create_batch: many", "WRONG_KIND", "create_batch"),
        ("    - notes", "    - moon", "UNKNOWN_FIELD", "moon"),
        ("    contacts:\n", "    moons:\n", "UNKNOWN_MODULE", "moons"),
        ("  - {left: Region__C", "  - {left: Moon__C", "MAPPING_REFUSED", "Moon__C"),
    ],
)
def test_what_one_part_refuses_leaves_all_as_it_was(
    place: Place, before: str, after: str, code: str, said: str
) -> None:
    furnished(place)
    text = place.export().replace("name: 'Zylker: «yes»'", "name: Changed")
    text = text.replace("create_batch: 5", "create_batch: 6") if "create_batch" not in before else text
    assert before in text
    wanted = text.replace(before, after, 1)
    was = place.everything()
    with pytest.raises(BothwaysError) as caught:
        place.service.save(place.actor, place.integration, wanted)
    assert caught.value.code == code, str(caught.value)
    assert said in str(caught.value)
    assert place.everything() == was
    if code != "ALREADY_SET_UP":
        with pytest.raises(BothwaysError):
            place.service.create(place.actor, wanted, *place.orgs[2:])
        assert place.everything() == was


@pytest.mark.rule("FM-11")
def test_fields_that_others_write_too_are_agreed_to_by_the_file_alone(place: Place) -> None:
    """A second integration on the same Books org, made by the file of the first."""
    office, text = place.office, place.export()
    with pytest.raises(Refused) as caught:
        place.service.create(place.actor, text, place.orgs[2], place.orgs[1])
    assert caught.value.code == "FIELD_CONTESTED"
    other = IntegrationService(office.db, office.settings).create(
        place.actor, "fsm_books", place.orgs[2], place.orgs[1], "Other", sync_type="III", draft=True
    )
    mappings = MappingService(office.db)
    for pair in ("companies", "contact_persons", "items"):
        mappings.save(place.actor, other, pair, None, last_change_wins=True)
    agreed = place.export(other)
    assert "right:website" in yaml.safe_load(agreed)["agreed_fields"]["companies"]
    office.sql("DELETE FROM integration WHERE id = :i", i=other)
    made = place.service.create(place.actor, agreed, place.orgs[2], place.orgs[1])
    assert place.export(made.integration_id) == agreed
    office.sql("DELETE FROM integration WHERE id = :i", i=made.integration_id)
    with pytest.raises(Refused, match="Website"):
        place.service.create(place.actor, agreed.replace("  - right:website\n", ""), place.orgs[2], place.orgs[1])


DEFAULTS = declared("fsm_books").declaration("companies").defaults
MORE = st.fixed_dictionaries(
    {},
    optional={
        "flow": st.sampled_from(["both", "to_right", "to_left"]),
        "transforms": st.sampled_from([("trim",), ("upper",), ("trim", "lower")]),
        "default_right": st.one_of(st.booleans(), st.text("aü'\"#: ", max_size=5)),
        "default_left": st.text("yn0", max_size=3),
        "on_create": st.booleans(),
    },
)


@settings(
    max_examples=25, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip
@given(
    chosen=st.permutations(range(1, len(DEFAULTS))),
    number=st.integers(0, 6),
    more=st.lists(MORE, min_size=6, max_size=6),
)
def test_whatever_mapping_can_be_saved_comes_back_as_it_was(
    place: Place, chosen: Sequence[int], number: int, more: list[dict[str, Any]]
) -> None:
    lines = [Line(left="Company_Name", right="contact_name")]
    for place_of, extra in zip(chosen[:number], more, strict=False):
        lines.append(Line(left=DEFAULTS[place_of].left, right=DEFAULTS[place_of].right, **extra))
    mappings = MappingService(place.office.db)
    mappings.save(place.actor, place.integration, "companies", None)
    try:
        mappings.save(place.actor, place.integration, "companies", lines)
    except Refused:
        return
    text = place.export()
    assert place.service.save(place.actor, place.integration, text).diff == ""
    mappings.save(place.actor, place.integration, "companies", None)
    place.service.save(place.actor, place.integration, text)
    assert place.export() == text
    assert mappings.get(place.actor, place.integration, "companies").lines == tuple(lines)


# By whom.


def test_who_may_not_and_what_is_not_there(place: Place) -> None:
    service, text = place.service, place.export()
    viewer = Actor(place.actor.workspace, "v", ActorKind.TOKEN, frozenset({Permission.VIEW, Permission.CONNECT}))
    stranger = host(place.actor.workspace + 1)
    for who, refusal in ((viewer, NotAllowed), (stranger, NotFound)):
        with pytest.raises(refusal):
            service.export(who, place.integration)
        with pytest.raises(refusal):
            service.save(who, place.integration, text)
        with pytest.raises(refusal):
            service.create(who, text, *place.orgs[2:])
    configures = Actor(place.actor.workspace, "c", ActorKind.TOKEN, frozenset({Permission.CONFIGURE, Permission.VIEW}))
    furnished(place)
    was = place.everything()
    with pytest.raises(NotAllowed, match="connect"):
        service.save(configures, place.integration, place.export().replace("create_batch: 5", "create_batch: 6"))
    assert place.everything() == was
    place.office.sql("DELETE FROM connection WHERE org_id = :o", o=place.orgs[2])
    with pytest.raises(ConfigError, match="not connected"):
        service.create(place.actor, text, *place.orgs[2:])


@pytest.fixture
def http(place: Place) -> Iterator[httpx.Client]:
    with serving(place.office.settings) as client:
        yield client


def test_over_rest(place: Place, http: httpx.Client) -> None:
    furnished(place)
    path = f"/api/v1/integrations/{place.integration}/config"
    answer = http.get(path)
    assert answer.headers["content-type"].startswith("application/yaml")
    assert answer.text == place.export()
    yaml_ = {"Content-Type": "application/yaml"}
    changed = answer.text.replace("interval_s: 7200", "interval_s: 600")
    told = http.put(path, content=changed, headers=yaml_, params={"check": "true"}).json()
    assert (told["integration_id"], told["saved"], "+  interval_s: 600" in told["diff"]) == (
        place.integration,
        False,
        True,
    )
    assert http.put(path, content=changed, headers=yaml_).json()["saved"] is True
    refused = http.put(path, content="kind: 1", headers=yaml_)
    assert (refused.status_code, refused.json()["code"]) == (409, "CONFIG_REFUSED")
    assert http.put(path, content=b"\xff\xfe", headers=yaml_).status_code == 422
    orgs = {"left_org_id": place.orgs[2], "right_org_id": place.orgs[3]}
    made = http.post("/api/v1/integrations/config", content=changed, headers=yaml_, params=orgs)
    assert made.status_code == 201
    assert http.get(f"/api/v1/integrations/{made.json()['integration_id']}").json()["state"] == "draft"
    again = http.post("/api/v1/integrations/config", content=changed, headers=yaml_, params=orgs)
    assert (again.status_code, again.json()["code"]) == (409, "EXISTS")


@pytest.mark.rule("TR-2")
def test_another_interval_plans_the_next_sync_anew(place: Place) -> None:
    office, here = place.office, place.integration
    service = IntegrationService(office.db, office.settings)

    def planned_in(on: bool, interval_s: int) -> float | None:
        service.set_schedule(place.actor, here, on=on, interval_s=interval_s)
        found: float | None = office.value(
            "SELECT extract(epoch FROM next_run_at - (SELECT max(ended_at) FROM run))::float8 FROM integration "
            "WHERE id = :i", i=here,
        )  # fmt: skip
        return found

    assert planned_in(True, 7200) is None, "nothing is planned before the first"
    office.sql(
        "INSERT INTO run (workspace_id, integration_id, kind, trigger, state, ended_at) "
        "VALUES (1, :i, 'sync', 'manual', 'completed', clock_timestamp())", i=here,
    )  # fmt: skip
    assert planned_in(True, 3600) == 3600
    assert planned_in(True, 600) == 600
    assert planned_in(False, 600) is None
    assert planned_in(True, 600) == 600
    office.sql("UPDATE integration SET next_run_at = (SELECT max(ended_at) FROM run)")
    assert planned_in(True, 9000) == 0, "what is due stays due"
    office.sql("UPDATE integration SET next_run_at = NULL")
    office.sql(
        "INSERT INTO run (workspace_id, integration_id, kind, trigger, state) "
        "VALUES (1, :i, 'sync', 'manual', 'queued')",
        i=here,
    )
    assert planned_in(True, 600) is None, "the end of the one that is on plans the next"
