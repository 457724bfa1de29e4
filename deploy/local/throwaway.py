"""Run a command with servers that last as long as it does: `python -m deploy.local.throwaway COMMAND ARGUMENT...`.

DATABASE_URL and REDIS_URL are set for it; those that are set already are left alone and no server is started for them.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from deploy.local.postgres import PostgresServer
from deploy.local.process import LocalStackError
from deploy.local.valkey import ValkeyServer


def run(command: Sequence[str]) -> int:
    """The command's exit code."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bothways-")))
        env = dict(os.environ)
        if not env.get("DATABASE_URL"):
            postgres = PostgresServer.start(folder, durable=False)
            stack.callback(postgres.destroy)
            env["DATABASE_URL"] = postgres.url
        if not env.get("REDIS_URL"):
            valkey = ValkeyServer.start(folder, durable=False)
            stack.callback(valkey.destroy)
            env["REDIS_URL"] = valkey.url
        return subprocess.run(command, check=False, env=env).returncode  # noqa: S603 - what the caller asked for


if __name__ == "__main__":
    try:
        sys.exit(run(sys.argv[1:]))
    except LocalStackError as error:
        sys.exit(str(error))
