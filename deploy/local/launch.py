"""Become another program that cannot outlive the process which asked for it.

Run by path as `python -I -S launch.py SIGNAL PARENT_PID UID GID -- PROGRAM ARGUMENT...`; standard library only, imports
nothing of ours. It exists because `preexec_fn` is unsafe in a process with threads (and warns from Python 3.12 on).
UID and GID are -1 when the program runs as the caller.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Drop to the user, ask for the signal, and exec. The order matters: a change of user clears the signal."""
    death_signal, parent, uid, gid = (int(word) for word in argv[:4])
    program = argv[5:]
    libc = ctypes.CDLL(None, use_errno=True)
    if uid >= 0:
        os.setgroups([gid])
        os.setgid(gid)
        os.setuid(uid)
    if libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != parent:  # the parent died before the request, so no signal will come
        os._exit(1)
    os.execv(program[0], program)  # noqa: S606 - its whole purpose


if __name__ == "__main__":
    main(sys.argv[1:])
