"""deploy/env.example names every setting, with the default that the code has, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from shared.errors import ConfigError
from shared.settings import Settings, load_settings

EXAMPLE = Path(__file__).parents[2] / "deploy" / "env.example"
OF_COMPOSE = {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "FLOWER_BASIC_AUTH", "BOTHWAYS_KEYS", "BOTHWAYS_API_URL"}


def example() -> dict[str, str]:
    found = re.findall(r"^(?:# )?([A-Z][A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    return dict(found)


def names() -> dict[str, str]:
    """Environment variable -> field."""
    return {
        str(info.validation_alias or f"BOTHWAYS_{name.upper()}"): name for name, info in Settings.model_fields.items()
    }


@pytest.mark.rule("OP-2")
def test_the_example_names_every_setting_and_no_other() -> None:
    assert set(example()) - OF_COMPOSE == set(names())


@pytest.mark.rule("OP-2")
def test_the_example_shows_the_defaults() -> None:
    shown, defaults = example(), Settings(_env_file=None).model_dump()
    for variable, field in names().items():
        default = defaults[field]
        if isinstance(default, int | float):
            assert float(shown[variable]) == default, variable


@pytest.mark.rule("P14")
def test_a_bad_setting_is_told_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOTHWAYS_SHARDS", "s3cret-many")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "SHARDS" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.rule("P14")
def test_addresses_with_passwords_are_not_shown() -> None:
    settings = Settings(database_url=SecretStr("postgresql+psycopg://u:s3cret@h/d"))
    assert "s3cret" not in repr(settings)


@pytest.mark.rule("P4")
def test_a_lease_outlives_the_longest_push() -> None:
    with pytest.raises(ValueError, match="BOTHWAYS_LEASE_TTL_S"):
        Settings(lease_ttl_s=30.0, push_deadline_s=30.0)


@pytest.mark.rule("LG-8", "P14")
@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"smtp_host": "mail"}, "BOTHWAYS_SMTP_FROM"),
        ({"smtp_from": "Bothways <b@x>"}, "without a name"),
        ({"smtp_from": "b@x\r\nBcc: e@x"}, "without a name"),
        ({"smtp_host": "mail", "smtp_from": "b@x", "smtp_username": "u"}, "BOTHWAYS_SMTP_PASSWORD"),
        ({"smtp_username": "u", "smtp_password": SecretStr("p"), "smtp_security": "none"}, "in the clear"),
    ],
)
def test_mail_that_could_not_be_sent_or_would_tell_its_password_is_refused(wrong: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Settings(**wrong)


@pytest.mark.rule("LG-8")
def test_an_empty_mail_server_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "PORT", "USERNAME", "PASSWORD", "FROM"):
        monkeypatch.setenv(f"BOTHWAYS_SMTP_{name}", "")
    assert load_settings().smtp_host is None
