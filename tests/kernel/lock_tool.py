"""Run on a client: lock_tool.py hold|wait|try FILE read|write START LENGTH [UNTIL]

try: takes the lock or says "busy" at once. hold: the same, and keeps it until the file UNTIL exists. wait: as hold, but
waits for the lock first. Says "held" when it has it, "kept" at the end if writing under it still worked.
"""

import errno
import fcntl
import os
import sys
import time
from pathlib import Path


def main() -> None:
    command, name, kind, start, length = sys.argv[1:6]
    fd = os.open(name, os.O_RDWR)
    how = fcntl.LOCK_SH if kind == "read" else fcntl.LOCK_EX
    if command != "wait":
        how |= fcntl.LOCK_NB
    print("asks", flush=True)
    try:
        fcntl.lockf(fd, how, int(length), int(start))
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        print("busy", flush=True)
        return
    print("held", flush=True)
    if command == "try":
        return
    until = Path(sys.argv[6])
    while not until.exists():
        time.sleep(0.05)
    os.pwrite(fd, b"x", int(start))
    os.fsync(fd)
    print("kept", flush=True)


if __name__ == "__main__":
    main()
