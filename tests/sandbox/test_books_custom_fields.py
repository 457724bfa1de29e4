"""Zoho Books: custom fields, their types, and the upsert by a unique one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.support import BOOKS, Box, refusal

pytestmark = pytest.mark.rule("OP-3")
COLOURS = {"api_name": "cf_f", "label": "Field", "data_type": "dropdown", "values": ["red", "blue"]}
# What makes a record of each entity, and where its custom fields are shown.
RECORDS: dict[str, tuple[str, dict[str, Any]]] = {
    "contact": ("contacts", {"contact_name": "A"}),
    "item": ("items", {"name": "A", "rate": 1}),
    "contact_person": ("contacts", {"contact_name": "A"}),
}
every = pytest.mark.parametrize("entity", list(RECORDS))


def define(box: Box, entity: str = "contact", **field: Any) -> dict[str, Any]:
    """The field `cf_f` as the vendor describes it, made by the control."""
    fields = [{"api_name": "cf_f", "label": "Field", **field}]
    made: list[dict[str, Any]] = box.control(BOOKS, "POST", "custom_fields", {entity: fields})["custom_fields"][entity]
    return made[-1]


def body_with(entity: str, *custom: dict[str, Any], **more: Any) -> dict[str, Any]:
    _, fields = RECORDS[entity]
    if entity == "contact_person":
        return {**fields, "contact_persons": [{"first_name": "Pat", "custom_fields": list(custom)}], **more}
    return {**fields, "custom_fields": list(custom), **more}


def hash_of(box: Box, entity: str, record_id: str) -> dict[str, Any]:
    shown = box.in_books(RECORDS[entity][0], record_id)
    held: dict[str, Any] = (shown["contact_persons"][0] if entity == "contact_person" else shown)["custom_field_hash"]
    return held


def write(box: Box, value: Any, entity: str = "contact") -> Any:
    return box.books("POST", f"/{RECORDS[entity][0]}", body_with(entity, {"api_name": "cf_f", "value": value}))


# Writing and reading


@every
@pytest.mark.parametrize("key", ["customfield_id", "index", "api_name", "label"])
def test_a_value_is_written_by_any_name_of_the_field(box: Box, entity: str, key: str) -> None:
    field = define(box, entity)
    made = box.make_in_books(RECORDS[entity][0], **body_with(entity, {key: field[key], "value": "k1"}))
    assert hash_of(box, entity, made) == {"cf_f": "k1"}


def test_values_are_shown_as_a_list_too(box: Box) -> None:
    field = define(box)
    made = write(box, "k1").json()["contact"]
    (shown,) = made["custom_fields"]
    assert {name: shown[name] for name in ("customfield_id", "index", "api_name", "label", "data_type", "value")} == {
        "customfield_id": field["customfield_id"], "index": 1, "api_name": "cf_f", "label": "Field",
        "data_type": "string", "value": "k1",
    }  # fmt: skip


def test_what_was_read_can_be_written_back(box: Box) -> None:
    define(box)
    made = write(box, "k1").json()["contact"]
    box.books("PUT", f"/contacts/{made['contact_id']}", {"custom_fields": [{**made["custom_fields"][0], "value": "2"}]})
    assert hash_of(box, "contact", made["contact_id"]) == {"cf_f": "2"}


def test_an_update_of_one_field_keeps_the_others(box: Box) -> None:
    define(box)
    define(box, api_name="cf_g", label="Other")
    both = [{"api_name": "cf_f", "value": "1"}, {"api_name": "cf_g", "value": "2"}]
    made = box.make_in_books("contacts", contact_name="A", custom_fields=both)
    box.books("PUT", f"/contacts/{made}", {"custom_fields": [{"api_name": "cf_g", "value": "3"}]})
    assert hash_of(box, "contact", made) == {"cf_f": "1", "cf_g": "3"}


@pytest.mark.parametrize("empty", [None, ""])
def test_a_field_is_emptied(box: Box, empty: str | None) -> None:
    define(box, data_type="date")
    made = write(box, "2026-01-02").json()["contact"]["contact_id"]
    box.books("PUT", f"/contacts/{made}", {"custom_fields": [{"api_name": "cf_f", "value": empty}]})
    assert hash_of(box, "contact", made) == {}


@every
def test_an_unknown_field_is_refused(box: Box, entity: str) -> None:
    assert refusal(write(box, "1", entity)) == (400, 2)


@pytest.mark.parametrize(
    ("data_type", "good", "kept"),
    [
        ("string", "x" * 255, "x" * 255), ("text", "a", "a"), ("multiline", "a\nb", "a\nb"), ("number", 7, 7),
        ("number", "7", 7), ("decimal", 1.25, 1.25), ("date", "2026-02-28", "2026-02-28"), ("dropdown", "red", "red"),
        ("check_box", True, True), ("check_box", "false", False),
    ],
)  # fmt: skip
def test_values_that_a_type_takes(box: Box, data_type: str, good: Any, kept: Any) -> None:
    define(box, data_type=data_type, values=["red", "blue"])
    made = write(box, good).json()["contact"]["contact_id"]
    assert hash_of(box, "contact", made) == {"cf_f": kept}


@pytest.mark.parametrize(
    ("data_type", "bad", "code"),
    [
        ("string", "x" * 256, 15), ("number", 7.5, 2), ("number", "seven", 2), ("decimal", "x", 2),
        ("date", "28.02.2026", 2), ("date", "2026-02-30", 2), ("dropdown", "green", 2), ("check_box", "yes", 2),
    ],
)  # fmt: skip
def test_values_that_a_type_refuses(box: Box, data_type: str, bad: Any, code: int) -> None:
    define(box, data_type=data_type, values=["red", "blue"])
    assert refusal(write(box, bad)) == (400, code)


@every
def test_a_mandatory_field_must_be_filled_at_a_create(box: Box, entity: str) -> None:
    define(box, entity, is_mandatory=True)
    assert refusal(box.books("POST", f"/{RECORDS[entity][0]}", body_with(entity))) == (400, 4)
    assert write(box, "1", entity).status_code == 201


def test_an_update_may_not_empty_a_mandatory_field_but_leave_it_empty(box: Box) -> None:
    made = box.make_in_books("contacts", contact_name="A")
    define(box, is_mandatory=True)
    assert box.books("PUT", f"/contacts/{made}", {"notes": "n"}).status_code == 200
    emptied = {"custom_fields": [{"api_name": "cf_f", "value": ""}]}
    assert refusal(box.books("PUT", f"/contacts/{made}", emptied)) == (400, 4)


def test_an_inactive_field_is_not_shown_and_takes_nothing(box: Box) -> None:
    define(box)
    made = write(box, "1").json()["contact"]["contact_id"]
    define(box, is_active=False)
    assert hash_of(box, "contact", made) == {}
    assert refusal(write(box, "1")) == (400, 2)


def test_a_field_that_was_dropped_is_unknown(box: Box) -> None:
    define(box)
    made = write(box, "1").json()["contact"]["contact_id"]
    box.control(BOOKS, "DELETE", "custom_fields/contact/cf_f")
    assert hash_of(box, "contact", made) == {}
    assert box.books("GET", "/settings/fields", params={"entity": "contact"}).json()["fields"] == []


def test_persons_in_list_rows_show_no_custom_fields(box: Box) -> None:
    define(box, "contact_person")
    write(box, "1", "contact_person")
    assert box.books("GET", "/contacts").json()["contacts"][0]["contactperson_custom_fields"] == []


# The settings


@every
def test_fields_are_made_by_the_settings_call(box: Box, entity: str) -> None:
    body = {"label": "Link Key", "data_type": "text", "is_mandatory": True, "is_unique": True, "pii_type": "pii"}
    made = box.books("POST", "/settings/fields", body, params={"entity": entity})
    assert made.status_code == 201
    (listed,) = box.books("GET", "/settings/fields", params={"entity": entity}).json()["fields"]
    assert made.json()["field"] == listed
    shown = {name: listed[name] for name in ("api_name", "data_type", "is_mandatory", "is_unique", "pii_type")}
    assert shown == {
        "api_name": "cf_link_key", "data_type": "string", "is_mandatory": True, "is_unique": True, "pii_type": "pii",
    }  # fmt: skip


def test_fields_are_neither_mandatory_nor_personal_by_default(box: Box) -> None:
    field = box.books("POST", "/settings/fields", {"label": "F"}, params={"entity": "contact"}).json()["field"]
    assert (field["is_mandatory"], field["is_unique"], field["pii_type"], field["is_active"]) == (
        False,
        False,
        "non_pii",
        True,
    )


def test_a_dropdown_shows_its_values(box: Box) -> None:
    field = box.books("POST", "/settings/fields", COLOURS, params={"entity": "contact"}).json()["field"]
    assert [one["name"] for one in field["values"]] == ["red", "blue"]


@pytest.mark.parametrize(
    ("body", "entity", "code"),
    [
        ({"data_type": "text"}, "contact", 4),
        ({"label": "F"}, "bill", 2),
        ({"label": "F"}, "", 2),
        ({"label": "F", "data_type": "picture"}, "contact", 2),
        ({"label": "F", "data_type": "dropdown"}, "contact", 4),
        ({"label": "F", "pii_type": "secret"}, "contact", 2),
    ],
)
def test_fields_that_cannot_be_made(box: Box, body: dict[str, Any], entity: str, code: int) -> None:
    assert refusal(box.books("POST", "/settings/fields", body, params={"entity": entity})) == (400, code)


def test_a_label_is_taken_once(box: Box) -> None:
    define(box)
    response = box.books("POST", "/settings/fields", {"label": "FIELD"}, params={"entity": "contact"})
    assert refusal(response) == (400, 1000)


def test_the_custom_fields_of_an_item_have_a_call_of_their_own(box: Box) -> None:
    define(box, "item")
    made = box.make_in_books("items", name="A", rate=1)
    change = {"custom_fields": [{"api_name": "cf_f", "value": "x"}]}
    assert box.books("PUT", f"/item/{made}/customfields", change).json()["code"] == 0
    assert hash_of(box, "item", made) == {"cf_f": "x"}


# Unique fields and the upsert

KEY = {"X-Unique-Identifier-Key": "cf_f", "X-Unique-Identifier-Value": "k1"}
UPSERT = {**KEY, "X-Upsert": "true"}
upserted = pytest.mark.parametrize("entity", ["contact", "item"])


@upserted
def test_a_unique_field_refuses_a_second_value(box: Box, entity: str) -> None:
    define(box, entity, unique=True)
    plural, fields = RECORDS[entity]
    write(box, "k1", entity)
    other = {**fields, "contact_name": "B", "name": "B", "custom_fields": [{"api_name": "cf_f", "value": "k1"}]}
    assert refusal(box.books("POST", f"/{plural}", other)) == (400, 1000)


@upserted
def test_an_upsert_creates_once_and_then_updates(box: Box, entity: str) -> None:
    define(box, entity, unique=True)
    plural, fields = RECORDS[entity]
    first = box.books("PUT", f"/{plural}", fields, headers=UPSERT)
    second = box.books("PUT", f"/{plural}", {**fields, "notes": "n", "description": "n"}, headers=UPSERT)
    assert (first.status_code, second.status_code) == (201, 200)
    id_key = f"{entity}_id"
    assert first.json()[entity][id_key] == second.json()[entity][id_key]
    assert second.json()[entity]["notes" if entity == "contact" else "description"] == "n"
    assert hash_of(box, entity, first.json()[entity][id_key]) == {"cf_f": "k1"}


@upserted
def test_without_the_upsert_header_nothing_is_created(box: Box, entity: str) -> None:
    define(box, entity, unique=True)
    plural, fields = RECORDS[entity]
    assert refusal(box.books("PUT", f"/{plural}", fields, headers=KEY)) == (404, 1002)


def test_without_the_upsert_header_the_match_is_updated(box: Box) -> None:
    define(box, unique=True)
    made = write(box, "k1").json()["contact"]["contact_id"]
    assert box.books("PUT", "/contacts", {"notes": "n"}, headers=KEY).json()["contact"]["contact_id"] == made


@pytest.mark.parametrize("unique", [None, False])
def test_an_upsert_needs_a_unique_field(box: Box, unique: bool | None) -> None:
    if unique is not None:
        define(box, unique=unique)
    assert refusal(box.books("PUT", "/contacts", {"contact_name": "A"}, headers=UPSERT)) == (400, 2)


def test_the_upsert_is_a_capability(box: Box) -> None:
    define(box, unique=True)
    box.capable(BOOKS, custom_field_upsert=False)
    assert refusal(box.books("PUT", "/contacts", {"contact_name": "A"}, headers=UPSERT)) == (404, 5)
