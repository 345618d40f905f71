"""A network of one's own: this process and all that it starts, apart from the machine's network, /run and /var/lib/nfs.

Servers under test listen on their usual ports, rpcbind has its socket and lock in /run, and the clients in user-mode
Linux hang on tap devices: nothing of it touches the machine's network, and two test runs do not meet.
"""

import ctypes
import os
import signal
import subprocess
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
FIRST_SUBNET = 77
_entered = False
_taps = 0


def enter() -> bool:
    """Moves this process into a new network and mount namespace, once: the thread that asks, and those it starts later.

    Returns False without root: then the machine's own network is used, and tests that need servers say so.
    """
    global _entered  # noqa: PLW0603 - namespaces belong to the process, as this flag does
    if _entered or os.geteuid() != 0:
        return _entered
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot make a network namespace: {os.strerror(number)}")
    _entered = True
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "none", "/run")
    for name in ("lock", "rpcbind", "ganesha", "sendsigs.omit.d"):
        Path("/run", name).mkdir()
    nfs = Path("/var/lib/nfs")
    if nfs.is_dir():
        run("mount", "-t", "tmpfs", "-o", "mode=755", "none", str(nfs))
        for name in ("sm", "sm.bak", "ganesha"):
            (nfs / name).mkdir()
        for name in ("state", "etab", "rmtab"):
            (nfs / name).touch()
    run("ip", "link", "set", "lo", "up")
    # Programs that resolve only address families in use (Ganesha does) want one address beside the loopback's.
    run("ip", "tuntap", "add", "own0", "mode", "tap")
    run("ip", "addr", "add", f"192.168.{FIRST_SUBNET - 1}.1/24", "dev", "own0")
    if Path("/proc/sys/net/ipv6").exists():
        run("ip", "addr", "add", "fd00:ca::1/64", "dev", "own0", "nodad")
    run("ip", "link", "set", "own0", "up")
    return True


def entered() -> bool:
    """Whether this process has a network of its own."""
    return _entered


def run(*command: str) -> None:
    """Runs a command; what it says goes into the error where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")


def add_tap() -> tuple[str, str]:
    """Makes a tap device for one more virtual client: (its name, the first three numbers of its /24).

    This side is .1 of the subnet, the client .2.
    """
    global _taps  # noqa: PLW0603 - as above
    if not _entered:
        raise RuntimeError("tap devices are made in a private network only: enter() first (needs root)")
    name, subnet = f"tap{_taps}", f"192.168.{FIRST_SUBNET + _taps}"
    _taps += 1
    run("ip", "tuntap", "add", name, "mode", "tap")
    run("ip", "addr", "add", f"{subnet}.1/24", "dev", name)
    run("ip", "link", "set", name, "up")
    return name, subnet


def inhabitants() -> list[int]:
    """The processes in this network except this one: all were started from here."""
    if not _entered:
        return []
    own = Path("/proc/self/ns/net").readlink()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "ns/net").readlink() == own:
                found.append(int(entry.name))
        except OSError:
            continue  # it ended meanwhile
    return [pid for pid in found if pid != os.getpid()]


def leave_nobody() -> None:
    """Ends whatever tests left running in the private network."""
    for pid in inhabitants():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
