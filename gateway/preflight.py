"""What must hold before anything is started: each check names what is wrong and what to do, and changes
nothing.
"""

import errno
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway.config import Config, option_of
from gateway.config_values import MIB, human
from gateway.errors import Reason, StartError
from gateway.objects import open_root_store
from gateway.objects.epoch import RootRecord, check_owner
from gateway.objects.key_file import read_key_file
from gateway.objects.place import place_of
from gateway.rpcbind import SEARCH_PATH
from gateway.state import Identity, StateDir, unusable

# Database, logs and recovery records of a small file system; more comes with more files.
STATE_BYTES: Final = 32 * MIB


def find_ganesha() -> Path:
    """The server's program. Raises StartError where it is not installed."""
    found = shutil.which("ganesha.nfsd", path=f"{os.environ.get('PATH', '')}:{SEARCH_PATH}")
    if found is None:
        raise StartError(
            "nfs-ganesha is not installed", "install it: apt-get install nfs-ganesha", Reason.GANESHA_MISSING
        )
    return Path(found)


def find_plugins() -> Path:
    """The directory of our FSAL's library. Raises StartError where it was not built."""
    plugins = Path(__file__).resolve().parent / "pyganesha" / "_build"
    if not (plugins / "libfsalpyganesha.so").exists():
        raise StartError(
            "the server's plug-in (libfsalpyganesha.so) has not been built",
            "build it: make setup, or python -m gateway.pyganesha.build",
            Reason.FSAL_MISSING,
        )
    return plugins


def check_permission() -> None:
    """Ganesha acts as its clients' users, which takes root."""
    if os.geteuid() != 0:
        raise StartError("the server must be started by root", "use sudo", Reason.NOT_PERMITTED)


def check_ports(config: Config) -> None:
    """Raises StartError for a port that another process listens on."""
    for key in ("nfs_port", "mountd_port", "nlm_port", "admin_port"):
        port: int = getattr(config, key)
        if port and (problem := _cannot_listen(port)):
            holder = _listener_name(port)
            raise StartError(
                f"port {port} ({key}) is taken" + (f" by {holder}" if holder else f": {problem}"),
                f"stop that service, or choose another port with {option_of(key)}",
                Reason.PORT_TAKEN,
            )


def _cannot_listen(port: int) -> str:
    """Tries what Ganesha will do; IPv6 first, whose sockets take IPv4 too."""
    for family, address in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):  # noqa: S104  (as Ganesha will)
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
                probe.listen(1)
        except OSError as error:
            if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                continue
            return os.strerror(error.errno or 0)
    return ""


def _listener_name(port: int) -> str:
    """The process that listens on a TCP port, as "NAME (process PID)"; empty where it cannot be told."""
    inodes: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
        except OSError:
            continue
        # Columns: sl, local address as HEX:PORT, remote, state (0A listens) ... inode.
        inodes |= {
            f"socket:[{row[9]}]"
            for row in rows
            if row[3] == "0A" and int(row[1].rsplit(":", 1)[1], 16) == port
        }
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        try:
            if any(str(fd.readlink()) in inodes for fd in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue
    return ""


def unknown_clients(config: Config) -> list[str]:
    """Host names among the clients that do not resolve: Ganesha passes over them."""
    names = [name for name in config.clients if not name.startswith("@") and not set(name) & set("*?/:")]
    return [name for name in names if not _resolves(name)]


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True


def check_space(config: Config) -> None:
    """Raises StartError where a disk cannot hold what a start writes at once."""
    wanted: dict[int, tuple[Path, int]] = {}
    needs = [(config.state, STATE_BYTES), *((mirror, 2 * config.segment_bytes) for mirror in config.journal)]
    for directory, needed in needs:
        if directory in config.journal and not _is_usable(directory):
            # Without that mirror another may do.
            continue
        if directory in config.journal and directory.exists() and any(directory.iterdir()):
            # A journal in use has segments to recycle.
            needed = 0  # noqa: PLW2901
        existing = _existing_parent(directory)
        try:
            device = existing.stat().st_dev
        except OSError as error:
            raise unusable(directory, error) from error
        first, total = wanted.get(device, (directory, 0))
        wanted[device] = (first, total + needed)
    for directory, needed in wanted.values():
        status = os.statvfs(_existing_parent(directory))
        free = status.f_bavail * status.f_frsize
        if free < needed:
            raise StartError(
                f"the disk of {directory} has {human(free)} free, and the start needs {human(needed)}",
                "make room, put --state and --journal on a larger disk, or lower --segment-bytes",
                Reason.NO_SPACE,
            )


def _existing_parent(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _is_usable(path: Path) -> bool:
    existing = _existing_parent(path)
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def check_directories(config: Config) -> None:
    """Raises StartError for a directory that cannot be made or written."""
    # A mirror that is away is no reason not to start while another is there.
    mirrors = [mirror for mirror in config.journal if _is_usable(mirror)] or config.journal
    for key, path in (
        ("state", config.state),
        *(("journal", mirror) for mirror in mirrors),
        ("l2_dir", config.l2_dir),
    ):
        existing = _existing_parent(path)
        if not existing.is_dir():
            problem = f"{existing} is not a directory"
        elif not os.access(existing, os.W_OK | os.X_OK):
            problem = f"{existing} may not be written"
        else:
            continue
        raise StartError(
            f"the directory {path} ({key}) cannot be used: {problem}",
            f"choose another {option_of(key)}",
            Reason.STATE_UNUSABLE,
        )


def check_keys(config: Config) -> None:
    """Raises StartError for a key file that cannot be used. Whether it holds the right keys is for the server to say."""
    if config.encryption_key is not None:
        read_key_file(config.encryption_key)


def check_certificate(config: Config) -> None:
    """Raises StartError for a certificate of the admin service that cannot be used."""
    if config.admin_certificate is None or not config.admin_port:
        return
    # Imported here: nobody else needs it.
    import ssl

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Without the function it would ask for a password at the terminal.
        context.load_cert_chain(config.admin_certificate, config.admin_certificate_key, lambda: "")
    except (OSError, ValueError) as error:
        raise StartError(
            f"the certificate {config.admin_certificate} and its key cannot be used: {error}",
            "give PEM files that belong together, the key without a password, or neither of them",
            Reason.KEY_UNUSABLE,
        ) from error


def check_store(
    config: Config, identity: Identity | None, env: Mapping[str, str], *, take_over: bool = False
) -> RootRecord | None:
    """Asks the store whose it is; returns its record. Raises StartError where it does not answer, belongs
    elsewhere, or has another owner and this is no `take_over`.
    """
    store = open_root_store(config.store, env)
    try:
        own = StateDir(config.state).read_own_facts()
        place = place_of(config.state, config.store)
        return check_owner(store, identity, own, place, take_over=take_over)
    finally:
        store.close()
