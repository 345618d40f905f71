"""The appliance's SMB share without an appliance: Samba with the configuration that first boot writes, in a client of its
own, over first boot's mount of a server under test. The program smbtorture asks it from this side.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from appliance.firstboot import smb
from appliance.firstboot.host import RealHost
from tests.support import uml
from tests.support.caudal import EXPORT, Caudal
from tests.support.processes import answers, wait_until

USER, PASSWORD, UID = "ada", "correct-horse", 20000
OTHER, OTHER_UID = "bob", 20001
MOUNT: Final = Path("/mnt/smb")
STATE: Final = Path("/run/state")
PORT: Final = 445
PROGRAMS: Final = ("smbd", "smbpasswd", "smbtorture")
SHARE: Final = "data"
_OUTCOME: Final = re.compile(r"^(success|failure|error|skip): (.+?)(?: \[)?$", re.MULTILINE)


class _Units(RealHost):
    """Tells what first boot would have the service manager mount."""

    options = ""

    def _define(self, point: Path, text: str) -> str:
        self.options = re.findall(r"^Options=(.+)$", text, re.MULTILINE)[0]
        return str(point)


def mount_options(port: int) -> str:
    """Those of the appliance's own mount."""
    units = _Units({})
    units.define_loopback(EXPORT, port, MOUNT)
    return units.options


def configuration() -> str:
    """The appliance's file."""
    return smb.configuration(smb.Smb(share=SHARE), MOUNT, STATE)


class Share:
    """The share, of a running client and server."""

    def __init__(self, client: uml.Client, server: Caudal) -> None:
        self.client, self.server = client, server
        self._work = client.work / "samba"
        self._work.mkdir()
        self._client_conf = self._work / "client.conf"

    def start(self) -> None:
        self._configure_client()
        conf = self._work / "smb.conf"
        conf.write_text(configuration())
        users = ((USER, UID), (OTHER, OTHER_UID))
        for name, text in (
            ("passwd", "".join(f"{user}:x:{uid}:{uid}::/:/bin/false\n" for user, uid in users)),
            ("group", "".join(f"{user}:x:{uid}:\n" for user, uid in users)),
        ):
            (self._work / name).write_text(Path("/etc", name).read_text() + text)
        own = ("/var/lib/samba", "/var/cache/samba", "/var/log/samba")
        self.client.run(
            "set -e\n"
            + "".join(f"mount --bind {self._work}/{name} /etc/{name}\n" for name in ("passwd", "group"))
            + "".join(f"mount -t tmpfs none {folder}\n" for folder in own)
            + f"mkdir -p {MOUNT} {STATE}/samba/private /run/samba/ncalrpc /run/samba/cache /var/log/samba/cores\n"
            f"mount -t nfs -o {mount_options(self.server.nfs_port)} {self.client.server_address}:{EXPORT} {MOUNT}\n"
            f"chown {UID}:{UID} {MOUNT}\n"
            + "".join(
                f"printf '{PASSWORD}\\n{PASSWORD}\\n' | smbpasswd -c {conf} -s -a {user}\n"
                for user, _ in users
            )
            + f"setsid smbd --foreground --no-process-group --configfile={conf} --debug-stdout"
            f" > {self._work}/smbd.log 2>&1 < /dev/null &\n"
        )
        wait_until(lambda: answers(PORT, self.client.address), "smbd answers", 60)

    def _configure_client(self) -> None:
        """Has smbtorture keep its files apart from the machine's."""
        folder = self._work / "client"
        folder.mkdir()
        places = ("private dir", "state directory", "cache directory", "lock directory", "pid directory")
        lines = ["[global]", "client min protocol = SMB3", *(f"{place} = {folder}" for place in places)]
        self._client_conf.write_text("\n".join(lines) + "\n")

    def torture(self, tests: Iterable[str], timeout_s: float) -> tuple[dict[str, str], str]:
        """Runs tests of smbtorture (smb2.…): what each came to (success, failure, error, skip), and all that was said.

        Ends them after the time; what they had not come to by then is missing.
        """
        program = shutil.which("smbtorture")
        assert program is not None
        options = [
            f"--configfile={self._client_conf}",
            "-U",
            f"{USER}%{PASSWORD}",
            "--client-protection=encrypt",
        ]
        output = self._work / "torture.log"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [program, *options, f"//{self.client.address}/{SHARE}", *tests],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        text = output.read_text(errors="replace")
        return {name: what for what, name in _OUTCOME.findall(text)}, text

    def ask(self, program: str, user: str, *arguments: str, check: bool = True) -> str:
        """What smbclient or smbcacls say when a user asks. check: an error is an AssertionError."""
        done = subprocess.run(
            [
                program,
                f"--configfile={self._client_conf}",
                "--client-protection=encrypt",
                "-U",
                f"{user}%{PASSWORD}",
                f"//{self.client.address}/{SHARE}",
                *arguments,
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = done.stdout + done.stderr
        assert not check or done.returncode == 0, f"{program} {arguments}: {said}\n{self.log_tail()}"
        return said

    def log_tail(self) -> str:
        """The last that Samba said."""
        return (self._work / "smbd.log").read_text(errors="replace")[-2000:]
