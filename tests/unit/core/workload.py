"""A seeded list of operations on three files: a model in memory, and a process that runs them on a core until it dies.

Run as `python -m tests.unit.core.workload DIRECTORY SEED`, it prints the number of each operation that is durable.
"""

import random
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.unit.core.harness import MIB, Files

INODES = (10, 11, 12)
OPERATIONS = 200
SPACE = 300_000

Operation = tuple[str, int, int, int]
"""Name, inode, offset or size, length or fill."""


def operations(seed: int) -> Iterator[Operation]:
    rng = random.Random(seed)
    for _ in range(OPERATIONS):
        name = rng.choices(
            ["write", "truncate", "punch", "allocate", "commit", "flush", "checkpoint"],
            [10, 2, 2, 1, 4, 2, 1],
        )[0]
        yield name, rng.choice(INODES), rng.randrange(SPACE), rng.randrange(1, 40_000)


class Model:
    """What the files hold after so many operations, from what they held before."""

    def __init__(self, before: Mapping[int, bytes]) -> None:
        self.files = {inode: bytearray(before.get(inode, b"")) for inode in INODES}

    def apply(self, operation: Operation, number: int) -> None:
        name, inode, offset, length = operation
        data = self.files[inode]
        if name == "write":
            data.extend(bytes(max(0, offset + length - len(data))))
            data[offset : offset + length] = contents(number, length)
        elif name == "truncate":
            del data[offset:]
            data.extend(bytes(offset - len(data)))
        elif name == "punch":
            end = min(len(data), offset + length)
            if offset < end:
                data[offset:end] = bytes(end - offset)
        elif name == "allocate":
            data.extend(bytes(max(0, offset + length - len(data))))


def contents(number: int, length: int) -> bytes:
    return bytes([number % 255 + 1]) * length


def run(files: Files, seed: int) -> None:
    for inode in INODES:
        if inode in files.rows:
            files.load(inode)
        else:
            files.create(inode)
    print("ready", flush=True)
    for number, (name, inode, offset, length) in enumerate(operations(seed)):
        core = files.core
        if name == "write":
            core.write(inode, offset, contents(number, length))
        elif name == "truncate":
            core.set_data_attributes(inode, size=offset, ctime_ns=number)
        elif name == "punch":
            core.deallocate(inode, offset, length)
            print(number, flush=True)
        elif name == "allocate":
            core.allocate(inode, offset, length)
            print(number, flush=True)
        elif name == "commit":
            core.wait_durable(core.last_lsn)
            print(number, flush=True)
        elif name == "flush":
            files.flush(inodes=None if offset % 2 else [inode], max_bytes=50_000 if offset % 3 else MIB)
        else:
            files.flush()
            files.checkpoint()


if __name__ == "__main__":
    run(Files(Path(sys.argv[1]), segment_bytes=MIB // 4), int(sys.argv[2]))
