"""`python -m tests.simulation --seconds 60 --seed 7`: histories from that seed on, and how many a minute."""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import time

from tests.simulation.faults import OPEN, Flaw, Mutant
from tests.simulation.histories import Ended, Theme, play


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="the first one; each history takes the next")
    parser.add_argument("--histories", type=int, default=0, help="end after so many (0: when the time is over)")
    parser.add_argument("--mutant", choices=[one.value for one in Mutant], help="leave one promise out")
    parser.add_argument("--theme", choices=[one.value for one in Theme], help="of all histories (else the seed's)")
    flaws = [one.value for one in Flaw]
    parser.add_argument("--dare", choices=flaws, action="append", default=[], help="do what is known to go wrong")
    parser.add_argument("--go-on", action="store_true", help="do not stop at the first that fails")
    parser.add_argument("--lines", type=int, default=80, help="of the trace of one that fails (0: all)")
    args = parser.parse_args()
    logging.disable()  # each fault would be told of
    mutant = Mutant(args.mutant) if args.mutant else None
    theme = Theme(args.theme) if args.theme else None

    def one(seed: int, *, traced: bool = False) -> Ended:
        return play(seed, theme=theme, mutant=mutant, avoid=OPEN - {Flaw(name) for name in args.dare}, traced=traced)

    began, cpu, done, steps, failed = time.monotonic(), time.process_time(), 0, 0, 0
    for seed in itertools.count(args.seed):
        ended = one(seed)
        done, steps = done + 1, steps + ended.steps
        if ended.breaches:
            failed += 1
            print(ended)
            if not args.go_on:
                lines = one(seed, traced=True).trace
                print("\n".join(lines[-args.lines :]))
                break
        if time.monotonic() - began > args.seconds or done == args.histories:
            break
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    print(
        f"{done} histories, seeds {args.seed} to {args.seed + done - 1}, {steps} steps, {failed} failed; "
        f"{done / took * 60:.0f} a minute ({done / cpu * 60:.0f} a minute of one core)"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
