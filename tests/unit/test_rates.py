"""Buckets per address, by a clock of the test's own."""

from __future__ import annotations

import pytest

from shared import rates
from shared.rates import Addresses, network_of

pytestmark = pytest.mark.rule("P13")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_address_has_its_own_bucket() -> None:
    clock = Clock()
    held = Addresses(1.0, 2.0, clock)
    assert [held.take("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert held.take("192.0.2.2")
    clock.now = 1.0
    assert [held.take("192.0.2.1") for _ in range(2)] == [True, False]


def test_the_addresses_of_one_ipv6_network_count_as_one() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("testclient") == "testclient"
    assert len(network_of("x" * 1000)) == 64


def test_it_remembers_so_many_addresses_those_seen_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST_ADDRESSES", 2)
    held = Addresses(0.0, 1.0, Clock())
    assert [held.take(one) for one in ("a", "b", "a", "c", "a", "b")] == [True, True, False, True, False, True]
    assert len(held._buckets) == 2
