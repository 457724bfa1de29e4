"""The command line's pure parts: JSON, clean text, settings that a stack left."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr

from api.cli import environment
from api.cli.commands import connections
from api.cli.output import as_json, clean, local
from shared.connectors.registry import vendor_names
from shared.connectors.vendor import OrgChoice
from shared.errors import ConfigError, NotFound
from shared.services.connections import ChooseOrg
from shared.services.webhook_steps import HIDDEN, webhook_steps
from shared.sync.access import host
from shared.sync.model import OutcomeKind

pytestmark = pytest.mark.rule("PE-3")


@dataclass(frozen=True)
class Sample:
    at: datetime
    amount: Decimal
    outcome: OutcomeKind


def test_json_has_times_in_utc_and_decimals_as_text() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    told = json.loads(as_json([Sample(at, Decimal("18.10"), OutcomeKind.FAILED), {"n": (1, None, True)}]))
    assert told == [{"at": "2026-01-02T01:04:05Z", "amount": "18.10", "outcome": "failed"}, {"n": [1, None, True]}]
    assert "\n" not in as_json({"a": "two\nlines"})


def test_no_secret_has_a_form_in_json() -> None:
    with pytest.raises(TypeError):
        as_json({"secret": SecretStr("x")})


def test_control_characters_of_vendors_never_reach_a_terminal() -> None:
    assert clean("a\x1b[2Jb\x07\x9b\r‮\nc") == "a�[2Jb����\nc"


def test_several_orgs_without_anybody_to_ask() -> None:
    several = ChooseOrg("state", (OrgChoice("1", "One"), OrgChoice("2", "Two")))
    with pytest.raises(NotFound, match=r"--org-id. They are 1 \(One\), 2 \(Two\)") as told:
        connections._chosen(None, host(1), several, ask=False)  # type: ignore[arg-type]  # no door is asked
    assert told.value.code == "CHOOSE_ORG"


@pytest.mark.rule("SU-8")
@pytest.mark.parametrize("vendor", vendor_names())
def test_each_vendor_tells_how_its_webhooks_are_set_up(vendor: str) -> None:
    hidden = webhook_steps(vendor, "https://x.test/w", None)
    shown = webhook_steps(vendor, "https://x.test/w", SecretStr("s3cret"))
    assert hidden.steps
    assert "https://x.test/w" in hidden.values.values()
    assert HIDDEN in hidden.values.values()
    assert "s3cret" in shown.values.values()
    assert "s3cret" not in repr(shown)
    assert not [text for text in shown.values.values() if "{" in text]


# The settings of a stack


@pytest.fixture
def left(tmp_path: Path) -> Path:
    path = tmp_path / environment.FILE
    path.write_text(json.dumps({"DATABASE_URL": "db", "REDIS_URL": "r", "BOTHWAYS_SHARDS": "2", "PATH": "evil"}))
    path.chmod(0o600)
    return path


def test_the_stacks_settings_fill_what_is_missing(left: Path) -> None:
    env = {"BOTHWAYS_DATA_DIR": str(left.parent), "REDIS_URL": "mine"}
    assert environment.complete(env)
    assert env == {
        "BOTHWAYS_DATA_DIR": str(left.parent),
        "DATABASE_URL": "db",
        "REDIS_URL": "mine",
        "BOTHWAYS_SHARDS": "2",
    }


def test_own_settings_come_first(left: Path) -> None:
    env = {"BOTHWAYS_DATA_DIR": str(left.parent), "DATABASE_URL": "mine"}
    assert not environment.complete(env)
    assert env["DATABASE_URL"] == "mine"
    assert "REDIS_URL" not in env


@pytest.mark.parametrize("content", ["", "[]", '{"DATABASE_URL": 1}', "\xff"])
def test_settings_that_cannot_be_read(left: Path, content: str) -> None:
    left.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"cannot be read") as told:
        environment.complete({"BOTHWAYS_DATA_DIR": str(left.parent)})
    assert told.value.code == "BAD_SETTINGS"


def test_settings_that_others_may_have_written_are_not_used(left: Path) -> None:
    left.chmod(0o622)
    with pytest.raises(ConfigError, match="others can write to it"):
        environment.complete({"BOTHWAYS_DATA_DIR": str(left.parent)})
    os.chmod(left, 0o600)
    assert environment.complete({"BOTHWAYS_DATA_DIR": str(left.parent)})


def test_no_settings_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bothways up") as told:
        environment.complete({"BOTHWAYS_DATA_DIR": str(tmp_path)})
    assert told.value.code == "NO_DATABASE_URL"


@pytest.fixture
def in_india(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "IST-5:30")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_india")
def test_local_time_is_the_readers() -> None:
    assert local(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02 08:34:05"
    assert local(None) == "-"
