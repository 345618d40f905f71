"""Simulated histories, as many as there is time for; each is decided by its seed alone (docs/development.md).

`--histories N --seed S` plays those of the seeds S to S + N - 1. One that fails is told with the steps that led to it, and
with the command that plays it again.
"""

import argparse
import os
import sys
import time

from tests.simulation.history import HistoryFailure, play
from tests.simulation.run import Sum, play_all, quiet

TOLD_STEPS = 60
TOLD_FAILURES = 5
PROGRESS_S = 10.0


def main() -> int:
    """1: a history failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=1, help="how many (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the first of them (0)")
    parser.add_argument("--trace", action="store_true", help="print every step; one history, in this process")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many at once")
    args = parser.parse_args()
    if args.histories < 1 or args.processes < 1:
        parser.error("--histories and --processes are at least 1")
    return (
        _trace(args.seed)
        if args.trace
        else _play(range(args.seed, args.seed + args.histories), args.processes)
    )


def _trace(seed: int) -> int:
    quiet()
    try:
        told = play(seed)
    except HistoryFailure as failure:
        print(*failure.trace, failure, sep="\n")
        return 1
    print(*told.trace, f"history {seed}: well, digest {told.digest:016x}", sep="\n")
    return 0


def _play(seeds: range, processes: int) -> int:
    total = Sum()
    began = said = time.monotonic()
    for some in play_all(seeds, processes):
        total.join(some)
        for seed, text, trace in some.failures:
            if len(total.failures) <= TOLD_FAILURES:
                print(
                    *trace[-TOLD_STEPS:],
                    text,
                    f"again: python -m bench.simulate --seed {seed} --trace",
                    sep="\n",
                )
        if time.monotonic() - said > PROGRESS_S:
            said = time.monotonic()
            print(
                f"{total.histories} of {len(seeds)}, {len(total.failures)} failed",
                file=sys.stderr,
                flush=True,
            )
    seconds = time.monotonic() - began
    print(
        f"{total.histories} histories from seed {seeds.start} in {seconds:.0f} s: {total.steps} steps, "
        f"{total.machine_steps} of the machine, {total.deaths} deaths, {total.starts} starts, "
        f"{total.lost_changes} unacknowledged changes lost; {len(total.failures)} failed"
    )
    for _, text, _ in total.failures:
        print(text)
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
