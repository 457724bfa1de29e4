"""Celery's connection to Redis, as a worker uses it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kombu
import pytest
from kombu.transport import redis as transport

from shared.wake import broker_options
from workers.broker import use_our_qos

pytestmark = pytest.mark.rule("P7")
KOMBU: Any = kombu  # it has no types
QUEUE = KOMBU.Queue("events", routing_key="events")


@pytest.fixture(autouse=True)
def _ours() -> Iterator[None]:
    before = transport.Channel.QoS
    use_our_qos()
    yield
    transport.Channel.QoS = before


@pytest.fixture
def connection(redis_url: str) -> Any:
    return KOMBU.Connection(redis_url, transport_options=broker_options())


def taken(connection: Any) -> Any:
    """A wake-up that is delivered and not acknowledged."""
    found: list[Any] = []
    with connection.Producer() as producer:
        producer.publish({}, routing_key="events", declare=[QUEUE])
    with KOMBU.Consumer(connection.default_channel, [QUEUE], callbacks=[lambda _, message: found.append(message)]):
        connection.drain_events(timeout=5)
    return found[0]


def test_a_channel_whose_connection_was_given_up_is_closed_without_a_mistake(connection: Any) -> None:
    """A mistake there ends the worker: each restart of Redis would cost the time of starting every worker anew."""
    channel = taken(connection).channel
    connection.transport.client = None
    channel.close()
    assert channel.closed


def test_an_acknowledgement_that_comes_after_its_connection_is_no_mistake(connection: Any) -> None:
    message = taken(connection)
    connection.transport.client = None
    message.channel.close()
    message.ack()
    assert message.acknowledged


def test_a_connection_that_is_closed_in_peace_puts_back_what_was_not_acknowledged(connection: Any) -> None:
    lost = taken(connection)
    connection.close()
    with KOMBU.Connection(connection.as_uri(include_password=True), transport_options=broker_options()) as again:
        assert taken(again).delivery_tag == lost.delivery_tag


def test_an_acknowledged_wake_up_does_not_come_again(connection: Any) -> None:
    message = taken(connection)
    message.ack()
    connection.close()
    with KOMBU.Connection(connection.as_uri(include_password=True), transport_options=broker_options()) as again:
        assert taken(again).delivery_tag != message.delivery_tag
