"""make demo: a real kernel client copies a tree into Azure Blob Storage (the emulator) through Caudal, the server is killed,
everything is read back.

Azurite, Caudal and the client (Linux in user mode) run in a network of their own in temporary directories; nothing is
left behind. Needs root. Every step either holds or ends the demo with an error.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import compare
from tests.support import netns, uml
from tests.support.azurite import Azurite
from tests.support.caudal import EXPORT, Caudal

CONTAINER = "az://demo"
TREE = Path("/usr/lib/python3.11")
NEXT = """\
[bold]Next[/bold]
  make run                                  Caudal in the foreground on a directory of this machine
  .venv/bin/caudal up --help                every option; --store az://container needs AZURE_STORAGE_CONNECTION_STRING
  mount -t nfs -o vers=4.2 HOST:/data /mnt  from a client that --clients lets in
  .venv/bin/caudal status --state DIR       what it does; flush, cache drop, fsck beside it
  make test                                 every claim above, and many more, as tests"""
# A log has no width; a terminal knows its own.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 116)


@dataclass
class Story:
    """What was shown, as it happened."""

    started_s: float = field(default_factory=time.monotonic)
    rows: list[tuple[str, str, str]] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        """Announces a step, and notes how long it took and what its body appended."""
        console.print(f"[dim]{time.monotonic() - self.started_s:6.1f} s[/dim]  {title} …")
        notes: list[str] = []
        begun_s = time.monotonic()
        yield notes
        taken_s = time.monotonic() - begun_s
        self.rows.append((title, f"{taken_s:.1f} s", "; ".join(notes)))
        for note in notes:
            console.print(f"          [green]{note}[/green]")

    def show(self) -> None:
        table = Table(title="What was just shown", title_justify="left", show_lines=False)
        for heading in ("step", "took", "figures"):
            table.add_column(heading, justify="right" if heading == "took" else "left")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)


def size_of(tree: Path) -> tuple[int, int]:
    """(regular files, their bytes)."""
    sizes = [path.lstat().st_size for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
    return len(sizes), sum(sizes)


def mb(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"


def timed(client: uml.Client, command: str) -> float:
    """Seconds that a command took on the client."""
    begun_s = time.monotonic()
    client.run(command, timeout_s=300)
    return time.monotonic() - begun_s


def forget(client: uml.Client) -> None:
    """The client's own cache is dropped, so that what it reads comes from the server."""
    client.run("echo 3 >/proc/sys/vm/drop_caches")


