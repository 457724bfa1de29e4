"""Kombu's Redis transport, without a fault of kombu 5.7.0 that ends a worker when Redis restarts under it."""

from __future__ import annotations

from typing import Any

from kombu.transport import redis


class QoS(redis.QoS):
    """A connection that broke is given up first; what it had to acknowledge or to put back comes then, over nothing
    ("'NoneType' object has no attribute 'hostname'", or 'client', and the worker ends). Those wake-ups come again by
    the visibility timeout, and the sweep comes sooner.
    """

    def ack(self, delivery_tag: str) -> None:
        if self._stands():
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]

    def restore_unacked_once(self, stderr: Any = None) -> None:
        if self._stands():
            super().restore_unacked_once(stderr=stderr)  # type: ignore[no-untyped-call]

    def _stands(self) -> bool:
        transport = self.channel.connection
        return transport is not None and transport.client is not None


def use_our_qos() -> None:
    """For every connection of this process."""
    redis.Channel.QoS = QoS
