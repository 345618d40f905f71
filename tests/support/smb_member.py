"""The appliance's SMB service as a member of a domain, without an appliance: in a client of its own, smbd and winbindd with
the powers that their units have and the configuration that first boot writes, over its mount of a server under test.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Final, Protocol

from tests.support import uml
from tests.support.active_directory import REALM, SHORT, Directory
from tests.support.caudal import EXPORT, Caudal
from tests.support.processes import ROOT, answers, wait_until
from tests.support.smb_share import PORT, mount_options

UNITS: Final = ROOT / "appliance/files/caudal-appliance/usr/lib/systemd/system"
FIRST_ID: Final = 5_000_000
LOCAL_USER, LOCAL_UID, LOCAL_PASSWORD = "eve", 20001, "correct-horse"
NAME: Final = "FILES"
CONFIG: Final = """\
share = "data"
[domain]
realm = "{realm}"
first_id = {first_id}
last_id = 6000000
name = "{name}"
{more}
"""
# What first boot does with the operator's file.
FIRST_BOOT: Final = """
from pathlib import Path
from appliance.firstboot import smb, smb_files
from appliance.firstboot.host import Paths
paths = Paths(Path("{root}"))
member, notes = smb_files.write(paths, paths.state, smb.read(paths.smb_config))
print(*notes, sep="\\n")
"""


def powers(unit: str) -> str:
    """What setpriv takes to leave a program the capabilities of a unit."""
    text = (UNITS / unit).read_text()
    (names,) = re.findall(r"^CapabilityBoundingSet=(.*)$", text, re.MULTILINE)
    kept = "".join(f",+{name.removeprefix('CAP_').lower()}" for name in names.split())
    return f"setpriv --bounding-set=-all{kept} --no-new-privs"


class Machine:
    """A root file system of the appliance's own files, in memory of a running client."""

    def __init__(self, client: uml.Client, server: Caudal, name: str) -> None:
        self.client, self.server, self.name = client, server, name
        self.root = Path("/run", name)
        self._logs = client.work / name
        self._logs.mkdir()
        self.conf = self.root / "run/caudal/smb.conf"

    def boot(self, state_of: "Machine | None" = None, more: str = "", realm: str = REALM) -> str:
        """A new machine, with nothing but the operator's file and the state directory; returns first boot's notes."""
        folders = " ".join(
            str(self.root / each) for each in ("etc/caudal", "run/caudal", "srv/smb", "var/lib")
        )
        state = f"cp -a {state_of.root}/var/lib/caudal" if state_of else "mkdir"
        self.client.run(
            f"set -e\nmkdir -p {folders}\n{state} {self.root}/var/lib/caudal\n"
            "rm -rf /run/samba; mkdir -p /run/samba/ncalrpc /run/samba/cache\n"
            + "".join(
                f"mkdir -p {folder}; mount -t tmpfs none {folder}; "
                for folder in ("/var/lib/samba", "/var/cache/samba")
            )
            + f"\nmkdir -p /run/logs; mount -t nfs -o {mount_options(self.server.nfs_port)}"
            f" {self.client.server_address}:{EXPORT} {self.root}/srv/smb\nhostname {self.name}\n"
        )
        self.configure(more, realm)
        return self.first_boot()

    def configure(self, more: str = "", realm: str = REALM) -> None:
        """The operator's file."""
        text = CONFIG.format(realm=realm, first_id=FIRST_ID, name=NAME, more=more)
        self.client.run(f"cat > {self.root}/etc/caudal/smb.toml <<'END'\n{text}END\n")

    def first_boot(self) -> str:
        program = FIRST_BOOT.format(root=self.root)
        return self.client.run(f"cd {ROOT} && .venv/bin/python - <<'END'\n{program}END\n").output

    def join(self, *words: str, password: str = "") -> uml.Result:
        """caudal-smb-join."""
        command = f"cd {ROOT} && .venv/bin/python -m appliance.smb_join --root {self.root} {' '.join(words)}"
        return self.client.run(f"{command} <<'END'\n{password}\nEND\n", check=False, timeout_s=90)

    def blob(self, account: str, password: str) -> str:
        """What an administrator makes for the machine to join by: its account in the domain, and a file."""
        file = f"{self.root}/blob"
        self.client.run(
            f"cd {self.root}/run/caudal && KRB5_CONFIG=$PWD/krb5.conf PASSWD={password} net --configfile=smb-join.conf"
            f" offlinejoin provision domain={REALM.lower()} machine_name={NAME} savefile={file} -U {account}"
        )
        return file

    def serve(self, *, winbind: bool = True) -> None:
        """What the units start."""
        env = f"KRB5_CONFIG={self.root}/run/caudal/krb5.conf"
        programs = [("winbindd", "caudal-winbind.service")] if winbind else []
        for program, unit in (*programs, ("smbd", "caudal-smb.service")):
            self.client.run(
                f"{env} setsid {powers(unit)} {program} --foreground --no-process-group --configfile={self.conf}"
                f" --debug-stdout > {self._logs}/{program}.log 2>&1 < /dev/null &\necho $! > /run/{program}-of-test"
            )
            if program == "winbindd":
                self.client.run(
                    "for i in $(seq 100); do wbinfo -p > /dev/null 2>&1 && exit; sleep 0.2; done; exit 1"
                )
        wait_until(lambda: answers(PORT, self.client.address), "smbd answers", 60)

    def stop(self, *, for_good: bool = False) -> None:
        """Ends what `serve` started; for_good: and the mount."""
        self.client.run(
            "for each in /run/*-of-test; do pid=$(cat $each); kill $pid; rm $each\n"
            "for i in $(seq 100); do kill -0 $pid 2>/dev/null || break; sleep 0.1; done; done"
            + (f"\numount {self.root}/srv/smb" if for_good else "")
        )

    def logs(self) -> str:
        """The last that both said."""
        return "\n".join(file.read_text(errors="replace")[-3000:] for file in self._logs.glob("*.log"))


