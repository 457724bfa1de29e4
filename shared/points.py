"""Named points of the shell where tests stop, freeze or break a process. Unarmed, a point costs one comparison.

Tests arm them by the setting `test_hook`, which names a function that is called as a process starts. What a point does
is the tests' matter; the product only says where it is. The names, in the order in which a change passes them:

door.received, door.kept, wake.sent, lease.taken, batch.claimed, source.read, intent.committed, request.sent,
reply.read, reply.lost, results.handed, results.taken, results.committed, lease.renewed, lease.released, token.granted,
page.saved, page.confirmed, watermark.saved; beside them notice.sent. (door.kept is passed once by all that are kept
together.)

Of a data import: lease.taken, import.read, import.listed, import.matched, import.intended, reply.read, reply.lost,
import.saved, lease.released
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module

from shared.errors import ConfigError
from shared.settings import Settings

log = logging.getLogger(__name__)

Strike = Callable[[str], None]

_strike: Strike | None = None


def at(point: str) -> None:
    if _strike is not None:
        _strike(point)


def arm(strike: Strike | None) -> None:
    """`strike` is called with the name of each point that is passed, on the thread that passes it."""
    global _strike
    _strike = strike


def run_test_hook(settings: Settings) -> None:
    """Calls the function "package.module:name" of the setting, if there is one. Raises ConfigError."""
    if not settings.test_hook:
        return
    module, _, name = settings.test_hook.partition(":")
    try:
        hook = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        raise ConfigError("BOTHWAYS_TEST_HOOK names no function.", code="BAD_SETTINGS") from None
    log.warning("a test hook is at work: never in production")
    hook()
