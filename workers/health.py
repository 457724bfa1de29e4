"""`python -m workers.health QUEUE...`: exit code 0 while each ran its canary a short while ago. For health checks."""

from __future__ import annotations

import sys

from shared.bus import Bus, make_redis
from shared.errors import BothwaysError
from shared.services.health import work_health
from shared.settings import load_settings


def main(queues: list[str]) -> int:
    try:
        settings = load_settings()
        client = make_redis(settings)
        try:
            found = work_health(Bus(client, settings, worker="health"), settings)
        finally:
            client.close()
    except BothwaysError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        return 1
    stalled = [queue for queue in queues if queue in found.stalled]
    if stalled:
        sys.stderr.write(f"No task of {', '.join(stalled)} was run for {settings.stalled_s:g} s.\n")
    return 1 if stalled else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
