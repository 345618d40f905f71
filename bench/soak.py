"""Hours of mixed load on one server: python -m bench.soak [--minutes 60] [--dry] [-- options of caudal up]

Clients: nfsbench in all its modes over NFS 3, and a kernel client in user-mode Linux with NFS 4.2 that copies trees,
commits to git, fills SQLite databases and removes it all. In the first half the server is killed with -9 again and again,
once all of its processes at a time; the second half is left alone, and what the processes hold must not rise in it. At the
end fsck must be clean.

Needs root. Figures go into bench/results/soak-DATE.json and docs/performance-soak.md. The status is 1 if something rose, a
client failed while nobody killed anything, or fsck found something.
"""

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench import compare
from bench.record import machine, save
from bench.soak_page import render, verdicts
from tests.support import netns, uml
from tests.support.caudal import EXPORT, Caudal
from tests.support.processes import ROOT, wait_until
from tests.support.sampling import Sampler

MEMORY = ("--metadata-memory-bytes", "64MiB", "--l1-bytes", "64MiB", "--dirty-memory-bytes", "64MiB")
KILLS = 6
SAMPLE_S = 3.0
BENCH = (
    ("create", "files=2000", "fsize=4096", "depth=16"),
    ("stat", "files=2000", "depth=16", "secs=5"),
    ("readfiles", "files=2000", "fsize=4096", "depth=16", "secs=5", "verify=1"),
    ("unlink", "files=2000", "depth=16"),
    ("write", "size=64M", "bs=1M", "depth=8"),
    ("randread", "size=64M", "bs=4K", "depth=16", "secs=5", "verify=1"),
    ("randwrite", "size=64M", "bs=4K", "depth=16", "secs=5"),
    ("read", "size=64M", "bs=1M", "depth=8", "verify=1"),
)
KERNEL = r"""
set -eu
cd {point}
rm -rf work; mkdir work; cd work
cp -a /usr/include/linux first
cp -a first second
diff -r first second
git init -q repository; cd repository
cp -a ../first .
git -c user.name=T -c user.email=t@example.invalid -c core.fsync=all add -A
git -c user.name=T -c user.email=t@example.invalid commit -q -m One
git fsck --full --strict >/dev/null 2>&1
cd ..
sqlite3 data.db 'create table t(a integer primary key, b text);
with recursive n(i) as (select 1 union all select i+1 from n where i < 20000)
insert into t select i, hex(randomblob(40)) from n;
update t set b = b || a; pragma integrity_check;' | grep -qx ok
cd ..
rm -rf work
"""


class Load:
    """Clients that go on until they are told to stop; failures count only while nobody kills the server."""

    def __init__(self, server: Caudal) -> None:
        self.server = server
        self.rounds: Counter[str] = Counter()
        self.failures: list[str] = []
        self.ending = threading.Event()
        self._disturbances = 0
        self._disturbed = False

    def disturb(self, how: str) -> None:
        """Kills the server and brings it back."""
        self._disturbed, self._disturbances = True, self._disturbances + 1
        if how == "everything":
            self.server.kill_everything()
            time.sleep(1)
            self.server.start()
        else:
            self.server.wait_restarted(self.server.kill_server())
        self._disturbed = False

    def failed(self, what: str, disturbances: int) -> None:
        """What a client met with; of no interest where the server was killed under it."""
        if not self._disturbed and disturbances == self._disturbances:
            self.failures.append(f"{time.strftime('%H:%M:%S')} {what}")

    def nfsbench(self) -> None:
        directories = (f"soak{number}" for number in itertools.count())
        directory = next(directories)
        while not self.ending.is_set():
            for mode, *keys in BENCH:
                # A run that begins while the server is down counts as disturbed, whenever it ends.
                before = -1 if self._disturbed else self._disturbances
                command = [compare.binary(), self.server.url, mode, f"dir={directory}", "conns=2", *keys]
                try:
                    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
                except subprocess.TimeoutExpired:
                    self.failed(f"{mode} did not end", before)
                    continue
                if done.returncode:
                    self.failed(f"{mode}: {done.stderr[-300:]}", before)
                if done.returncode or before != self._disturbances:
                    # Some files of this round may be there and some not: the client does not send again what was written
                    # without a COMMIT before the server died, though the verifier of its COMMIT tells it to.
                    directory = next(directories)
                    time.sleep(1)
                    break
                self.rounds[mode] += 1
                if self.ending.is_set():
                    break

    def kernel(self, client: uml.Client, point: str) -> None:
        while not self.ending.is_set():
            # A mounted client waits for the server to come back: it has no excuse.
            done = client.start_command(KERNEL.replace("{point}", point)).wait(1500, check=False)
            self.rounds["kernel"] += 1
            if done.status:
                self.failures.append(f"kernel client: {done.output[-500:]}")


def soak(server: Caudal, client: uml.Client, minutes: float) -> dict[str, Any]:
    point = client.mount("4.2", server.nfs_port, EXPORT, mountd_port=server.mountd_port)
    load = Load(server)
    threads = [
        threading.Thread(target=load.nfsbench),
        threading.Thread(target=load.kernel, args=(client, point)),
    ]
    half_s = minutes * 30
    with Sampler(server, SAMPLE_S) as sampler:
        sampler.phase("killed now and then")
        for thread in threads:
            thread.start()
        for number in range(KILLS):
            time.sleep(half_s / KILLS)
            load.disturb("everything" if number == KILLS // 2 else "server")
            print(f"{sampler.at_s:.0f} s: killed, back; {dict(load.rounds)}", flush=True)
        began_s = sampler.at_s
        sampler.phase("left alone")
        while sampler.at_s < began_s + half_s:
            time.sleep(10)
        ended_s = sampler.at_s
        sampler.phase("ending")
        load.ending.set()
        for thread in threads:
            thread.join()
        client.run(f"cd /; umount {point}")
        server.flush()
        sampler.phase("idle")
        time.sleep(20)
    return {
        **sampler.record(),
        "half": [began_s, ended_s],
        "rounds": dict(load.rounds),
        "failures": load.failures,
        "namespace": server.status()["namespace"],
        "fsck": json.loads(server.cli("fsck", "--json", timeout_s=600)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--dry", action="store_true", help="print, record nothing")
    parser.add_argument("options", nargs="*", help="after --: options of `caudal up`")
    given = parser.parse_args()
    if not netns.enter():
        sys.exit("the server runs in a network of its own, which needs root")
    about = machine()
    directory = Path(tempfile.mkdtemp(prefix="caudal-soak.", dir=given.disk))
    server = Caudal(directory / "state", options=[*MEMORY, *given.options])
    try:
        server.start()
        with uml.Client() as client:
            found = soak(server, client, given.minutes)
        wait_until(lambda: server.pid("steward"), "the steward runs")
    finally:
        server.stop()
        netns.leave_nobody()
        shutil.rmtree(directory)
    lines, sound = verdicts(found)
    print("\n".join(lines))
    if not given.dry:
        memory = " ".join([*MEMORY, *given.options])
        path = save("soak", "bench.soak", about, memory=memory, minutes=given.minutes, found=found)
        render(path)
        print(f"recorded in {path.relative_to(ROOT)}")
    sys.exit(not sound)


if __name__ == "__main__":
    main()
