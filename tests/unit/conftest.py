"""Sockets closed, the same examples each time.

BOTHWAYS_TEST_RANDOM=1 draws new examples, and prints how to repeat one that fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import pytest_socket
from hypothesis import settings

settings.register_profile(
    "unit", derandomize="BOTHWAYS_TEST_RANDOM" not in os.environ, print_blob=True, deadline=None, max_examples=150
)
settings.load_profile("unit")


@pytest.fixture(autouse=True, scope="package")
def _no_sockets() -> Iterator[None]:
    pytest_socket.disable_socket()
    yield
    pytest_socket.enable_socket()
