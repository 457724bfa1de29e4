"""`bothways tokens` and `bothways audit`: the host makes and ends tokens, and sees what was done."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from shared.services.api_tokens import ApiTokenService
from shared.sync.access import ActorKind, Role, host, permissions_of
from tests.integration.test_cli import Bothways, World, _environment, bothways, database, settings, world

__all__ = ["_environment", "bothways", "database", "settings", "world"]

pytestmark = pytest.mark.rule("PE-1", "PE-3", "P14")


def test_a_token_is_shown_once_and_opens(world: World, bothways: Bothways) -> None:
    told = bothways("tokens", "add", "Ann's script", "--role", "operator", "--logs")
    assert told.code == 0
    token = told.out.strip()
    assert "\n" not in token, "alone on stdout, to be put into a file"
    assert token not in told.err
    assert "operator" in told.err
    actor = ApiTokenService(world.database).authenticate(f"Bearer {token}", "")
    assert (actor.principal, actor.kind) == ("Ann's script", ActorKind.TOKEN)
    assert actor.permissions == permissions_of(Role.OPERATOR, read_logs=True)
    shown = bothways("tokens")
    secret = token.rpartition("_")[2]
    assert "Ann's script" in shown.out
    for words in (("tokens",), ("tokens", "--json"), ("audit",), ("audit", "--json")):
        said = bothways(*words)
        assert secret not in said.out + said.err, words


def test_a_token_as_json_and_how_long_it_lasts(world: World, bothways: Bothways) -> None:
    def days(*more: str) -> timedelta | None:
        made = bothways("tokens", "add", "x", "--role", "viewer", "--json", *more).json
        assert made["token"].startswith(f"bw_{made['id']}_")
        assert (made["principal"], made["role"], made["read_logs"]) == ("x", "viewer", False)
        if made["expires_at"] is None:
            return None
        return datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])

    assert days() == timedelta(days=90)
    assert days("--expires-days", "7") == timedelta(days=7)
    assert days("--no-expiry") is None
    both = bothways("tokens", "add", "x", "--role", "viewer", "--no-expiry", "--expires-days", "7")
    assert (both.code, both.err[:11]) == (1, "BAD_OPTIONS")


@pytest.mark.rule("ST-4")
def test_support_s_tokens_are_made_on_the_host_alone(world: World, bothways: Bothways) -> None:
    assert bothways("tokens", "add", "vendor", "--role", "support", "--json").json["role"] == "support"


def test_a_token_that_cannot_be_made_is_refused_in_a_sentence(world: World, bothways: Bothways) -> None:
    assert bothways("tokens", "add", "x").code == 1
    assert bothways("tokens", "add", "x", "--role", "root").code == 1
    told = bothways("tokens", "add", "cli", "--role", "viewer")
    assert (told.code, told.out) == (1, "")
    assert told.err.startswith("BAD_NAME: ")
    assert bothways("tokens").out.startswith("There is no token yet: `bothways tokens add")


def test_a_token_is_revoked(world: World, bothways: Bothways) -> None:
    made = bothways("tokens", "add", "x", "--role", "viewer", "--json").json
    assert bothways("tokens", "revoke", made["id"]).out == f"Token {made['id']} of x is revoked.\n"
    assert bothways("tokens", "--json").json[0]["revoked_at"]
    told = bothways("tokens", "revoke", 99)
    assert (told.code, told.err) == (1, "UNKNOWN_TOKEN: There is no token 99. See `bothways tokens`.\n")


def test_what_the_host_does_is_in_the_log_as_the_cli_s(world: World, bothways: Bothways) -> None:
    before = max((one["id"] for one in bothways("audit", "--json").json), default=0)
    made = bothways("tokens", "add", "x", "--role", "viewer", "--json").json
    world.fetched()
    bothways("sync", 1, "--no-wait", "--json")
    bothways("tokens", "revoke", made["id"])
    new = [one for one in bothways("audit", "--json").json if one["id"] > before]
    assert [one["action"] for one in new] == ["token.revoked", "run.sync_asked", "token.made"]
    assert {(one["principal"], one["actor_kind"], one["token_id"]) for one in new} == {("cli", "host", None)}
    assert new[2]["after"]["role"] == "viewer"
    assert len(bothways("audit", "--limit", 2, "--json").json) == 2
    shown = bothways("audit", "--limit", 1).out
    assert "token.revoked" in shown
    assert json.dumps("viewer") in shown


def test_since_a_day(world: World, bothways: Bothways) -> None:
    bothways("tokens", "add", "x", "--role", "viewer")
    today, tomorrow = datetime.now().astimezone(), datetime.now().astimezone() + timedelta(days=1)
    assert bothways("audit", "--since", f"{today:%Y-%m-%d}", "--json").json
    assert bothways("audit", "--since", f"{tomorrow:%Y-%m-%d}", "--json").json == []
    assert bothways("audit", "--since", f"{tomorrow:%Y-%m-%dT%H:%M:%S}").out == "Nothing was done in this time.\n"
    assert bothways("audit", "--since", "yesterday").code == 1


def test_only_this_workspace_s(world: World, bothways: Bothways) -> None:
    other = world.sql("INSERT INTO workspace (name) VALUES ('other') RETURNING id")
    theirs = ApiTokenService(world.database).add(host(other), "theirs", Role.VIEWER)
    assert bothways("tokens", "--json").json == []
    assert bothways("tokens", "revoke", theirs.view.id).code == 1
    assert "theirs" not in bothways("audit", "--json").out
