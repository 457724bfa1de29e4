"""A stack whose servers are real and whose processes do nothing: `python -m tests.local.dummies DATA_DIR [stubborn]`.

Each process starts one of its own, which ignores every signal that can be ignored.
"""

import logging
import sys
from pathlib import Path

from deploy.local.stack import Stack, StackOptions, up
from deploy.local.supervisor import Process, Spec

_PROGRAM = """
import signal, subprocess, sys, time
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", deaf])
signal.signal(signal.SIGTERM, {on_term})
time.sleep(600)
"""
POLITE = _PROGRAM.format(on_term="lambda number, frame: sys.exit(0)")
STUBBORN = _PROGRAM.format(on_term="signal.SIG_IGN")


def says_deaf(process: Process) -> bool:
    return "deaf" in process.output()


class DummyStack(Stack):
    program = POLITE

    def _migrate(self) -> None:
        """There is nothing to migrate."""

    def _specs(self) -> list[Spec]:
        argv = (sys.executable, "-c", self.program)
        return [self._spec(name, argv, says_deaf) for name in ("api", "worker-events", "beat")]


class StubbornStack(DummyStack):
    program = STUBBORN


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    options = StackOptions(data_dir=Path(sys.argv[1]), durable=False, flower=False, orphans_grace_s=1)
    kind = StubbornStack if "stubborn" in sys.argv else DummyStack
    sys.exit(up(options, say, kind))
