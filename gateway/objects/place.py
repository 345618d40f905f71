"""Where an owner stands: what tells two state directories apart, and what tells people whose one is."""

import hashlib
import os
import socket
from pathlib import Path
from typing import Final

from gateway.objects.epoch import OwnerRecord

MACHINE_ID: Final = Path("/etc/machine-id")
INSIDE: Final = "inside"
"""The place of every state directory that holds its store: its own lock decides, and a copy is a store of its own."""
# A documentation address: nothing is ever sent there, the kernel only says from which of ours it would be.
_ELSEWHERE: Final = ("192.0.2.1", 9)


def place_of(state: Path, store_url: str) -> str:
    """A text that differs between state directories, also between one and its copy on this or another machine."""
    scheme, _, path = store_url.partition("://")
    if scheme == "file" and Path(path).is_relative_to(state):
        return INSIDE
    try:
        machine = MACHINE_ID.read_text().strip()
    except OSError:
        machine = ""
    where = state.resolve()
    number = where.stat().st_ino if where.exists() else 0
    # Hashed: the machine's id is nobody's business who reads the container.
    return hashlib.sha256(
        "\0".join((socket.gethostname(), machine, str(where), str(number))).encode()
    ).hexdigest()[:32]


def owner_here(state: Path, store_url: str, *, port: int, lease_s: int, now_s: float) -> OwnerRecord:
    """The record of this process as the owner. now_s: wall clock; port: where clients find it."""
    address = _address()
    return OwnerRecord(
        place=place_of(state, store_url),
        host=socket.gethostname(),
        state=str(state),
        address=f"{address}:{port}" if address else "",
        pid=os.getpid(),
        since_s=round(now_s, 3),
        lease_s=lease_s,
    )


def _address() -> str:
    """This machine's address towards others; empty without a route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
        except OSError:
            return ""
        return str(probe.getsockname()[0])
