"""The first admin token: made once for each file system, as soon as the admin service answers, for root to read.

Whoever set the machine up reads it over ssh, makes users or tokens of their own, and removes the file.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.admin_process import ping
from gateway.state import StateDir, write_atomically

STATE: Final = Path("/var/lib/caudal")
TOKEN: Final = Path("/etc/caudal/admin-token")
MARKER: Final = "first-token-made"
NAME: Final = "first"
WAIT_S: Final = 120.0


def create(state: Path) -> str:
    """`caudal token create`, which prints the token last."""
    command = ["caudal", "token", "create", "--name", NAME, "--role", "admin", "--state", str(state)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_S)
    if done.returncode:
        raise RuntimeError(" ".join(done.stderr.split()))
    return done.stdout.split()[-1]


def ensure(
    state: Path,
    token_file: Path,
    make: Callable[[Path], str] = create,
    answers: Callable[[Path], bool] = ping,
    sleep: Callable[[float], None] = time.sleep,
    wait_s: float = WAIT_S,
) -> bool:
    """Whether a token was made now. The marker comes after the token: a crash between them makes another one, and the file
    has the newer. Raises RuntimeError where the admin service does not answer.
    """
    marker = state / "admin" / MARKER
    if marker.exists():
        return False
    waited_s = 0.0
    while not answers(StateDir(state).admin_socket):
        if waited_s >= wait_s:
            raise RuntimeError(f"the admin service does not answer within {wait_s:g} s")
        sleep(1.0)
        waited_s += 1.0
    write_atomically(token_file, f"{make(state)}\n".encode(), 0o600)
    write_atomically(marker, b"")
    return True


def main() -> None:
    """Runs once; fails where the admin service does not come."""
    try:
        ensure(STATE, TOKEN)
    except RuntimeError as error:
        sys.exit(f"no first token: {error}")


if __name__ == "__main__":
    main()
