"""Where DATABASE_URL is not set: the settings that a local stack left for its owner in its data folder."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from shared.errors import ConfigError

DATA_DIR = "BOTHWAYS_DATA_DIR"
FILE = "env.json"
_SERVERS = ("DATABASE_URL", "REDIS_URL")


def data_dir(env: Mapping[str, str]) -> Path:
    return Path(env.get(DATA_DIR) or ".bothways").expanduser()


def complete(env: MutableMapping[str, str]) -> bool:
    """Fills in what the stack says and `env` does not; True where it did. Raises ConfigError, with what to do."""
    if env.get("DATABASE_URL"):
        return False
    path = data_dir(env) / FILE
    try:
        content = _content(path)
    except FileNotFoundError:
        raise ConfigError(
            f"DATABASE_URL is not set, and no local stack has left its settings in {path.parent}. Start one with "
            f"`bothways up`, name its folder in {DATA_DIR}, or set DATABASE_URL and REDIS_URL.",
            code="NO_DATABASE_URL",
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"The settings in {path} cannot be read ({_why(error)}).", code="BAD_SETTINGS") from None
    for name, value in content.items():
        if not env.get(name) and (name in _SERVERS or name.startswith("BOTHWAYS_")):
            env[name] = value
    return True


def _content(path: Path) -> Mapping[str, str]:
    """Raises ValueError where somebody else may have written it, or it is no object of texts."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ValueError("others can write to it")
        found = json.loads(file.read())
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("it holds no settings")
    return found


def _why(error: Exception) -> str:
    return error.strerror or "unreadable" if isinstance(error, OSError) else str(error)
