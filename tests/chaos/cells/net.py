"""The network between any two: cut, silent, slow, half open, an answer that never comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from tests.chaos.cell import OTHER_HOLDER_S, Cell, Scene
from tests.chaos.proxy import Proxy
from tests.chaos.shapes import PROXIED, TRUE_PROXIED

Body = Callable[[Scene], None]
BROKER_S = 10.0
"""Celery's connection looks for itself so often (`health_check_interval`); until then it waits on a dead one."""
BETWEEN = ("redis", "postgres", "vendor", "door")


def troubled(between: str, trouble: Callable[[Proxy, Scene], object], lasts_s: float) -> Body:
    """`lasts_s` are ours: sockets' timeouts are not scaled."""

    def body(scene: Scene) -> None:
        proxy = scene.rig.proxies[between]
        scene.expect["unseen_trouble"] = between == "vendor"
        scene.load(per_s=10)
        scene.await_writes(scene.chance.randint(2, 20))
        trouble(proxy, scene)
        time.sleep(lasts_s)
        scene.await_strike(lambda: proxy.struck, f"something goes through the proxy of {between}")
        proxy.heal()
        scene.over()

    return body


def cut(proxy: Proxy, scene: Scene) -> None:
    proxy.cut(refuse=True)


def flap(proxy: Proxy, scene: Scene) -> None:
    """Every connection is reset, again and again."""
    for _ in range(6):
        proxy.cut()
        time.sleep(scene.chance.uniform(0.02, 0.2))


def half_open(proxy: Proxy, scene: Scene) -> None:
    proxy.half_open()


def stall(proxy: Proxy, scene: Scene) -> None:
    proxy.stall()


def delay(proxy: Proxy, scene: Scene) -> None:
    proxy.delay(1.0)


def dropped(between: str, of: bytes, most: int) -> Body:
    """The n-th answer of a kind was given and did not arrive."""

    def body(scene: Scene) -> None:
        proxy = scene.rig.proxies[between]
        scene.expect["unseen_trouble"] = between == "vendor"
        scene.load(per_s=10)
        for _ in range(4):
            proxy.heal()
            proxy.drop_reply(scene.chance.randint(1, most), lambda answer: of in answer)
            scene.await_strike(lambda: proxy.struck, f"an answer of {between} is dropped")
        proxy.heal()
        scene.over()

    return body


def _cells() -> Iterator[Cell]:
    for between in BETWEEN:
        yield Cell("net_cut", between, 1, troubled(between, cut, 2.0), PROXIED)
        yield Cell("net_cut", f"{between} flaps", 1, troubled(between, flap, 0.0), PROXIED)
        yield Cell("net_delay", between, 1, troubled(between, delay, 4.0), PROXIED)
    for between, lasts_s in (("redis", 6.0), ("postgres", 6.0), ("vendor", 5.0), ("door", 3.0)):
        unscaled_s = BROKER_S if between == "redis" else 0.0
        yield Cell("net_blackhole", between, 1, troubled(between, stall, lasts_s), PROXIED, unscaled_s=unscaled_s)
    yield Cell(
        "net_blackhole", "postgres, past the lease", 1, troubled("postgres", stall, 12.0), PROXIED, OTHER_HOLDER_S
    )
    half_open_redis = troubled("redis", half_open, 6.0)
    yield Cell("net_blackhole", "redis half open", 1, half_open_redis, PROXIED, unscaled_s=BROKER_S)
    yield Cell("net_blackhole", "postgres half open", 1, troubled("postgres", half_open, 6.0), PROXIED)
    yield Cell("net_blackhole", "vendor half open", 1, troubled("vendor", half_open, 5.0), PROXIED)
    yield Cell("net_cut", "redis answer", 1, dropped("redis", b":1\r\n", 20), PROXIED)
    yield Cell("net_cut", "redis ack", 1, dropped("redis", b"-0\r\n", 5), PROXIED)
    yield Cell("net_cut", "postgres commit", 1, dropped("postgres", b"COMMIT\x00", 12), PROXIED)
    yield Cell("net_cut", "vendor created", 1, dropped("vendor", b" 201 ", 4), PROXIED)
    yield Cell("net_cut", "vendor", 2, troubled("vendor", cut, 8.0), TRUE_PROXIED)


CELLS: list[Cell] = list(_cells())
