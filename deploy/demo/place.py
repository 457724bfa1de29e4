"""Where a demonstration keeps its data: a folder of its own that is emptied at the start, or a temporary one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
    path = folder.data_folder(path)
    if any(path.iterdir()) and not (path / _MARK).exists():
        raise DemoError(
            f"{path} holds something else than an earlier demonstration, and would be emptied: choose another folder."
        )
    lock = FolderLock(path, "Bothways")
    try:
        shutil.rmtree(path)
        folder.sweep_public_folders("data")  # what its servers kept elsewhere
    finally:
        lock.release()
    folder.data_folder(path)
    (path / _MARK).write_text("Made by `bothways demo`, which empties this folder each time it starts.\n")
    return path


@contextmanager
def temporary() -> Iterator[Path]:
    """Gone after the block, unless it ends in an error: its logs are wanted then."""
    path = Path(tempfile.mkdtemp(prefix="bothways-demo-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
    folder.sweep_public_folders("data")
