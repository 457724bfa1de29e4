"""A worker process without Celery: takes whatever lies on any lane, and any run, until it is killed or its input ends.

`python -m tests.integration.hand`, with the settings in the environment. It looks by itself, many times a second, so
that many of them want the same thing at once. Says "ready" first.
"""

from __future__ import annotations

import sys
import threading
import time

from shared.engine import housekeeping
from shared.points import run_test_hook
from shared.settings import load_settings
from tests.integration.world import opened

LOOK_S = 0.05


def main() -> None:
    ends = threading.Event()
    threading.Thread(target=_until_told, args=(ends,), daemon=True).start()
    settings = load_settings()
    run_test_hook(settings)
    with opened(settings, threads=3, beat=False) as office:
        print("ready", flush=True)
        while not ends.is_set():
            housekeeping.tick(office.ports)
            time.sleep(LOOK_S)


def _until_told(ends: threading.Event) -> None:
    sys.stdin.read()
    ends.set()


if __name__ == "__main__":
    main()
