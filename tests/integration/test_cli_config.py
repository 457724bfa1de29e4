"""`bothways config`: out into a file, looked at, in again."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.integration.test_cli import Bothways, World, _environment, bothways, database, settings, world
from tests.integration.test_cli_views import connected

__all__ = ["_environment", "bothways", "connected", "database", "settings", "world"]

pytestmark = pytest.mark.rule("SU-6", "PE-3")


def test_out_and_in_again(connected: World, bothways: Bothways, tmp_path: Path) -> None:
    said = bothways("config", "export", 1, "--out", tmp_path)
    file = tmp_path / "integration-1.yaml"
    assert (said.code, said.err) == (0, f"Written to {file}.\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600, "addresses are in it"
    assert bothways("config", "export", 1).out == file.read_text()
    assert bothways("config", "import", file, "--into", 1).out == "Nothing changes.\n"
    file.write_text(file.read_text().replace("automatic: true", "automatic: false"))
    checked = bothways("config", "import", file, "--into", 1, "--check")
    assert "-  automatic: true\n+  automatic: false\n" in checked.out
    assert checked.err == "Only checked: nothing was changed.\n"
    assert bothways("integrations", "--json").json[0]["schedule_on"] is True
    saved = bothways("config", "import", file, "--into", 1, "--json").json
    assert (saved["saved"], saved["integration_id"], saved["diff"]) == (True, 1, checked.out)
    assert bothways("integrations", "--json").json[0]["schedule_on"] is False


def test_a_draft_by_a_file(connected: World, bothways: Bothways, tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(bothways("config", "export", 1).out)
    connected.sql("DELETE FROM integration")
    said = bothways("config", "import", file, "--left", 1, "--right", 2)
    assert said.err.endswith("is a draft. Look at it, then enable it: `bothways setup`.\n")
    (made,) = bothways("integrations", "--json").json
    assert made["state"] == "draft"
    assert bothways("config", "export", made["id"]).out == file.read_text()


@pytest.mark.parametrize(
    ("content", "words", "code"),
    [
        (b"kind: 1", ("--into", 1), "CONFIG_REFUSED"),
        (b"\xff", ("--into", 1), "BAD_CONFIG"),
        (b"x" * 400_000, ("--into", 1), "CONFIG_REFUSED"),
        (b"kind: 1", ("--into", 1, "--left", 1), "BAD_OPTIONS"),
        (b"kind: 1", ("--left", 1), "BAD_OPTIONS"),
        (b"kind: 1", (), "BAD_OPTIONS"),
        (b"kind: 1", ("--into", 99), "UNKNOWN_INTEGRATION"),
        (b"kind: 1", ("--left", 1, "--right", 99), "UNKNOWN_ORG"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(
    world: World, bothways: Bothways, tmp_path: Path, content: bytes, words: tuple[object, ...], code: str
) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes(content)
    said = bothways("config", "import", file, *words)
    assert (said.code, said.err.partition(":")[0]) == (1, code)
    assert bothways("config", "import", tmp_path / "none.yaml", "--into", 1).err.startswith("BAD_CONFIG: ")
