"""Notification e-mail by real workers, from the end of a sync to a mail server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.world import await_that, running_world
from tests.integration.smtp_sink import HOST, listening

ANN = "ann@mail.example.com"


@pytest.mark.rule("LG-8", "P14")
def test_who_asked_is_told_once_and_named_in_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as sink:
        for name, value in {
            "HOST": HOST, "PORT": str(sink.port), "SECURITY": "none", "FROM": "bothways@example.com",
        }.items():  # fmt: skip
            monkeypatch.setenv(f"BOTHWAYS_SMTP_{name}", value)
        with running_world(tmp_path) as world:
            api = f"{world.stack.api_url}/api/v1"
            wanted = {"addresses": [ANN], "manual": True}
            address = f"{api}/integrations/{world.integration}/notifications"
            world.http.put(address, json=wanted).raise_for_status()
            world.fetch()
            run = world.sync()
            await_that(lambda: bool(sink.kept), "the mail comes")
            await_that(lambda: world.http.get(f"{address}/sent").json()[0]["state"] == "sent", "it is noted")
            assert sink.told == [ANN]
            assert sink.only()["Subject"].endswith(f": sync {run['id']} completed")
            logs = "".join(path.read_text(errors="replace") for path in (tmp_path / "logs").glob("*.log"))
        assert len(logs) > 1000
        assert ANN not in logs
