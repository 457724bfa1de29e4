"""`python -m api`: the API server on one port."""

from __future__ import annotations

import sys

import uvicorn

from api.app import create_app
from shared.errors import BothwaysError
from shared.observability import configure_logging
from shared.settings import load_settings


def main() -> int:
    configure_logging()
    try:
        settings = load_settings()
        app = create_app(settings)
    except BothwaysError as error:
        print(f"{error.code}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    # uvloop accepts one connection a turn of its loop, so that new senders wait behind all that are connected.
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
