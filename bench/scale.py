"""A tree of millions of files: python -m bench.scale [--inodes N] [--directory-files N] [--dry] [-- options of caudal up]

Fills a database (bench/fill.py), starts a server on it, and measures: how long a start takes for 10 thousand, a million and
all of the inodes; what ganesha.nfsd and the steward hold in memory while a client lists and stats everything, stats at
random, makes files in the largest directory and removes files from it; how long fsck takes and in how much memory.

Needs root, and about 250 bytes of disk an inode below --disk. Figures go into bench/results/scale-DATE.json and
docs/performance-scale.md. Nothing is asserted here.
"""

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.fill import FILES, Tree, fill, planned
from bench.record import machine, save
from bench.scale_page import render
from tests.support import netns
from tests.support.caudal import PROGRAM, Caudal
from tests.support.nfs3 import Nfs3
from tests.support.processes import ROOT
from tests.support.sampling import Sampler, held

SIZES = (10_000, 1_000_000)
MEMORY = ("--metadata-memory-bytes", "256MiB", "--l1-bytes", "64MiB", "--dirty-memory-bytes", "64MiB")
STARTS = 3
CALLS = 20_000
Figures = dict[str, Any]


def filled(directory: Path, tree: Tree, options: Iterable[str]) -> tuple[Caudal, Figures]:
    """A file system with the tree in it that is not served yet."""
    server = Caudal(directory, options=[*MEMORY, *options])
    server.start()
    server.stop()
    # Its first rows come from the journal into the database.
    server.fsck()
    database = directory / "metadata.db"
    began_s = time.monotonic()
    fill(database, tree)
    return server, {
        "inodes": tree.inodes,
        "fill_s": time.monotonic() - began_s,
        "database_mib": database.stat().st_size / (1 << 20),
    }


def starts(server: Caudal) -> Figures:
    """`caudal up` until NFS answers: after an orderly end, and after everything was killed."""
    found: dict[str, list[float]] = {"orderly_s": [], "killed_s": []}
    for _ in range(STARTS):
        for key, end in (("orderly_s", server.stop), ("killed_s", server.kill_everything)):
            began_s = time.monotonic()
            server.start()
            found[key].append(round(time.monotonic() - began_s, 3))
            end()
    return {key: statistics.median(values) for key, values in found.items()}


def timed(calls: Iterable[Callable[[], object]]) -> Figures:
    """Runs calls one after the other."""
    micros: list[float] = []
    began_s = time.monotonic()
    for call in calls:
        before = time.perf_counter()
        call()
        micros.append((time.perf_counter() - before) * 1e6)
    took_s = time.monotonic() - began_s
    micros.sort()
    return {
        "calls": len(micros),
        "per_s": len(micros) / took_s,
        "p50_us": micros[len(micros) // 2],
        "p99_us": micros[len(micros) * 99 // 100],
        "max_us": micros[-1],
    }


def walk(client: Nfs3, tree: Tree) -> Figures:
    """READDIRPLUS of everything: each entry comes with its attributes."""
    began_s = time.monotonic()
    found = len(client.readdir("/big"))
    big_s = time.monotonic() - began_s
    assert found == tree.big, f"/big lists {found} of {tree.big} files"
    for group in client.readdir("/tree"):
        path = f"/tree/{group.name.decode()}"
        for directory in client.readdir(path):
            found += len(client.readdir(f"{path}/{directory.name.decode()}"))
    took_s = time.monotonic() - began_s
    assert found == tree.big + tree.directories * FILES
    return {"calls": found, "per_s": found / took_s, "big_per_s": tree.big / big_s, "took_s": took_s}


def load(server: Caudal, tree: Tree, sampler: Sampler) -> Figures:
    rng = random.Random(1)
    found: Figures = {}

    def anywhere() -> str:
        if rng.randrange(2):
            return tree.big_file(rng.randrange(tree.big))
        return tree.small_file(rng.randrange(tree.directories), rng.randrange(FILES))

    with server.connect(timeout_s=120) as client:

        def look(path: str) -> Callable[[], object]:
            return lambda: client.stat(path)

        def make(number: int) -> Callable[[], None]:
            return lambda: client.mknod(f"/big/new{number:07d}", 0o010644)

        def gone(number: int) -> Callable[[], None]:
            path = tree.big_file(number) if number % 2 else f"/big/new{number:07d}"
            return lambda: client.unlink(path)

        sampler.phase("walk")
        found["walk"] = walk(client, tree)
        sampler.phase("stat")
        found["stat"] = timed(look(anywhere()) for _ in range(CALLS))
        sampler.phase("create")
        found["create"] = timed(make(number) for number in range(CALLS))
        sampler.phase("unlink")
        found["unlink"] = timed(gone(number) for number in range(min(CALLS, tree.big)))
        sampler.phase("walk again")
        found["walk again"] = {"calls": len(client.readdir("/big"))}
        began_s = time.monotonic()
        client.readdir("/big")
        found["walk again"]["per_s"] = found["walk again"]["calls"] / (time.monotonic() - began_s)
        sampler.phase("idle")
        time.sleep(20)
    return found


def checked(server: Caudal) -> Figures:
    """Fsck of the server that runs, and the most memory that it took."""
    began_s = time.monotonic()
    command = [str(PROGRAM), "fsck", "--json", "--state", str(server.state)]
    most = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            found = held("fsck", process.pid, 0.0)
            most = max(most, found.anonymous if found else 0.0)
            time.sleep(0.2)
        assert process.stdout
        said = process.stdout.read()
    assert process.returncode == 0, f"fsck: {said}"
    return {"took_s": time.monotonic() - began_s, "rss_mib": most, "inodes": json.loads(said)["inodes"]}


def measure(directory: Path, given: argparse.Namespace) -> Figures:
    found: Figures = {"starts": []}
    for inodes in [*(size for size in SIZES if size < given.inodes), given.inodes]:
        tree = planned(inodes, given.directory_files)
        place = directory / str(inodes)
        server, about = filled(place, tree, given.options)
        try:
            about |= starts(server)
            found["starts"].append(about)
            print(about, flush=True)
            if inodes == given.inodes:
                server.start()
                with Sampler(server) as sampler:
                    sampler.phase("start")
                    time.sleep(5)
                    found["load"] = load(server, tree, sampler)
                    print(found["load"], flush=True)
                    sampler.phase("fsck")
                    found["fsck"] = checked(server)
                    print(found["fsck"], flush=True)
                found |= {"held": sampler.record(), "namespace": server.status()["namespace"]}
        finally:
            server.stop()
            shutil.rmtree(place)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inodes", type=int, default=10_000_000)
    parser.add_argument("--directory-files", type=int, default=1_000_000)
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--dry", action="store_true", help="print, record nothing")
    parser.add_argument("options", nargs="*", help="after --: options of `caudal up`")
    given = parser.parse_args()
    if not netns.enter():
        sys.exit("the server runs in a network of its own, which needs root")
    assert PROGRAM.exists(), "run tools/setup first"
    about = machine()
    directory = Path(tempfile.mkdtemp(prefix="caudal-scale.", dir=given.disk))
    try:
        found = measure(directory, given)
    finally:
        netns.leave_nobody()
        shutil.rmtree(directory)
    if given.dry:
        return
    path = save("scale", "bench.scale", about, memory=" ".join([*MEMORY, *given.options]), found=found)
    render(path)
    print(f"recorded in {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
