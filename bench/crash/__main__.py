"""The crash campaign: python -m bench.crash [--rounds 500] [--seed 1] [--minutes M] [--store directory|azurite] [--dry]

A real server with two journal mirrors, and client processes that write files whose contents say whose they are, rename,
link, truncate and remove them over NFS 3, 4.1 and 4.2. In each round it meets faults at random moments: kill -9, death at
a named step, a lost or damaged mirror, a store that is away, a slow disk. Afterwards each client compares everything that
is its own with what its log says. All that a round does is drawn from the seed and the round's number; how requests
interleave is not fixed.

After a failure the directory with the state, the logs of server and clients, and failure.txt stays. `--round K` plays
round K alone, on a new file system that --warm-up rounds filled before, --rounds times. Needs root. Figures go into
bench/results/crash-DATE.json and docs/reliability.md.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench.crash.campaign import Campaign, Round, as_record
from bench.crash.page import render, summary
from bench.crash.plan import STORES, Plan, draw
from bench.record import machine, save
from tests.support import netns
from tests.support.processes import ROOT


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0, help="end after this time, whatever is left")
    parser.add_argument("--store", choices=STORES, default="directory")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--round", type=int, help="play this round only")
    parser.add_argument("--warm-up", type=int, default=10, help="rounds before the one of --round")
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--dry", action="store_true", help="print, record nothing")
    return parser.parse_args()


def plans(given: argparse.Namespace) -> list[Plan]:
    if given.round is None:
        numbers = range(1, given.rounds + 1)
    else:
        numbers = [*range(1, given.warm_up + 1), *[given.round] * given.rounds]
    return [draw(given.seed, number, clients=given.clients, store=given.store) for number in numbers]


def play(campaign: Campaign, given: argparse.Namespace) -> list[Round]:
    done: list[Round] = []
    ends_s = time.monotonic() + given.minutes * 60 if given.minutes else None
    plan: Plan | None = None
    for plan in plans(given):
        if ends_s is not None and time.monotonic() > ends_s:
            break
        try:
            done.append(campaign.play(plan))
        except Exception as error:
            tell(campaign, plan, given, error)
            raise
        with (campaign.directory / "rounds.jsonl").open("a") as file:
            file.write(as_record(done[-1]) + "\n")
        one = done[-1]
        operations = sum(one.operations.values())
        print(
            f"round {one.number}: {one.took_s:.1f} s, {operations} operations, recovery {one.recovery_s} s, "
            f"{', '.join(one.faults) or 'nothing'}",
            flush=True,
        )
    if plan:
        campaign.everything_again(plan)
    return done


def tell(campaign: Campaign, plan: Plan, given: argparse.Namespace, error: Exception) -> None:
    """Leaves everything that is known of a failure in its directory."""
    again = f"python -m bench.crash --seed {given.seed} --store {given.store} --clients {given.clients}"
    lines = [
        f"seed {plan.seed}, round {plan.number} failed:",
        str(error),
        f"faults so far: {campaign.faults_so_far()}",
        f"plan: {plan}",
        f"again: {again} --rounds {plan.number}, or {again} --round {plan.number} --rounds 20",
        f"state and logs: {campaign.directory}",
    ]
    for process in campaign.processes:
        tail = process.log.read_text().splitlines()[-12:] if process.log.exists() else []
        lines += [f"--- {process.log.name}", *tail]
    text = "\n".join([*lines, campaign.server.log_tail()])
    (campaign.directory / "failure.txt").write_text(text + "\n")
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    given = options()
    if not netns.enter():
        sys.exit("the server runs in a network of its own, which needs root")
    # So that nothing stays behind where a time-out or a job's end stops it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    about = machine()
    directory = Path(tempfile.mkdtemp(prefix="caudal-crash.", dir=given.disk))
    began_s = time.monotonic()
    try:
        with Campaign(directory, clients=given.clients, store=given.store) as campaign:
            done = play(campaign, given)
    except AssertionError:
        sys.exit(1)  # told by then
    finally:
        netns.leave_nobody()
    found = summary(done, time.monotonic() - began_s)
    shutil.rmtree(directory)
    print(json.dumps(found, indent=1))
    if not given.dry:
        path = save(
            "crash",
            "bench.crash",
            about,
            seed=given.seed,
            store=given.store,
            clients=given.clients,
            found=found,
        )
        render()
        print(f"recorded in {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