def local_user(client: uml.Client, machine: Machine) -> None:
    """A user of the machine alone, as caudal-smb-user makes them."""
    for name, line in (
        ("passwd", f"{LOCAL_USER}:x:{LOCAL_UID}:{LOCAL_UID}::/:/bin/false"),
        ("group", f"{LOCAL_USER}:x:{LOCAL_UID}:"),
    ):
        (client.work / name).write_text(f"{Path('/etc', name).read_text()}{line}\n")
        client.run(f"mount --bind {client.work}/{name} /etc/{name}")
    words = (
        f"printf '{LOCAL_PASSWORD}\\n{LOCAL_PASSWORD}\\n' | smbpasswd -c {machine.conf} -s -a {LOCAL_USER}"
    )
    client.run(words)


class Served(Protocol):
    """A machine that serves, and this side's folder for it."""

    @property
    def work(self) -> Path: ...
    @property
    def address(self) -> str: ...


def smbclient(
    client: Served, directory: Directory, user: str, command: str, ticket: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """A client on this side: DOMAIN\\name%password, or a ticket of Kerberos' alone."""
    conf = client.work / "smbclient.conf"
    own = client.work / "smbclient"
    own.mkdir(exist_ok=True)
    places = ("private dir", "state directory", "cache directory", "lock directory", "pid directory")
    lines = [
        "[global]",
        "client min protocol = SMB3",
        f"workgroup = {SHORT}",
        f"realm = {REALM}",
        "create krb5 conf = no",
    ]
    conf.write_text("\n".join([*lines, *(f"{place} = {own}" for place in places)]) + "\n")
    how = ["--use-kerberos=required"] if ticket else ["--use-kerberos=off", "-U", user]
    host = f"{NAME.lower()}.{REALM.lower()}"
    return subprocess.run(
        [
            "smbclient",
            f"--configfile={conf}",
            *how,
            "--client-protection=encrypt",
            "-I",
            client.address,
            f"//{host}/data",
            "-c",
            command,
        ],
        env={**os.environ, "KRB5_CONFIG": str(directory.krb5_conf()), "KRB5CCNAME": f"FILE:{ticket}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
