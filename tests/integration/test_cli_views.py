"""`bothways mapping`, `record` and `failures --groups`: what services know, on a terminal and as JSON."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tests.integration.test_cli import Bothways, World, _environment, bothways, database, settings, world

__all__ = ["_environment", "bothways", "database", "settings", "world"]

FIRST = "- {left: Company_Name, right: contact_name}\n"


@pytest.fixture
def connected(world: World) -> World:
    for org, vendor in ((1, "zoho_fsm"), (2, "zoho_books")):
        world.sql(
            "INSERT INTO connection (workspace_id, org_id, vendor, data_centre, accounts_server, api_domain, "
            "client_id) VALUES (:w, :org, :vendor, 'us', 'https://a.test', 'https://b.test', 'c')",
            w=world.workspace, org=org, vendor=vendor,
        )  # fmt: skip
    return world


@pytest.mark.rule("FM-1", "PE-3")
def test_a_mapping_is_shown_checked_saved_and_taken_back(connected: World, bothways: Bothways, tmp_path: Path) -> None:
    shown = bothways("mapping", 1, "companies").out
    assert "(the default)" in shown
    assert "Company name" in shown
    wrong, good = tmp_path / "wrong.yaml", tmp_path / "good.yaml"
    wrong.write_text(FIRST + "- {left: Fax, right: status}\n")
    good.write_text(FIRST + "- {left: Phone, right: contact_number, flow: to_right}\n")
    assert "Wrong: Status cannot be written" in bothways("mapping", 1, "companies", "--check", wrong).out
    assert bothways("mapping", 1, "companies", "--check", good).out == "Nothing is wrong with it.\n"
    refused = bothways("mapping", 1, "companies", "--save", wrong)
    assert (refused.code, refused.err[:15]) == (1, "MAPPING_REFUSED")
    assert bothways("mapping", 1, "companies", "--json").json["default"]
    saved = bothways("mapping", 1, "companies", "--save", good, "--json").json
    assert [(one["left"], one["flow"]) for one in saved["lines"]] == [("Company_Name", "both"), ("Phone", "to_right")]
    assert bothways("mapping", 1, "companies", "--default", "--json").json["default"]


@pytest.mark.parametrize("text", ["- [", "- {left: a}\n", "just words", "- {left: a, right: b, code: 1}\n"])
def test_a_file_that_is_no_mapping_is_refused_in_a_sentence(
    connected: World, bothways: Bothways, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    said = bothways("mapping", 1, "companies", "--save", file)
    assert (said.code, said.err[:12]) == (1, "BAD_MAPPING:")


def test_only_one_thing_is_done_at_a_time(connected: World, bothways: Bothways, tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(FIRST)
    both = bothways("mapping", 1, "companies", "--save", file, "--default")
    assert (both.code, both.err[:12]) == (1, "BAD_OPTIONS:")
    assert bothways("mapping", 1, "people").code == 1


@pytest.mark.rule("LG-3")
def test_failures_by_cause_and_the_file_of_one(world: World, bothways: Bothways, tmp_path: Path) -> None:
    run = world.run("completed_with_failures")
    world.count(run, "failed", 2, reason="NO_KEY")
    world.count(run, "failed", 1, reason="AMBIGUOUS_MATCH")
    for record, reason in (("r1", "NO_KEY"), ("r2", "NO_KEY"), ("r3", "AMBIGUOUS_MATCH")):
        world.outcome(run, record, reason=reason, event=record)
    groups = bothways("failures", run, "--groups", "--json").json
    assert [(one["reason"], one["records"]) for one in groups] == [("NO_KEY", 2), ("AMBIGUOUS_MATCH", 1)]
    assert "AMBIGUOUS_MATCH" in bothways("failures", run, "--groups").out
    asked = ("--pair", "companies", "--direction", "zoho_fsm>zoho_books", "--reason", "NO_KEY")
    bothways("failures", run, *asked, "--output", tmp_path)
    rows = list(csv.reader(io.StringIO((tmp_path / "CompaniesFailureLogs.csv").read_text(), newline="")))
    assert [row[2] for row in rows[1:]] == ["r1", "r2"]


@pytest.mark.rule("LG-5")
def test_a_record_s_page(world: World, bothways: Bothways) -> None:
    run = world.run("completed_with_failures")
    world.outcome(run, "r1")
    shown = bothways("record", 1, "companies", "left", "r1").out
    assert "Companies r1 is not bound." in shown
    assert "The match key is empty" in shown
    history = bothways("record", 1, "companies", "left", "r1", "--json").json["history"]
    assert [(one["run_id"], one["reason"]) for one in history] == [(run, "NO_KEY")]
    assert bothways("record", 1, "people", "left", "r1").code == 1


@pytest.mark.rule("DU-1")
def test_bindings_are_shown_changed_and_brought_in_and_out(world: World, bothways: Bothways, tmp_path: Path) -> None:
    def shown(*words: str) -> list[tuple[str, str, str]]:
        found = bothways("bindings", 1, *words, "--json").json
        return [(one["left_id"], one["right_id"], one["state"]) for one in found]

    assert bothways("bind", 1, "companies", "71", "91").code == 0
    assert shown() == [("71", "91", "live")]
    assert "by hand" in bothways("bindings", 1).out
    refused = bothways("bind", 1, "companies", "71", "92")
    assert (refused.code, refused.err[:14]) == (1, "BOUND_ALREADY:")
    kept = bothways("bindings", 1, "--csv").out
    assert bothways("unbind", 1, "companies", "left", "71").code == 0
    assert shown() == []
    aside = bothways("bindings", 1, "--aside", "--json").json
    assert [(one["record_id"], one["other_id"]) for one in aside] == [("71", "91"), ("91", "71")]
    assert "unbound" in bothways("bindings", 1, "--aside").out
    assert "was unbound from contacts 91" in bothways("record", 1, "companies", "left", "71").out
    assert bothways("release", 1, "companies", "right", "91").code == 0
    file = tmp_path / "Bindings.csv"
    file.write_bytes((kept + "companies,,93\r\n").encode())
    told = bothways("bindings", 1, "--import", file)
    assert (told.code, told.out) == (
        2,
        "1 bound, 0 were bound so already, 1 lines refused.\nLine 3: BAD_ID: A record's id is missing, or is none.\n",
    )
    assert shown("--search", "91") == [("71", "91", "live")]
    assert shown("--state", "left_deleted") == []
    refused = bothways("create-again", 1, "companies", "left", "71")
    assert (refused.code, refused.err[:12]) == (1, "TWIN_EXISTS:")
    world.sql("UPDATE binding SET state = 'right_deleted'")
    assert bothways("create-again", 1, "companies", "left", "71").code == 0
    assert shown() == []
    file.write_bytes(b"\xff\xfe")
    assert bothways("bindings", 1, "--import", file).err.startswith("BAD_CSV:")
    assert bothways("bindings", 1, "--aside", "--csv").err.startswith("BAD_OPTIONS:")


@pytest.mark.rule("FM-2", "FM-7", "OP-3")
def test_what_only_a_person_can_know_of_an_org(connected: World, bothways: Bothways, tmp_path: Path) -> None:
    assert bothways("capabilities", 1, "inactive_writable=true", "create_batch=20").code == 0
    assert bothways("capabilities", 1, "create_batch=", "--json").json["inactive_writable"] is True
    assert "create_batch" not in bothways("capabilities", 1).out
    wrong = bothways("capabilities", 1, "create_batch=many")
    assert (wrong.code, wrong.err) == (1, "WRONG_KIND: create_batch is a whole number.\n")
    file = tmp_path / "fields.yaml"
    file.write_text("- {name: Region__C, label: Region, pii: false}\n")
    told = bothways("fields", 1, "Companies", "--custom", file, "--json").json["Companies"]
    assert [one["name"] for one in told if one["custom"]] == ["Region__C"]
    bothways("fields", 1, "Companies", "--private", "Region__C", "--private", "Email")
    shown = bothways("fields", 1, "Companies").out
    assert [line.split()[1] for line in shown.splitlines() if "personal" in line] == ["Email", "Region__C"]
    bothways("fields", 1, "Companies", "--none-private")
    assert "personal" not in bothways("fields", 1).out
    file.write_text("- {name: Region__C, shape: round}\n")
    assert bothways("fields", 1, "Companies", "--custom", file).err.startswith("BAD_FIELDS: fields.yaml is no list")
    assert bothways("fields", 1, "--custom", file).err.startswith("BAD_OPTIONS:")
    assert bothways("fields", 1, "Nothing").err.startswith("UNKNOWN_MODULE:")


@pytest.mark.rule("SU-2")
def test_a_draft_is_set_up_step_by_step(connected: World, bothways: Bothways) -> None:
    connected.sql("DELETE FROM integration")
    made = bothways("integrations", "add", "fsm_books", "--left", 1, "--right", 2, "--draft", "--json").json
    number = made["id"]
    assert made["state"] == "draft"
    assert made["sync_type"] == "IV", "with a new Books org (SU-5)"
    assert "Next: --policy (overwrite, clone) and --sync-type (I, II, III, IV)." in bothways("setup", number).out
    early = bothways("setup", number, "--enable")
    assert (early.code, early.err[:12]) == (1, "SETUP_ORDER:")
    assert "--confirm companies" in bothways("setup", number, "--policy", "clone").out
    bothways("setup", number, "--confirm", "companies")
    assert "--confirm contact_persons" in bothways("setup", number).out
    bothways("setup", number, "--policy", "clone", "--sync-type", "I")
    assert "--enable" in bothways("setup", number, "--confirm", "items").out
    view = bothways("setup", number, "--enable", "--json").json
    assert (view["state"], view["policy"], view["next_step"]) == ("enabled", "clone", None)
    assert f"bothways fetch {number}" in bothways("setup", number).out
    assert bothways("setup", number, "--discard").err.startswith("ALREADY_SET_UP:")
    assert bothways("setup", number, "--enable", "--discard").err.startswith("BAD_OPTIONS:")
