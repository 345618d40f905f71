"""Two kernel clients in one directory tree, both changing it at once."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kernel.conftest import mount
from tests.support import uml
from tests.support.caudal import Caudal
from tests.support.processes import wait_until

# Each makes, renames, appends to and removes files of its own in directories that both use, and renames files across
# them; every name that is left, and every length, follows from the numbers.
WORKER = """
import os, sys
top, name = sys.argv[1:]
for number in range(120):
    here, there = f"{top}/d{number % 4}", f"{top}/d{(number + 1) % 4}"
    path = f"{here}/{name}-{number}"
    with open(path, "x") as file:
        file.write(f"{name} {number}\\n")
    if number % 3 == 0:
        os.rename(path, f"{there}/{name}-{number}-moved")
    elif number % 3 == 1:
        os.unlink(path)
    else:
        with open(path, "a") as file:
            file.write("more\\n")
    if number % 20 == 0:
        os.mkdir(f"{top}/{name}-dir-{number}")
        os.rename(f"{top}/{name}-dir-{number}", f"{here}/{name}-sub-{number}")
    if number % 3 == 2 and number % 2:
        os.replace(path, f"{top}/both")
    listed = os.listdir(here)  # whatever the other does meanwhile, a name is listed once
    assert len(listed) == len(set(listed)), listed
"""
# Under a lock each sees all that the other did: O_APPEND goes to the end that is, a counter in a mapping counts on.
LOCKED = """
import fcntl, mmap, os, sys
top, name = sys.argv[1:]
log = os.open(f"{top}/log", os.O_RDWR | os.O_APPEND)
pages = os.open(f"{top}/pages", os.O_RDWR)
view = mmap.mmap(pages, 1 << 20)
for number in range(40):
    fcntl.lockf(log, fcntl.LOCK_EX)
    fcntl.lockf(pages, fcntl.LOCK_EX)
    os.write(log, f"{name} {number:02} {'x' * (number * 7 % 300)}\\n".encode())
    for at in (0, 5000, (1 << 20) - 4):
        view[at : at + 4] = (int.from_bytes(view[at : at + 4], "big") + 1).to_bytes(4, "big")
    view.flush()
    fcntl.lockf(pages, fcntl.LOCK_UN)
    fcntl.lockf(log, fcntl.LOCK_UN)
"""


@dataclass(frozen=True)
class Pair:
    """Two clients at one directory: `here` and `there` are its paths on them."""

    first: uml.Client
    second: uml.Client
    here: str
    there: str

    def both(self, script: Path) -> None:
        """Runs a Python script on both at once; its arguments are the directory and the client's name."""
        running = [
            client.start_command(f"python3 {script} {top} {name}")
            for client, top, name in ((self.first, self.here, "a"), (self.second, self.there, "b"))
        ]
        for command in running:
            command.wait(180)


@pytest.fixture(params=uml.DISTINCT)
def pair(
    client: uml.Client, second: uml.Client, shared: Caudal, request: pytest.FixtureRequest
) -> Iterator[Pair]:
    version = str(request.param)
    here, there = mount(client, shared, version), mount(second, shared, version)
    name = f"{request.node.originalname}-{version}"
    client.run(f"mkdir {here}/{name}")
    yield Pair(client, second, f"{here}/{name}", f"{there}/{name}")
    client.run(f"umount {here}")
    second.run(f"umount {there}")


def script(directory: Path, text: str) -> Path:
    path = directory / "script.py"
    path.write_text(text)
    return path


def test_both_change_a_tree(pair: Pair, tmp_path: Path) -> None:
    pair.first.run(f"cd {pair.here} && mkdir d0 d1 d2 d3")
    worker = script(tmp_path, WORKER)
    pair.both(worker)
    # What a local file system holds after the same, one after the other, is what both clients see.
    local = tmp_path / "local"
    for number in range(4):
        (local / f"d{number}").mkdir(parents=True)
    for name in "ab":
        subprocess.run([sys.executable, worker, local, name], check=True)
    listing = "find . ! -name both -printf '%y %P\\n' -type f -exec cat {} + | sort"
    expected = subprocess.run(["bash", "-c", listing], cwd=local, check=True, capture_output=True, text=True)
    assert len(expected.stdout.splitlines()) > 200
    for client, top in ((pair.first, pair.here), (pair.second, pair.there)):
        client.run("echo 3 >/proc/sys/vm/drop_caches")
        assert client.run(f"cd {top} && {listing}").output == expected.stdout
        assert client.run(f"cat {top}/both").output in {"a 119\nmore\n", "b 119\nmore\n"}
    pair.second.run(f"rm -r {pair.there}/*")
    assert not pair.first.run(f"ls -A {pair.here}").output


def test_appends_and_mapped_writes_under_a_lock(pair: Pair, tmp_path: Path) -> None:
    pair.first.run(f"cd {pair.here} && touch log && truncate -s 1M pages")
    pair.both(script(tmp_path, LOCKED))
    lines = pair.first.run(f"cat {pair.here}/log").output.splitlines()
    wanted = [f"{name} {number:02} {'x' * (number * 7 % 300)}" for name in "ab" for number in range(40)]
    assert sorted(lines) == sorted(wanted)
    for at in (0, 5000, (1 << 20) - 4):
        counter = f"od -An -tu1 -j{at} -N4"
        for client, top in ((pair.first, pair.here), (pair.second, pair.there)):
            assert client.run(f"{counter} {top}/pages").output.split() == ["0", "0", "0", "80"]


def test_appends_in_turn(pair: Pair) -> None:
    """Close-to-open: whoever opens a file for appending knows the length that the last who closed it left."""
    for number in range(6):
        client, top = (pair.first, pair.here) if number % 2 else (pair.second, pair.there)
        client.run(f"echo line {number} >>{top}/log; head -c 5000 /dev/zero >>{top}/zeros")
        other, its_top = (pair.second, pair.there) if number % 2 else (pair.first, pair.here)
        assert other.run(f"tail -n 1 {its_top}/log; wc -c <{its_top}/zeros").output == (
            f"line {number}\n{5000 * (number + 1)}\n"
        )
    assert pair.first.run(f"wc -l <{pair.here}/log").output == "6\n"


def test_a_file_that_the_other_removes_or_replaces(pair: Pair) -> None:
    """Whoever has it open reads on: over 4.2 the server keeps it. Over 3 only a replaced name shows, and ESTALE."""
    pair.first.run(f"cd {pair.here} && echo old >f && echo old >g")
    wait = "until test -e go; do sleep 0.1; ls >/dev/null; done"
    holder = pair.first.start_command(
        f"cd {pair.here}; exec 5<f 6<g; echo open; {wait}; cat <&5; cat <&6; cat g"
    )
    wait_until(lambda: "open" in holder.output(), "the first client has them open")
    pair.second.run(f"cd {pair.there} && rm f && echo new >h && mv h g && touch go")
    said = holder.wait(check=False).output.splitlines()
    assert said[0] == "open"
    assert said[-1] == "new"
    if "4.2" in pair.here:
        assert said[1:-1] == ["old", "old"]
    else:
        assert len(said) == 4
        assert all(line == "old" or "Stale file handle" in line for line in said[1:-1])
