"""Where a demonstration keeps its data: a folder of its own that is emptied at the start, or a temporary one."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from deploy.demo.errors import DemoError
from deploy.local import folder
from deploy.local.folder import FolderLock

_MARK = "demo"
"""A file that says that everything beside it may be thrown away."""


def emptied(path: Path) -> Path:
    """The folder, made if need be. Raises DemoError where it holds anything but an earlier demonstration.

    Raises LocalStackError where one is running there.
    """
    try:
        path = folder.data_folder(path)
        if any(path.iterdir()) and not (path / _MARK).exists():
            raise DemoError(
                f"{path} holds something else than an earlier demonstration, and would be emptied: choose another."
            )
        (path / _MARK).write_text("Made by `bothways demo`, which empties this folder each time it starts.\n")
        _empty(path)
    except OSError as error:
        raise DemoError(f"{path} cannot be used: {error.strerror}.") from error
    return path


def _empty(path: Path) -> None:
    """Under the lock of whoever runs there, which stays where it is, as does the mark."""
    lock = FolderLock(path, "Bothways")
    try:
        for entry in path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.suffix != ".lock" and entry.name != _MARK:
                entry.unlink()
        shutil.rmtree(folder.public_folder("data", path))  # where Postgres' data is if it cannot be here
    finally:
        lock.release()


def temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="bothways-demo-"))


def remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    folder.sweep_public_folders("data")
