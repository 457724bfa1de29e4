"""One sandbox for the folder, put back to its start before each test."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.sandbox.support import Box, Receiver, running_receiver, running_sandbox


@pytest.fixture(scope="session")
def sandbox_url() -> Iterator[str]:
    with running_sandbox() as base_url:
        yield base_url


@pytest.fixture
def box(sandbox_url: str) -> Iterator[Box]:
    with httpx.Client(base_url=sandbox_url, trust_env=False) as client:
        info = client.get("/_sandbox/info").json()
        for vendor in info["vendors"]:
            assert client.post(f"/_sandbox/{vendor}/reset").status_code == 200
        yield Box(sandbox_url, client, info)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver
