"""Many files and deep trees: python -m bench.many_files [--files N] [--steps small,write,…] [--versions 3 4.2]

    small   1,000 files of 4 KiB written together, flushed, read with everything cold
    write   N files of 4 KiB in two directories, by nfsbench; flushed
    list    `ls -l` of one of them (N / 2 files), with everything cold, then again
    find    `find` over all of them, cold
    remove  `rm -rf` of all of them, after a cold start
    deep    a tree of 1,000 levels made, walked cold and removed

Cold: the kernel client mounts anew and has dropped its caches, the server was restarted and its block cache is empty. Prints
a line a step: seconds, GETs and PUTs of the store, and what was aimed at.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import compare
from tests.support import netns, uml
from tests.support.caudal import EXPORT, Caudal

STEPS = ("small", "write", "list", "find", "remove", "deep")
CONNECTIONS = 2
LEVELS = 1000
TIMEOUT_S = 3600
DEEP = f"""
import os
for level in range({LEVELS}):
    os.mkdir("level")
    os.chdir("level")
open("bottom", "w").write("here")
"""


class Bench:
    """A server, a kernel client, and the steps between them."""

    def __init__(self, server: Caudal, client: uml.Client, version: str, files: int) -> None:
        self.server, self.client, self.version, self.files = server, client, version, files
        self._point: str | None = None

    def cold(self) -> str:
        """A fresh mount on a server that was just started; returns the mount point."""
        if self._point:
            self.client.run(f"umount {self._point}")
        if self.server.running():
            self.server.flush()
            self.server.cli("cache", "drop")
            self.server.stop()
        self.server.start()
        self.client.run("echo 3 >/proc/sys/vm/drop_caches")
        self._point = self.client.mount(
            self.version, self.server.nfs_port, EXPORT, mountd_port=self.server.mountd_port
        )
        return self._point

    def timed(self, what: str, work: Callable[[], object], aim: str = "") -> None:
        before = self.server.status()["objects"]
        begin = time.monotonic()
        work()
        seconds = time.monotonic() - begin
        after = self.server.status()["objects"]
        gets, puts = (after[key] - before[key] for key in ("gets", "puts"))
        print(f"{self.version:4} {what:44} {seconds:8.2f} s {gets:6} GETs {puts:6} PUTs   {aim}", flush=True)

    def shell(self, what: str, text: str, aim: str = "") -> None:
        self.timed(what, lambda: self.client.run(f"set -e; {text}", TIMEOUT_S), aim)

    def load(self, mode: str, files: int, directory: str) -> None:
        """Files in as many directories as there are connections."""
        each = [f"files={files // CONNECTIONS}", f"conns={CONNECTIONS}"]
        figures = compare.once(self.server.url, mode, each, directory)
        if figures["errors"]:
            sys.exit(f"{mode}: {figures['errors']} errors")

    def small(self) -> None:
        self.cold()
        self.timed("1,000 files written", lambda: self.load("create", 1000, "small"))
        self.timed("  flushed", self.server.flush)
        point = self.cold()
        self.shell("  read cold", f"cat {point}/small/c*/* | wc -c | grep -qx 4096000", "at most 60 GETs")

    def write(self) -> None:
        self.cold()

        def write() -> None:
            self.load("create", self.files, "many")
            self.server.flush()

        self.timed(f"{self.files:,} files written and flushed", write, f"at most {self.files // 200} PUTs")

    def list(self) -> None:
        point = self.cold()
        listing = f"ls -l {point}/many/c0 | wc -l | grep -qx {self.files // CONNECTIONS + 1}"
        self.shell(f"ls -l of {self.files // CONNECTIONS:,} files, cold", listing, "under 2 s")
        self.shell("  again", listing)
        self.shell("  the client's cache dropped", f"echo 3 >/proc/sys/vm/drop_caches; {listing}")

    def find(self) -> None:
        point = self.cold()
        counted = f"find {point}/many -type f | wc -l | grep -qx {self.files // CONNECTIONS * CONNECTIONS}"
        self.shell(f"find over {self.files:,} files, cold", counted)
        self.shell("find with attributes, warm", f"find {point}/many -type f -size 8 | wc -l")

    def remove(self) -> None:
        point = self.cold()
        self.shell(f"rm -rf of {self.files:,} files, cold", f"rm -rf {point}/many")

    def deep(self) -> None:
        point = self.cold()
        script = self.client.work / "deep.py"
        script.write_text(DEEP)
        self.shell(f"{LEVELS:,} levels made", f"mkdir {point}/deep; cd {point}/deep; python3 {script}")
        point = self.cold()
        self.shell("  walked cold", f"find {point}/deep | wc -l | grep -qx {LEVELS + 2}")
        self.shell("  removed", f"rm -rf {point}/deep; test ! -e {point}/deep")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--versions", nargs="+", default=["3", "4.2"])
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp"), help="where the server keeps its data")
    parser.add_argument("options", nargs="*", help="after --: options of `caudal up`")
    given = parser.parse_args()
    if not netns.enter():
        sys.exit("the server and the client run in a network of their own, which needs root")
    directory = Path(tempfile.mkdtemp(prefix="caudal-many.", dir=given.disk))
    try:
        for version in given.versions:
            server = Caudal(directory / f"state-{version}", options=given.options)
            try:
                with uml.Client(memory_mib=1024) as client:
                    bench = Bench(server, client, version, given.files)
                    for step in given.steps.split(","):
                        getattr(bench, step)()
            finally:
                server.stop()
    finally:
        netns.leave_nobody()
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
