"""Has Samba take over the shares that the server has written: `apply` when they changed, `remember` before Samba starts.

Clients of other shares, and those of a changed one that allows no less, keep their connections. A connection is closed
where the share is gone or allows less, since Samba settles at the connection what a client may.
"""

import argparse
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from gateway import smb_shares
from gateway.errors import CaudalError
from gateway.smb_shares import Kept, key, narrowed
from gateway.state import StateDir, write_atomically

STATE: Final = Path("/var/lib/caudal")
SAMBA: Final = Path("/run/caudal/smb.conf")
REMEMBERED: Final = Path("/run/samba/caudal-shares.json")
"""The shares that Samba has; gone with it."""
CLOSING_S: Final = 0.5


def closes(before: Kept, after: Kept) -> list[str]:
    """The shares whose connections must end."""
    now = {key(share.name): share for share in after.shares}
    return [share.name for share in before.shares if narrowed(share, now.get(key(share.name)))]


class Applier:
    """control: sends a message to all of Samba's processes, as `smbcontrol all` does."""

    def __init__(
        self,
        state: StateDir,
        remembered: Path,
        control: Callable[..., None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._state = state
        self._remembered = remembered
        self._control = control
        self._sleep = sleep

    def remember(self) -> Kept:
        """Notes what Samba will read now, or later: then more connections are closed than must be."""
        kept = smb_shares.read(self._state)
        self._note(kept)
        return kept

    def _note(self, kept: Kept) -> None:
        write_atomically(self._remembered, msgspec.json.encode(kept))

    def _known(self) -> Kept:
        try:
            return msgspec.json.decode(self._remembered.read_bytes(), type=Kept)
        except (OSError, msgspec.MsgspecError, ValueError):
            return Kept()

    def apply(self) -> None:
        """Until Samba has what is kept: what changes meanwhile may start no second run."""
        before, after = self._known(), smb_shares.read(self._state)
        while True:
            self._take_over(before, after)
            # After a crash before this line the same connections are closed once more.
            self._note(after)
            before, after = after, smb_shares.read(self._state)
            if before == after:
                return

    def _take_over(self, before: Kept, after: Kept) -> None:
        self._control("reload-config")
        gone = closes(before, after)
        for name in gone:
            self._control("close-share", name)
        if gone:
            # A process of Samba's knows a share as long as a client of its own has it, whatever the file says.
            self._sleep(CLOSING_S)
            self._control("reload-config")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Has Samba take over changed shares.")
    parser.add_argument("what", choices=("apply", "remember"))
    parser.add_argument("--state", type=Path, default=STATE)
    parser.add_argument("--samba", type=Path, default=SAMBA)
    parser.add_argument("--remembered", type=Path, default=REMEMBERED)
    arguments = parser.parse_args()

    def control(*words: str) -> None:
        # It asks for interfaces that it does not use, and the unit has none.
        options = (f"--configfile={arguments.samba}", "--option=interfaces=127.0.0.1/8")
        subprocess.run(["smbcontrol", *options, "all", *words], check=True)

    applier = Applier(StateDir(arguments.state), arguments.remembered, control)
    try:
        if arguments.what == "remember":
            applier.remember()
        else:
            applier.apply()
    except (CaudalError, OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"shares were not taken over: {error}") from error


if __name__ == "__main__":
    main()
