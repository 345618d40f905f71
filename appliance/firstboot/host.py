"""What first boot does to the machine, behind one small interface."""

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from appliance.firstboot.disks import Disk, look, scan
from gateway.state import write_atomically

ADMIN_USER: Final = "caudal-admin"
_MKFS_TIMEOUT_S: Final = 300
_SYSTEMCTL_TIMEOUT_S: Final = 120
_RECOVER_TIMEOUT_S: Final = 24 * 3600


class HostError(Exception):
    """A command of the system failed; the message names it and holds its words."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where everything lies; tests have a root of their own."""

    root: Path = Path("/")

    @property
    def config(self) -> Path:
        return self.root / "etc/caudal/caudal.toml"

    @property
    def smb_config(self) -> Path:
        """There where SMB is wanted."""
        return self.root / "etc/caudal/smb.toml"

    @property
    def smb_effective(self) -> Path:
        return self.run / "smb.conf"

    @property
    def smb_join_conf(self) -> Path:
        """What `caudal-smb-join` has Samba's programs read: a domain before the machine is its member."""
        return self.run / "smb-join.conf"

    @property
    def smb_krb5_conf(self) -> Path:
        """Of Samba's programs."""
        return self.run / "krb5.conf"

    @property
    def domain_dns(self) -> Path:
        """There where the domain has DNS servers that the network does not name."""
        return self.root / "run/systemd/resolved.conf.d/caudal-domain.conf"

    @property
    def smb_mount(self) -> Path:
        return self.root / "srv/smb"

    @property
    def run(self) -> Path:
        """What this boot found out; gone with it."""
        return self.root / "run/caudal"

    @property
    def data(self) -> Path:
        """The data disks are mounted below."""
        return self.root / "srv/caudal"

    @property
    def state(self) -> Path:
        return self.root / "var/lib/caudal"

    @property
    def effective(self) -> Path:
        return self.run / "caudal.toml"

    @property
    def environment(self) -> Path:
        """What instance metadata says of the store's account, for the server; /etc/caudal/environment counts before it."""
        return self.run / "environment"

    @property
    def fresh_mirrors(self) -> Path:
        """Journals on disks that took the place of others, for `caudal-mirrors.service`."""
        return self.run / "fresh-mirrors"

    @property
    def admin_settings(self) -> Path:
        return self.run / "admin.json"

    @property
    def setup(self) -> Path:
        return self.run / "setup.json"

    @property
    def admin_run(self) -> Path:
        return self.root / "run/caudal-admin"

    @property
    def admin_log(self) -> Path:
        return self.root / "var/log/caudal-admin/admin.log"


class Host(Protocol):
    """The machine."""

    def disks(self) -> list[Disk]: ...

    def make_file_system(self, disk: Disk, label: str) -> None:
        """Only on a disk that is blank at this very moment; raises HostError else."""
        ...

    def mount(self, device: str, point: Path) -> None:
        """Harmless where it is mounted already."""
        ...

    def close(self, point: Path) -> None:
        """Until a disk is mounted there, nothing can be written to the directory. Harmless where it is closed already."""
        ...

    def bind(self, directory: Path, point: Path) -> None: ...

    def define_loopback(self, export: str, port: int, point: Path) -> None:
        """A mount of this machine's own export, made when a unit that needs it starts."""
        ...

    def give(self, path: Path, mode: int, *, owner: bool = False, group: bool = False) -> None:
        """Sets a mode; owner, group: to the admin service's user, else root's."""
        ...

    def recover(self, config: Path, store: str, state: Path, journals: Sequence[Path]) -> None:
        """`caudal recover`. Raises HostError with what it said."""
        ...

    def start(self, unit: str) -> None:
        """Asks for a unit to be started, and does not wait."""
        ...

    def restart_if_running(self, unit: str) -> None: ...

    def size_bytes(self, path: Path) -> int:
        """Size of the file system that is mounted at the path."""
        ...

    def memory_bytes(self) -> int: ...


