"""One sandbox process for the session, reset before each test; every Books call is held against the vendor's files."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from shared.connectors.transport import DeadlineTransport
from tests.contract.books_openapi import BooksFiles, Seen, books_files
from tests.contract.support import Case, Sandbox, World, sandbox_process, world_of


@pytest.fixture(scope="session")
def sandbox_url() -> Iterator[str]:
    with sandbox_process() as url:
        yield url


@pytest.fixture
def sandbox(sandbox_url: str) -> Iterator[Sandbox]:
    with httpx.Client(base_url=sandbox_url, timeout=10) as http:
        sandbox = Sandbox(sandbox_url, http)
        sandbox.reset()
        yield sandbox


@pytest.fixture
def world(sandbox: Sandbox, case: Case) -> Iterator[World]:
    world = world_of(sandbox, case)
    yield world
    world.connector.close()


@pytest.fixture(scope="session")
def vendor_files() -> BooksFiles | None:
    return books_files()


@pytest.fixture(autouse=True)
def books_calls(monkeypatch: pytest.MonkeyPatch, vendor_files: BooksFiles | None) -> Iterator[list[Seen]]:
    """What the Books connector, or Invoice's, sent during a test, checked against the vendor's files at its end."""
    seen: list[Seen] = []
    send = DeadlineTransport.handle_request

    def recorded(self: DeadlineTransport, request: httpx.Request) -> httpx.Response:
        if "/books/v3" in request.url.path or "/invoice/v3" in request.url.path:
            seen.append(Seen.of(request))
        return send(self, request)

    monkeypatch.setattr(DeadlineTransport, "handle_request", recorded)
    yield seen
    if vendor_files is not None:
        assert [problem for call in seen for problem in vendor_files.problems(call)] == []
