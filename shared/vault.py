"""Secrets at rest: AES-256-GCM with a key ring, bound to where each secret belongs.

A sealed text is `v1:<key id>:<base64 of nonce and ciphertext>`. Its associated data name the row and the field, so a
sealed value that is moved to another row or column does not open.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import BaseModel, ConfigDict, SecretStr

from shared.errors import ConfigError

_VERSION = "v1"
_NONCE_BYTES = 12
_KEY_BYTES = 32


class _Ring(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    current: str
    keys: dict[str, SecretStr]


class Vault:
    """Seals under the current key, opens under any key of the ring. Its repr shows key ids only."""

    def __init__(self, current: str, keys: Mapping[str, bytes]) -> None:
        if current not in keys:
            raise ConfigError("The key ring's current key is not among its keys.", code="BAD_KEY_FILE")
        if any(len(key) != _KEY_BYTES for key in keys.values()):
            raise ConfigError(f"Each key of the key ring must have {_KEY_BYTES} bytes.", code="BAD_KEY_FILE")
        if any(not key_id or ":" in key_id for key_id in keys):
            raise ConfigError("A key id must not be empty or hold a colon.", code="BAD_KEY_FILE")
        self._current = current
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}

    def __repr__(self) -> str:
        return f"Vault(current={self._current!r}, keys={sorted(self._ciphers)!r})"

    @property
    def current(self) -> str:
        return self._current

    def seal(self, secret: SecretStr, *, row: str, field: str) -> str:
        """`row` names the record that the secret belongs to ("connection:7"), `field` its column."""
        nonce = os.urandom(_NONCE_BYTES)
        plain = secret.get_secret_value().encode()
        sealed = self._ciphers[self._current].encrypt(nonce, plain, _bound_to(row, field))
        return f"{_VERSION}:{self._current}:{base64.b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, *, row: str, field: str) -> SecretStr:
        """Raises ConfigError where the key is not in the ring, or the text is damaged or belongs elsewhere."""
        key_id, content = _parts(sealed)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise ConfigError(f"Key {key_id!r} is not in the key ring; put it back.", code="KEY_MISSING")
        try:
            plain = cipher.decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], _bound_to(row, field))
        except (InvalidTag, ValueError):
            plain = None
        if plain is None:
            raise ConfigError(f"The sealed {field} of {row} cannot be opened: damaged or moved.", code="SEAL_BROKEN")
        return SecretStr(plain.decode())

    def is_current(self, sealed: str) -> bool:
        return _parts(sealed)[0] == self._current

    def rotate(self, sealed: str, *, row: str, field: str) -> str:
        """The same secret under the current key; what is there already is returned as it is."""
        if self.is_current(sealed):
            return sealed
        return self.seal(self.open(sealed, row=row, field=field), row=row, field=field)


def _bound_to(row: str, field: str) -> bytes:
    return json.dumps([row, field]).encode()


def _parts(sealed: str) -> tuple[str, bytes]:
    version, _, rest = sealed.partition(":")
    key_id, colon, content = rest.partition(":")
    if version == _VERSION and colon:
        try:
            return key_id, base64.b64decode(content, validate=True)
        except ValueError:
            pass
    raise ConfigError("A sealed value in the database has an unknown form.", code="SEAL_BROKEN")


def load_vault(key_file: Path | None) -> Vault:
    """The key ring of `key_file`: {"current": id, "keys": {id: base64 of 32 bytes}}. Raises ConfigError."""
    if key_file is None:
        raise ConfigError("BOTHWAYS_KEY_FILE is not set: tokens cannot be stored.", code="NO_KEY_FILE")
    try:
        ring = _Ring.model_validate_json(key_file.read_bytes())
        keys = {name: base64.b64decode(key.get_secret_value(), validate=True) for name, key in ring.keys.items()}
    except OSError as error:
        raise ConfigError(f"The key file cannot be read: {error.strerror}.", code="NO_KEY_FILE") from None
    except ValueError:  # no JSON, another shape, no base64
        keys = None
    if keys is None:
        raise ConfigError("The key file holds no key ring: current, and keys in base64.", code="BAD_KEY_FILE")
    return Vault(ring.current, keys)


def new_key_ring() -> str:
    """JSON of a fresh ring with one random key, for first start and for tests."""
    key = base64.b64encode(os.urandom(_KEY_BYTES)).decode()
    return json.dumps({"current": "k1", "keys": {"k1": key}})
