"""A file under 100,000 random operations: python -m bench.fsx [--operations N] [--seeds N …] [--versions 3 4.2]

For each version and seed, tests/support/fsx.c runs in a kernel client against a server that flushes, compacts and evicts all
the time (tests/kernel/test_fsx.py in short). Nothing is recorded: it agrees, or prints what did not and ends with 1.
With --program another checker runs in the place of ours, with the file as its last argument and --arguments before it.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from gateway.control import ControlClient
from gateway.state import StateDir
from tests.support import netns, uml
from tests.support.caudal import EXPORT, Caudal
from tests.support.processes import ROOT, compiled

RESTLESS = (
    *(
        "--flush-age-s",
        "0.2",
        "--checkpoint-interval-s",
        "0.2",
        "--gc-interval-s",
        "0.3",
        "--gc-grace-s",
        "2",
    ),
    *("--pack-bytes", "1M", "--segment-bytes", "4M", "--l1-bytes", "16M", "--l2-bytes", "0"),
)
TIMEOUT_S = 3600


def run(client: uml.Client, directory: Path, version: str, command: Sequence[str]) -> bool:
    """One run on a server of its own; prints a line, and what the checker said. Whether it agreed."""
    server = Caudal(directory / f"state-{version}", options=RESTLESS)
    begin = time.monotonic()
    try:
        server.start()
        with client.mounted(version, server.nfs_port, EXPORT, mountd_port=server.mountd_port) as point:
            running = client.start_command(f"{' '.join(command)} {point}/file")
            with ControlClient(StateDir(server.state).control_socket, None) as control:
                while not running.done():
                    control.call("cache_drop")
                    time.sleep(0.05)
            result = running.wait(TIMEOUT_S, check=False)
            objects = server.status()["objects"]
        server.flush()
        server.cli("fsck", "--deep", timeout_s=300)
    finally:
        server.stop()
        shutil.rmtree(server.state)
    said = [line for line in result.output.splitlines() if not line.endswith(" done")]
    seconds = time.monotonic() - begin
    print(
        f"{version}: status {result.status}, {seconds:.0f} s, {objects['puts']} PUTs, {objects['gets']} GETs"
    )
    print("\n".join(f"  {line}" for line in said[-60:]), flush=True)
    return result.status == 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--versions", nargs="+", default=["3", "4.2"])
    parser.add_argument("--program", type=Path)
    parser.add_argument("--arguments", default="")
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp"), help="where the server keeps its data")
    given = parser.parse_args()
    if not netns.enter():
        sys.exit("the server and the client run in a network of their own, which needs root")
    directory = Path(tempfile.mkdtemp(prefix="caudal-fsx.", dir=given.disk))
    ours = str(compiled(ROOT / "tests/support/fsx.c", "fsx"))
    good = True
    try:
        with uml.Client() as client:
            for version in given.versions:
                for seed in given.seeds:
                    command = [ours, f"seed={seed}", f"operations={given.operations}"]
                    if given.program:
                        command = [str(given.program.resolve()), *given.arguments.split()]
                    good &= run(client, directory, version, command)
    finally:
        netns.leave_nobody()
        shutil.rmtree(directory)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
