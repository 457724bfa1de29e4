"""Secrets at rest."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.errors import ConfigError
from shared.vault import Vault, load_vault, new_key_ring

pytestmark = pytest.mark.rule("SU-1", "P14")

KEYS = {"old": bytes(range(32)), "new": bytes(range(32, 64))}
SECRET = SecretStr("1000.the-refresh-token ü")


def test_what_is_sealed_opens_where_it_belongs_and_nowhere_else() -> None:
    vault = Vault("old", KEYS)
    sealed = vault.seal(SECRET, row="connection:1", field="refresh_token")
    assert vault.open(sealed, row="connection:1", field="refresh_token") == SECRET
    for row, field in (
        ("connection:2", "refresh_token"),
        ("connection:1", "access_token"),
        ("connection:1r", "efresh_token"),
    ):
        with pytest.raises(ConfigError):
            vault.open(sealed, row=row, field=field)


def test_the_same_secret_is_never_sealed_alike() -> None:
    vault = Vault("old", KEYS)
    assert len({vault.seal(SECRET, row="r", field="f") for _ in range(50)}) == 50


def test_a_damaged_seal_is_refused() -> None:
    vault = Vault("old", KEYS)
    sealed = vault.seal(SECRET, row="r", field="f")
    head, _, content = sealed.rpartition(":")
    raw = bytearray(base64.b64decode(content))
    for position in (0, 12, len(raw) - 1):
        damaged = bytes(byte ^ (i == position) for i, byte in enumerate(raw))
        with pytest.raises(ConfigError):
            vault.open(f"{head}:{base64.b64encode(damaged).decode()}", row="r", field="f")
    for other in ("", "plain text", "v1:old:!!", "v1:old:", "v2:old:AAAA"):
        with pytest.raises(ConfigError):
            vault.open(other, row="r", field="f")


def test_rotating_seals_under_the_current_key_and_the_old_one_may_go() -> None:
    sealed = Vault("old", KEYS).seal(SECRET, row="r", field="f")
    both = Vault("new", KEYS)
    assert both.open(sealed, row="r", field="f") == SECRET
    rotated = both.rotate(sealed, row="r", field="f")
    assert not both.is_current(sealed)
    assert both.is_current(rotated)
    assert both.rotate(rotated, row="r", field="f") == rotated
    alone = Vault("new", {"new": KEYS["new"]})
    assert alone.open(rotated, row="r", field="f") == SECRET
    with pytest.raises(ConfigError, match="'old'"):
        alone.open(sealed, row="r", field="f")


def test_a_key_ring_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(new_key_ring())
    vault = load_vault(path)
    assert vault.open(vault.seal(SECRET, row="r", field="f"), row="r", field="f") == SECRET


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        json.dumps({"current": "a", "keys": {}}),
        json.dumps({"current": "a", "keys": {"a": "c2hvcnQ="}}),
        json.dumps({"current": "a", "keys": {"a": "sécret-not-base64"}}),
        json.dumps({"current": "a:b", "keys": {"a:b": base64.b64encode(bytes(range(32))).decode()}}),
    ],
)
def test_a_bad_key_file_is_a_sentence_without_what_is_in_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(ConfigError) as raised:
        load_vault(path)
    assert "c2hvcnQ" not in str(raised.value)
    assert "not-base64" not in str(raised.value)
    for missing in (None, tmp_path / "none"):
        with pytest.raises(ConfigError):
            load_vault(missing)


def test_neither_keys_nor_secrets_show() -> None:
    vault = Vault("old", KEYS)
    assert repr(vault) == "Vault(current='old', keys=['new', 'old'])"
    sealed = vault.seal(SECRET, row="r", field="f")
    assert "refresh" not in sealed
    assert "refresh" not in repr(vault.open(sealed, row="r", field="f"))
