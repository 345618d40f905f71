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
from gateway import smb_shares
from gateway.state import StateDir
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


def configuration(encrypt: str = "required", shares: Path = STATE / "samba/shares.conf") -> str:
    """The appliance's file. shares: where the server under test keeps the others."""
    text = smb.configuration(smb.Smb(share=SHARE, encrypt=encrypt), MOUNT, STATE)
    return text.replace(f"include = {STATE}/samba/shares.conf", f"include = {shares}")


class Share:
    """The share, of a running client and server."""

    def __init__(self, client: uml.Client, server: Caudal) -> None:
        self.client, self.server = client, server
        self._work = client.work / "samba"
        self._work.mkdir()
        self._client_conf = self._work / "client.conf"

    @property
    def conf(self) -> Path:
        return self._work / "smb.conf"

    def configure(self, encrypt: str = "required") -> None:
        """Writes Samba's file; who runs takes it over by `smbcontrol`."""
        shares = smb_shares.conf_file(StateDir(self.server.state))
        self.conf.write_text(configuration(encrypt, shares))

    def start(self) -> None:
        self._configure_client()
        self.configure()
        users = ((USER, UID), (OTHER, OTHER_UID))
        for name, line in (("passwd", "{0}:x:{1}:{1}::/:/bin/false"), ("group", "{0}:x:{1}:")):
            lines = "".join(line.format(*user) + "\n" for user in users)
            (self._work / name).write_text(Path("/etc", name).read_text() + lines)
        own = ("/var/lib/samba", "/var/cache/samba", "/var/log/samba")
        self.client.run(
            "set -e\n"
            + "".join(f"mount --bind {self._work}/{name} /etc/{name}\n" for name in ("passwd", "group"))
            + "".join(f"mount -t tmpfs none {folder}\n" for folder in own)
            + f"mkdir -p {MOUNT} {STATE}/samba/private /run/samba/ncalrpc /run/samba/cache /var/log/samba/cores\n"
            + self._mount_command()
            + f"chown {UID}:{UID} {MOUNT}\n"
            + "".join(
                f"printf '{PASSWORD}\\n{PASSWORD}\\n' | smbpasswd -c {self.conf} -s -a {name}\n"
                for name, _ in users
            )
        )
        self.serve()

    def _mount_command(self) -> str:
        options = mount_options(self.server.nfs_port)
        return f"mount -t nfs -o {options} {self.client.server_address}:{EXPORT} {MOUNT}\n"

    def serve(self) -> None:
        """Starts Samba."""
        self.client.run(
            f"setsid smbd --foreground --no-process-group --configfile={self.conf} --debug-stdout"
            f" >> {self._work}/smbd.log 2>&1 < /dev/null &\n"
        )
        wait_until(lambda: answers(PORT, self.client.address), "smbd answers", 60)

    def mount_anew(self) -> None:
        """Ends Samba, unmounts, mounts and starts it again."""
        self.client.run(
            f"set -e; smbd=$(cat {smb.RUN}/smbd.pid); kill $smbd; while kill -0 $smbd; do sleep 0.05; done 2>/dev/null\n"
            f"for try in $(seq 100); do umount {MOUNT} 2>/dev/null && break; sleep 0.1; done\n"
            f"! mountpoint -q {MOUNT}\n" + self._mount_command()
        )
        self.serve()

    def smbclient(self, share: str, *options: str, user: str = USER) -> list[str]:
        """The words that have smbclient sign in to a share; encrypted, where `options` say nothing else."""
        program = shutil.which("smbclient")
        assert program is not None
        if not any(option.startswith("--client-protection") for option in options):
            options = ("--client-protection=encrypt", *options)
        words = [program, f"--configfile={self._client_conf}", "-U", f"{user}%{PASSWORD}", *options]
        return [*words, f"//{self.client.address}/{share}"]

    def ask(self, share: str, command: str, *options: str, user: str = USER) -> tuple[bool, str]:
        """Whether smbclient does a command without an error, and what it says."""
        words = [*self.smbclient(share, *options, user=user), "-c", command]
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
        )
        said = done.stdout + done.stderr
        return done.returncode == 0 and "NT_STATUS" not in said, said

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

    def as_user(self, program: str, user: str, *arguments: str, check: bool = True) -> str:
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
