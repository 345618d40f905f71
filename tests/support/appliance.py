"""An appliance: the built image in user-mode Linux, with data disks of its own, on a tap device of the test's network.

The image stays as it is: writes go into a copy-on-write file beside it. What user data would bring (keys, network,
configuration) is laid into the root file system before systemd starts; kernel modules come from this machine.
"""

import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from tests.support import netns
from tests.support.processes import ROOT, Daemon, TimedOut, wait_until
from tests.support.uml import MODULES, PROGRAM, extended_state_library

IMAGE = ROOT / "dist/caudal.img"
BUSYBOX = Path("/bin/busybox")
MIB = 1 << 20
NFS_PORT = 2049
# Of user-mode Linux's management console: magic number, version of the protocol, and how much a message holds.
_CONSOLE = (0xCAFEBABE, 2, 512)
_INIT = f"""#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc none /proc
$b mount -t devtmpfs none /dev
$b mount -t ext4 -o rw /dev/ubda /new
m=/new/usr/lib/modules/$($b uname -r)
$b mkdir -p "$m"
$b mount -t hostfs -o "{MODULES}/$($b uname -r)" none "$m"
$b cp -a /seed/. /new/
$b umount /proc
exec $b switch_root /new /sbin/init
"""
_NETWORK = """[Match]
Name=vec0
[Network]
Address={address}/24
Gateway={gateway}
LinkLocalAddressing=no
IPv6AcceptRA=no
"""


class CommandFailed(AssertionError):
    """A command on the appliance ended with another status than 0."""


