"""Kill -9 of the server under a client that sets and removes extended attributes: what was acknowledged is there."""

from collections.abc import Callable

import pytest

from tests.support import uml
from tests.support.caudal import EXPORT, Caudal
from tests.support.processes import wait_until

# Every tenth goes again, some are large, half of them on a file that is written to all the while.
WORK = r"""
import errno, os
with open("f", "w") as file:
    os.makedirs("d", exist_ok=True)
    number = 0
    while not os.path.exists("/run/enough-xattrs"):
        number += 1
        path = ("f", "d")[number % 2]
        os.setxattr(path, f"user.{number}", b"%d" % number * (1 if number % 25 else 3000))
        if number > 100:
            try:
                os.removexattr(path, f"user.{number - 100}")
            except OSError as error:
                # Asked for twice: the server died between the change and its answer.
                if error.errno != errno.ENODATA:
                    raise
        file.write("line\n")
        file.flush()
        print("acknowledged", number, flush=True)
for path in ("f", "d"):
    os.close(os.open(path, os.O_RDONLY))
print("last", number)
"""

CHECK = r"""
import os
last = int(os.environ["LAST"])
for path in ("f", "d"):
    found = {name: os.getxattr(path, name) for name in os.listxattr(path) if name.startswith("user.")}
    expected = {
        f"user.{number}": b"%d" % number * (1 if number % 25 else 3000)
        for number in range(max(1, last - 99), last + 1)
        if ("f", "d")[number % 2] == path
    }
    assert found == expected, (path, sorted(found), sorted(expected))
"""


@pytest.mark.timeout(240)
def test_acknowledged_attributes_survive(caudal: Callable[..., Caudal], client: uml.Client) -> None:
    server = caudal(options=("--flush-age-s", "0.3", "--checkpoint-interval-s", "0.3"))
    server.expect(r"killed|died|ended|restart|ganesha|steward|connection")
    server.start()
    point = client.mount("4.2", server.nfs_port, EXPORT, mountd_port=server.mountd_port)
    running = client.start_command(f"rm -f /run/enough-xattrs; cd {point}; python3 - <<'END'\n{WORK}\nEND")

    def acknowledged() -> int:
        return running.output().count("acknowledged")

    for everything in (False, True):
        before = acknowledged()
        wait_until(
            lambda before=before: acknowledged() > before + 130 or running.done(), "attributes are set", 90
        )
        assert not running.done(), running.output()
        if everything:
            server.kill_everything()
            server.start()
        else:
            server.wait_restarted(server.kill_server())
    before = acknowledged()
    wait_until(lambda: acknowledged() > before + 20 or running.done(), "the client goes on", 90)
    client.run("touch /run/enough-xattrs")
    last = running.wait(60).output.split()[-1]
    server.kill_everything()
    server.start()
    client.run(f"umount {point}")
    point = client.mount("4.2", server.nfs_port, EXPORT, mountd_port=server.mountd_port)
    client.run(f"cd {point}; LAST={last} python3 - <<'END'\n{CHECK}\nEND")
    client.run(f"umount {point}")
    server.fsck()