class Demo:
    """The steps, in order; each uses what the ones before it left."""

    def __init__(self, server: Caudal, client: uml.Client, tree: Path) -> None:
        self.server, self.client, self.tree = server, client, tree
        self.files, self.bytes = size_of(tree)
        self.story = Story()
        self.point = ""

    def _compare(self) -> float:
        """Reads the whole copy on the client and compares it with the original; returns the seconds."""
        return timed(self.client, f"diff -r --no-dereference {self.tree} {self.point}/copy")

    def _rate(self, seconds: float) -> str:
        return f"{self.files:,} files, {mb(self.bytes)}, {self.bytes / 1e6 / seconds:,.1f} MB/s through user-mode Linux"

    def mount(self) -> None:
        with self.story.step("a real kernel NFS client boots and mounts") as notes:
            self.client.start()
            self.point = self.client.mount("4.2", self.server.nfs_port, EXPORT)
            notes.append(
                self.client.run(
                    f"uname -sr; grep ' {self.point} ' /proc/mounts | cut -d, -f1-3"
                ).output.replace("\n", "  ")
            )

    def copy_in(self) -> None:
        with self.story.step(f"cp -a {self.tree} (every file acknowledged by the journal)") as notes:
            seconds = timed(self.client, f"cp -a {self.tree} {self.point}/copy && sync")
            journal = self.server.status()["journal"]
            notes.append(self._rate(seconds))
            notes.append(
                f"{journal['commits']:,} group commits, p50 {journal['commit_us_p50'] / 1000:.2f} ms"
            )

    def read_warm(self) -> None:
        with self.story.step("read back and compared, from the server's cache") as notes:
            forget(self.client)
            before = self.server.status()
            notes.append(self._rate(self._compare()))
            notes.append(reads(before, self.server.status()))

    def crash(self) -> None:
        with self.story.step("kill -9 of every process of the server, while the client writes") as notes:
            # Each number is printed when its file is on stable storage, as far as the client was told.
            script = (
                f"mkdir {self.point}/crash; cd {self.point}/crash; for i in $(seq 400); do"
                " yes $i | head -c 20000 >$i; sync $i && echo acknowledged $i; [ -e /run/enough ] && break; done; true"
            )
            writing = self.client.start_command(script)
            uml.wait_until(lambda: writing.output().count("acknowledged") > 20, "the client writes", 60)
            self.server.kill_everything()
            acknowledged = writing.output().count("acknowledged")
            begun_s = time.monotonic()
            self.server.start()
            notes.append(
                f"killed after {acknowledged} acknowledged files; up again in {time.monotonic() - begun_s:.1f} s"
            )
            uml.wait_until(
                lambda: writing.output().count("acknowledged") > acknowledged, "the client goes on", 120
            )
            self.client.run("touch /run/enough")
            writing.wait(60)
            total = writing.output().count("acknowledged")
            check = f"cd {self.point}/crash; for i in $(seq {total}); do yes $i | head -c 20000 | cmp - $i || exit 1; done"
            forget(self.client)
            self.client.run(check, timeout_s=120)
            notes.append(
                f"the mounted client went on without an error; all {total} acknowledged files are right"
            )

    def read_after_crash(self) -> None:
        with self.story.step("the tree read back and compared after the crash") as notes:
            forget(self.client)
            notes.append(self._rate(self._compare()))

    def read_cold(self) -> None:
        with self.story.step("flushed, all caches dropped, read back from Blob storage") as notes:
            self.server.flush()
            stored = self.server.status()["objects"]
            self.server.cli("cache", "drop")
            forget(self.client)
            before = self.server.status()
            notes.append(self._rate(self._compare()))
            after = self.server.status()
            gets = after["objects"]["gets"] - before["objects"]["gets"]
            fetched = after["objects"]["get_bytes"] - before["objects"]["get_bytes"]
            notes.append(f"{gets:,} GETs, {mb(fetched)} for {self.files:,} files: small files share packs")
            notes.append(f"since the restart {stored['puts']:,} PUTs, {mb(stored['put_bytes'])}")

    def speed(self) -> None:
        with self.story.step("load generator on this side (NFS 3, 2 connections)") as notes:
            small = ["size=64M", "files=500", "secs=2"]
            for mode in ("write", "read", "randread", "create"):
                found = compare.once(self.server.url, mode, small, "load")
                key, unit = compare.unit(mode)
                notes.append(f"{mode} {found[key]:,.0f} {unit}, p99 {found['p99_us'] / 1000:.1f} ms")

    def check(self) -> None:
        with self.story.step("fsck") as notes:
            self.client.run(f"umount {self.point}")
            notes.append(" ".join(self.server.fsck().split()) or "clean")


def reads(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Hit rate of the block cache between two looks, and what went to the store."""
    hits, misses = (after["cache"]["l1"][key] - before["cache"]["l1"][key] for key in ("hits", "misses"))
    gets = after["objects"]["gets"] - before["objects"]["gets"]
    rate = (
        f"{100 * hits / (hits + misses):.1f} % of {hits + misses:,} block reads"
        if hits + misses
        else "all reads"
    )
    return f"{rate} from memory, {gets:,} GETs"


def run(tree: Path) -> None:
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="caudal-demo.", dir="/var/tmp"))
        stack.callback(shutil.rmtree, directory)
        stack.callback(netns.leave_nobody)
        demo_story = Story()
        with demo_story.step("Azurite and Caudal start") as notes:
            azurite = stack.enter_context(Azurite(directory / "azurite.log", directory / "blobs"))
            server = Caudal(directory / "state", store=CONTAINER, env=azurite.environment)
            stack.callback(server.stop)
            server.start()
            versions = ", ".join(server.status()["nfs"]["versions"])
            notes.append(f"{CONTAINER} over NFS {versions}, export {EXPORT}")
        client = uml.Client()
        stack.callback(client.close)
        demo = Demo(server, client, tree)
        demo.story = demo_story
        for step in (
            *(demo.mount, demo.copy_in, demo.read_warm, demo.crash),
            *(demo.read_after_crash, demo.read_cold, demo.speed, demo.check),
        ):
            step()
    demo.story.show()
    console.print(NEXT)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tree", type=Path, default=TREE, help="the directory to copy in")
    given = parser.parse_args()
    if not netns.enter():
        sys.exit("demo: server and client run in a network of their own, which needs root: sudo make demo")
    try:
        run(given.tree)
    except (AssertionError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        sys.exit(f"demo: {error}")


if __name__ == "__main__":
    main()
