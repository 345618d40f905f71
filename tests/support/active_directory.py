"""An Active Directory of the test's own: Samba's domain controller, in the test run's network, with DNS, in a folder of the
test.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Final, Self

from tests.support.processes import Daemon, answers

REALM: Final = "CORP.EXAMPLE"
SHORT: Final = "CORP"
ADMINISTRATOR: Final = "Administrator"
PASSWORD: Final = "A-word-4-the-tests"
PROGRAMS: Final = ("samba", "samba-tool", "net", "winbindd", "smbd", "smbclient", "wbinfo", "kinit")
PORTS: Final = (53, 88, 135, 389, 445, 464)


class Directory:
    """The domain and its one controller, at an address of this side."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, address
        self._conf = folder / "etc/smb.conf"
        self._controller: Daemon | None = None

    def tool(self, *words: str) -> str:
        """samba-tool, at the controller's own files."""
        done = subprocess.run(["samba-tool", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"samba-tool {' '.join(words[:2])}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self) -> Self:
        run = self.folder / "run"
        run.mkdir(parents=True)
        options = {
            "interfaces": self.address,
            "bind interfaces only": "yes",
            "posix:eadb": self.folder / "eadb.tdb",
            "dns update command": "/bin/true",
            "dns forwarder": "",
            "log file": self.folder / "log",
        }
        for kind in (
            "pid directory",
            "ncalrpc dir",
            "ntp signd socket directory",
        ):
            options[kind] = run / kind.split()[0]
        self.tool(
            "domain",
            "provision",
            f"--realm={REALM}",
            f"--domain={SHORT}",
            "--server-role=dc",
            "--dns-backend=SAMBA_INTERNAL",
            "--host-name=dc1",
            f"--host-ip={self.address}",
            f"--adminpass={PASSWORD}",
            f"--targetdir={self.folder}",
            *(f"--option={name}={value}" for name, value in options.items()),
        )
        (run / "pid").mkdir(exist_ok=True)
        # Its winbindd is where the C library looks for one: in the test run's own /run.
        Path("/run/samba").mkdir(exist_ok=True)
        command = [
            "samba",
            f"--configfile={self._conf}",
            "--foreground",
            "--no-process-group",
            "--debug-stdout",
        ]
        self._controller = Daemon(command, self.folder / "out")
        self._controller.wait_ready(
            lambda: all(answers(port, self.address) for port in PORTS), "the domain controller answers", 60
        )
        return self

    def user(self, name: str, password: str) -> int:
        """Makes one; returns its RID."""
        self.tool("user", "create", name, password, f"--configfile={self._conf}")
        shown = self.tool("user", "show", name, "--attributes=objectSid", f"--configfile={self._conf}")
        found = re.search(r"^objectSid: S-1-5-21-[\d-]+-(\d+)$", shown, re.MULTILINE)
        assert found is not None, shown
        return int(found[1])

    def computers(self) -> set[str]:
        """The machines' accounts, as FILES$."""
        return set(self.tool("computer", "list", f"--configfile={self._conf}").split())

    def addresses(self, name: str) -> str:
        """What the domain's DNS says of a machine."""
        who = ["-U", f"{ADMINISTRATOR}%{PASSWORD}", f"--configfile={self._conf}"]
        words = ["samba-tool", "dns", "query", self.address, REALM.lower(), name, "A", *who]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or "does not exist" in done.stdout + done.stderr, done.stderr
        return done.stdout

    def unit(self, name: str) -> None:
        """Makes an organizational unit."""
        self.tool("ou", "create", f"OU={name}", f"--configfile={self._conf}")

    def krb5_conf(self) -> Path:
        """For clients on this side, which do not ask the domain's DNS."""
        file = self.folder / "client-krb5.conf"
        file.write_text(
            f"[libdefaults]\n default_realm = {REALM}\n dns_lookup_realm = false\n rdns = false\n"
            f" dns_canonicalize_hostname = false\n[realms]\n {REALM} = {{\n  kdc = {self.address}\n }}\n"
        )
        return file

    def ticket(self, user: str, password: str) -> Path:
        """A file with the user's ticket, from the controller."""
        file = self.folder / f"{user}-ticket"
        env = {**os.environ, "KRB5_CONFIG": str(self.krb5_conf())}
        words = ["kinit", "-c", str(file), f"{user}@{REALM}"]
        subprocess.run(words, env=env, input=password, text=True, check=True, capture_output=True)
        return file

    def log_tail(self) -> str:
        return self._controller.tail() if self._controller is not None else ""

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
