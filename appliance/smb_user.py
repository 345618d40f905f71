"""`caudal-smb-user add NAME`, `remove NAME`, `list`: users of the SMB shares, as users of this machine without a login.

The password is asked for, or read from the first line of standard input. Names, numbers and hashes are kept in the state
directory, so that a new image has them again.
"""

import argparse
import getpass
import json
import pwd
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from gateway.state import write_atomically

SAMBA: Final = "/run/caudal/smb.conf"
USERS: Final = Path("/var/lib/caudal/samba/users.json")
FIRST_UID: Final = 20000
_NAME: Final = re.compile(r"[a-z_][a-z0-9_-]{0,30}")


def known(file: Path) -> dict[str, int]:
    """Names and numbers; none where there is no file yet. Raises ValueError for a damaged one."""
    if not file.exists():
        return {}
    found: dict[str, int] = {str(name): int(uid) for name, uid in json.loads(file.read_bytes()).items()}
    if any(not _NAME.fullmatch(name) for name in found):
        raise ValueError(f"{file} names somebody who can be no user")
    return found


def next_uid(users: dict[str, int]) -> int:
    """A number that nobody had, as long as the highest is kept: files of removed users stay nobody else's."""
    return max([FIRST_UID - 1, *users.values()]) + 1


def ensure_unix_users(users: dict[str, int]) -> None:
    """Makes those that this machine lacks: a new image has none."""
    for name, uid in users.items():
        try:
            pwd.getpwnam(name)
        except KeyError:
            options = ["--no-create-home", "--shell", "/usr/sbin/nologin", "--user-group", "--uid", str(uid)]
            subprocess.run(["useradd", *options, name], check=True)


def add(name: str, password: str) -> None:
    """Adds a user, or gives one another password. Raises CalledProcessError where the system refuses."""
    users = known(USERS)
    if name not in users:
        users[name] = next_uid(users)
        write_atomically(USERS, json.dumps(users).encode())
    ensure_unix_users({name: users[name]})
    command = ["smbpasswd", "-c", SAMBA, "-s", "-a", name]
    subprocess.run(
        command, check=True, input=f"{password}\n{password}\n", text=True, stdout=subprocess.DEVNULL
    )


def remove(name: str) -> None:
    """Takes the password away; the name keeps its number."""
    subprocess.run(["smbpasswd", "-c", SAMBA, "-x", name], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="caudal-smb-user", description="Users of the SMB shares.")
    parser.add_argument("what", choices=("add", "remove", "list", "ensure"))
    parser.add_argument("name", nargs="?", default="")
    arguments = parser.parse_args()
    if arguments.what == "ensure":
        ensure_unix_users(known(USERS))
        return
    if not Path(SAMBA).exists():
        sys.exit('SMB is off: write /etc/caudal/smb.toml first, as `share = "data"`')
    if arguments.what == "list":
        sys.stdout.write("".join(f"{name}\n" for name in known(USERS)))
        return
    if not _NAME.fullmatch(arguments.name):
        parser.error("NAME is 1 to 31 small letters, digits, hyphens")
    try:
        if arguments.what == "remove":
            remove(arguments.name)
        else:
            terminal = sys.stdin.isatty()
            password = getpass.getpass() if terminal else sys.stdin.readline().rstrip("\n")
            if len(password) < 10:
                sys.exit("a password has at least 10 characters")
            add(arguments.name, password)
    except (subprocess.CalledProcessError, ValueError) as error:
        sys.exit(f"caudal-smb-user: {error}")


if __name__ == "__main__":
    main()
