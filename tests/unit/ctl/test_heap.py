"""Memory goes back to the system after a burst."""

import subprocess
import sys

BURST = """
import ctypes, sys
from pathlib import Path
from gateway.fsal.heap import HeapTrimmer

def resident_mib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
before = resident_mib()
# Below the size that is mapped by itself; every hundredth stays, so that the heap cannot shrink from its end.
pieces = [libc.malloc(64 << 10) for _ in range(2000)]
for piece in pieces:
    ctypes.memset(piece, 1, 64 << 10)
for number, piece in enumerate(pieces):
    if number % 100 != 99:
        libc.free(piece)
kept = resident_mib() - before
trimmer = HeapTrimmer(interval_s=0.01)
trimmer.start()
for _ in range(500):
    if resident_mib() - before < 20:
        break
    libc.usleep(10_000)
trimmer.stop()
assert not trimmer._thread.is_alive()
print(kept, resident_mib() - before)
"""


def test_what_a_burst_left_goes_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BURST], capture_output=True, text=True, check=True, timeout=60
    )
    kept, left = map(float, done.stdout.split())
    assert kept > 80, "glibc gives memory back by itself now: the trimmer is not needed"
    assert left < 20
