"""Sees to it that nothing outlives a supervisor that was killed: `python -m deploy.local.guardian GRACE_S`.

The kernel's parent-death signal asks each child to end; one that hangs, and what it started itself, needs more. This
process reads the pids to watch from a pipe (`+PID` and `-PID` a line). The pipe ends when the supervisor does, however
it died; whatever is then still on the list is given that long and then killed, with all that is in its session.
"""

import signal
import sys
from collections.abc import Iterable

from deploy.local.process import process_row, process_rows, send_signal, wait_until


def main(lines: Iterable[str], grace_s: float) -> None:
    watched: dict[int, int] = {}  # pid -> when it was started, lest we signal a stranger with its number
    for line in lines:
        pid = int(line[1:])
        if line[0] == "-":
            watched.pop(pid, None)
        elif row := process_row(pid):
            watched[pid] = row.started
    if watched:
        end(watched, grace_s)


def end(watched: dict[int, int], grace_s: float) -> None:
    """TERM, wait, KILL: the watched processes and everyone in their sessions."""
    for pid in survivors(watched):
        send_signal(pid, signal.SIGTERM)
    if not wait_until(lambda: not survivors(watched), grace_s, poll_s=0.1):
        for pid in survivors(watched):
            send_signal(pid, signal.SIGKILL)


def survivors(watched: dict[int, int]) -> list[int]:
    """A session keeps its number from reuse as long as it has a member, so a member is never a stranger."""
    rows = process_rows()
    strangers = {row.pid for row in rows if row.pid in watched and row.started != watched[row.pid]}
    return [row.pid for row in rows if row.session in watched and row.session not in strangers]


if __name__ == "__main__":
    main(sys.stdin, float(sys.argv[1]))