class RealHost:
    """Mounts are units of the service manager, so that they hold for everybody and not only for this process, which is
    locked into a view of its own.
    """

    def __init__(self, env: Mapping[str, str], units: Path = Path("/run/systemd/system")) -> None:
        self._env = env
        self._units = units

    def disks(self) -> list[Disk]:
        number = Path("/").stat().st_dev
        return scan(Path("/sys"), f"{os.major(number)}:{os.minor(number)}", look)

    def make_file_system(self, disk: Disk, label: str) -> None:
        if not look(disk.device, disk.size_bytes).blank:
            raise HostError(f"{disk.device} is not blank any more: it stays as it is")
        # No blocks kept for root: everything here is root's. Inode tables are zeroed when they are used.
        # A blank disk has nothing to discard.
        options = ["-q", "-m", "0", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", "-L", label]
        _run(["mkfs.ext4", *options, disk.device], _MKFS_TIMEOUT_S)

    def mount(self, device: str, point: Path) -> None:
        check = f"systemd-fsck@{_escaped(device)}.service"
        self._mount_unit(
            point,
            f"[Unit]\nDescription=Data disk at {point}\nRequires={check}\nAfter={check}\n"
            f"[Mount]\nWhat={device}\nWhere={point}\nType=ext4\nOptions=noatime,nodev,nosuid,noexec\n",
        )

    def close(self, point: Path) -> None:
        self._mount_unit(
            point,
            f"[Unit]\nDescription=Place of the disk that is missing at {point}\n"
            f"[Mount]\nWhat=tmpfs\nWhere={point}\nType=tmpfs\nOptions=ro,size=4k,mode=0500,nodev,nosuid,noexec\n",
        )

    def bind(self, directory: Path, point: Path) -> None:
        self._mount_unit(
            point,
            f"[Unit]\nDescription=State directory\nRequiresMountsFor={directory}\n"
            f"[Mount]\nWhat={directory}\nWhere={point}\nType=none\nOptions=bind,nodev,nosuid,noexec\n",
        )

    def define_loopback(self, export: str, port: int, point: Path) -> None:
        # hard: the server comes again by itself. actimeo=0: what NFS clients change is seen at the next look. Both write and
        # read sizes bound what the kernel has under way towards a server that shares its memory.
        options = f"vers=4.2,proto=tcp,port={port},hard,actimeo=0,lookupcache=none,rsize=1048576,wsize=1048576,nodev,nosuid"
        self._define(
            point,
            "[Unit]\nDescription=The export, for the SMB service\nAfter=caudal.service\nWants=caudal.service\n"
            f"[Mount]\nWhat=127.0.0.1:{export}\nWhere={point}\nType=nfs\nOptions={options}\n",
        )

    def _define(self, point: Path, text: str) -> str:
        name = f"{_escaped(str(point))}.mount"
        file = self._units / name
        known = file.read_text() if file.exists() else ""
        if known != text:
            write_atomically(file, text.encode(), 0o644)
        # A new unit is found when it is asked for, also where another one names it already. To read all of them anew, with
        # what generators make, takes seconds on a small machine, and each boot defines several.
        if known and known != text:
            _run(["systemctl", "daemon-reload"], _SYSTEMCTL_TIMEOUT_S)
        return name

    def _mount_unit(self, point: Path, text: str) -> None:
        file = self._units / f"{_escaped(str(point))}.mount"
        if os.path.ismount(point) and file.exists() and file.read_text() != text:
            # Another disk than before, or the first after none.
            _run(["systemctl", "stop", file.name], _SYSTEMCTL_TIMEOUT_S)
        name = self._define(point, text)
        _run(["systemctl", "start", name], _SYSTEMCTL_TIMEOUT_S)
        # The mount reaches this process's own view of the tree a moment after it is made.
        for _ in range(100):
            if os.path.ismount(point):
                return
            time.sleep(0.05)
        raise HostError(f"{point} was mounted, and is not to be seen here")

    def give(self, path: Path, mode: int, *, owner: bool = False, group: bool = False) -> None:
        admin = pwd.getpwnam(ADMIN_USER)
        os.chown(path, admin.pw_uid if owner else 0, admin.pw_gid if group or owner else 0)
        path.chmod(mode)

    def recover(self, config: Path, store: str, state: Path, journals: Sequence[Path]) -> None:
        command = ["caudal", "recover", "--config", str(config), "--store", store, "--state", str(state)]
        for journal in journals:
            command += ["--journal", str(journal)]
        _run(command, _RECOVER_TIMEOUT_S, self._env)

    def start(self, unit: str) -> None:
        _run(["systemctl", "start", "--no-block", unit], _SYSTEMCTL_TIMEOUT_S)

    def restart_if_running(self, unit: str) -> None:
        _run(["systemctl", "try-restart", "--no-block", unit], _SYSTEMCTL_TIMEOUT_S)

    def size_bytes(self, path: Path) -> int:
        return shutil.disk_usage(path).total

    def memory_bytes(self) -> int:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _escaped(path: str) -> str:
    return _run(["systemd-escape", "--path", path], _SYSTEMCTL_TIMEOUT_S).strip()


def _run(command: Sequence[str], timeout_s: float, env: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env=None if env is None else dict(env),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{command[0]}: {error}") from error
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split())
        raise HostError(f"{' '.join(command[:3])} ended with {done.returncode}: {words[-600:]}")
    return done.stdout