class Appliance:
    """One virtual machine. Disks are files that outlive it: attach and take them away between starts."""

    def __init__(self, directory: Path, *, image: Path = IMAGE, memory_mib: int = 1024) -> None:
        self.tap, subnet = netns.add_tap()
        self.gateway, self.address = f"{subnet}.1", f"{subnet}.2"
        self.work = directory
        self.image = image
        self.seed = directory / "seed"
        self.disks: list[Path] = []
        self._memory_mib = memory_mib
        self._machine: Daemon | None = None
        self._starts = 0
        self._powered_on_s = 0.0
        # The path of a socket is short.
        self._runtime = Path(tempfile.mkdtemp(prefix="appliance"))
        self._key = directory / "key"
        directory.mkdir(parents=True, exist_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._key], check=True)
        self.put("root/.ssh/authorized_keys", self._key.with_suffix(".pub").read_text(), 0o600)
        (self.seed / "root/.ssh").chmod(0o700)
        (self.seed / "root").chmod(0o700)
        self.put(
            "etc/systemd/network/10-test.network", _NETWORK.format(address=self.address, gateway=self.gateway)
        )
        # Its stages take a minute here, and there is no cloud: a test of its own boots with it.
        self.put("etc/cloud/cloud-init.disabled", "")

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file of the root file system from the next start on."""
        file = self.seed / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def new_disk(self, name: str, mib: int) -> Path:
        """A blank disk; not attached yet."""
        file = self.work / name
        with file.open("wb") as out:
            out.truncate(mib * MIB)
        return file

    # Power

    def start(self, timeout_s: float = 300) -> Self:
        """Power on; returns when ssh answers."""
        self.power_on()
        assert self._machine is not None
        self._machine.wait_ready(self.answers, "the appliance answers ssh", timeout_s)
        self._tell("ssh")
        return self

    def power_on(self) -> None:
        self._starts += 1
        drives = [f"ubd0={self.work / 'root.cow'},{self.image}"]
        drives += [f"ubd{number}={file}" for number, file in enumerate(self.disks, 1)]
        command = [PROGRAM, f"mem={self._memory_mib}M", f"initrd={self._initramfs()}", *drives]
        command += [f"uml_dir={self._runtime}", f"umid=m{self._starts}"]
        command += [
            f"vec0:transport=tap,ifname={self.tap},depth=128,gro=1",
            "con=null",
            "con0=null,fd:1",
            "ssl=null",
        ]
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
        environment = {"TMPDIR": memory, "LD_PRELOAD": str(extended_state_library())}
        self._powered_on_s = time.monotonic()
        self._machine = Daemon(command, self.work / f"console{self._starts}", env=environment)

    def attach(self, disk: Path) -> None:
        """A further disk, while the machine runs."""
        self.disks.append(disk)
        words = f"config ubd{len(self.disks)}={disk}".encode()
        magic, version, most = _CONSOLE
        request = struct.pack(f"=III{most}s", magic, version, len(words), words)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as console:
            console.bind(str(self._runtime / "asks"))
            console.settimeout(30)
            console.sendto(request, str(self._runtime / f"m{self._starts}/mconsole"))
            reply = console.recv(4096)
        (self._runtime / "asks").unlink()
        if struct.unpack_from("=I", reply)[0]:
            raise CommandFailed(f"the disk was not attached: {reply[12:].rstrip(bytes(1)).decode()}")

    def power_off(self) -> None:
        """The plug is pulled: nothing is written back any more."""
        if self._machine is not None:
            self._machine.kill()
            self._machine = None
        self._hang_up()

    def shut_down(self, timeout_s: float = 90) -> None:
        """In order; raises TimedOut where it hangs."""
        assert self._machine is not None
        self.ssh("systemctl poweroff --no-block", check=False)
        machine = self._machine
        wait_until(lambda: not machine.running(), "the appliance powers off", timeout_s, 0.1)
        self._machine = None
        self._hang_up()

    def reboot(self, timeout_s: float = 300) -> None:
        """In order."""
        self.shut_down()
        self.start(timeout_s)

    def replace_root(self, image: Path | None = None) -> None:
        """Another system disk, as an upgrade by image brings it; data disks stay. Between starts only."""
        (self.work / "root.cow").unlink(missing_ok=True)
        self.image = image or self.image

    def copy_in(self, file: Path, target: str) -> None:
        words = ["scp", *self.ssh_options, str(file), f"root@{self.address}:{target}"]
        subprocess.run(words, check=True, capture_output=True, timeout=120)

    def start_unit(self, name: str, words: str) -> None:
        """A program that goes on beside the test. words: options of systemd-run, program, arguments."""
        self.ssh(f"systemd-run --quiet --collect --unit={name} {words}")

    def setup(self) -> dict[str, Any]:
        """What first boot says."""
        return json.loads(self.ssh("cat /run/caudal/setup.json"))

    def status(self) -> dict[str, Any]:
        return json.loads(self.ssh("caudal status --json"))

    def _initramfs(self) -> Path:
        tree, archive = self.work / "initramfs", self.work / "initramfs.cpio"
        shutil.rmtree(tree, ignore_errors=True)
        for name in ("bin", "proc", "dev", "new"):
            (tree / name).mkdir(parents=True)
        shutil.copy(BUSYBOX, tree / "bin/busybox")
        shutil.copytree(self.seed, tree / "seed")
        (tree / "init").write_text(_INIT)
        (tree / "init").chmod(0o755)
        with archive.open("wb") as out:
            names = subprocess.run(["find", "."], cwd=tree, check=True, capture_output=True).stdout
            subprocess.run(
                ["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, check=True, input=names, stdout=out
            )
        return archive

    # From outside

    @property
    def ssh_options(self) -> list[str]:
        known = [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "BatchMode=yes",
            # Each sign-in costs the machine a second or two and starts a manager of units for the user: one serves all
            # commands until the machine goes off.
            "ControlMaster=auto",
            f"ControlPath={self._runtime}/ssh",
            "ControlPersist=yes",
            "ServerAliveInterval=10",
        ]
        return ["-i", str(self._key), *(word for option in known for word in ("-o", option))]

    def ssh(self, command: str, timeout_s: float = 60, *, check: bool = True) -> str:
        """Runs a shell command as root; returns its output. Raises CommandFailed where it fails and `check` is set."""
        words = ["ssh", *self.ssh_options, "-o", "ConnectTimeout=30", f"root@{self.address}", command]
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout_s, check=False)
        if check and done.returncode:
            raise CommandFailed(
                f"`{command}` ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
            )
        return done.stdout

    def _hang_up(self) -> None:
        """Ends the connection that commands share."""
        words = ["ssh", *self.ssh_options, "-O", "exit", f"root@{self.address}"]
        subprocess.run(words, capture_output=True, check=False, timeout=30)
        (self._runtime / "ssh").unlink(missing_ok=True)

    def _listens(self, port: int) -> bool:
        """Asked of the network, which costs the machine nothing while it boots."""
        try:
            with socket.create_connection((self.address, port), timeout=2):
                return True
        except OSError:
            return False

    def answers(self) -> bool:
        if not self._listens(22):
            return False
        try:
            return self.ssh("echo up", timeout_s=10, check=False).strip() == "up"
        except subprocess.TimeoutExpired:
            return False

    def wait_serving(self, timeout_s: float = 400) -> None:
        """Until files are served; where it does not come to that, the units' last words are in the error."""

        def active() -> bool:
            asked = "systemctl is-active caudal.service"
            return self._listens(NFS_PORT) and self.ssh(asked, check=False).strip() == "active"

        try:
            wait_until(active, "the appliance serves files", timeout_s, 0.5)
        except TimedOut as error:
            raise TimedOut(f"{error}\n{self.state_of_things()}") from None
        self._tell("serving files")

    def _tell(self, what: str) -> None:
        """A figure for who wants one (pytest -s, or -rP); nothing depends on it."""
        passed_s = time.monotonic() - self._powered_on_s
        disks = f"{len(self.disks)} data disks, load {os.getloadavg()[0]:.0f}"
        print(f"\nappliance: {passed_s:.0f} s from power on to {what} (start {self._starts}, {disks})")

    def state_of_things(self) -> str:
        """For messages of failed tests."""
        return self.ssh(
            "cat /run/caudal/setup.json; systemctl --no-pager --failed; systemctl --no-pager list-jobs;"
            "journalctl --no-pager -b -n 60 -u caudal-firstboot -u caudal -u caudal-admin -u caudal-first-token;"
            "tail -n 20 /var/lib/caudal/run/log/*",
            check=False,
        )[-6000:]

    def console(self) -> str:
        return self._machine.tail(60) if self._machine else ""

    def close(self) -> None:
        self.power_off()
        shutil.rmtree(self._runtime, ignore_errors=True)
