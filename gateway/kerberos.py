"""Kerberos of the NFS server: the keytab in the state directory, and what Ganesha's side of it is configured with.

`krb5.keytab` is the only secret, and all that the server needs: it checks tickets by it and never asks a KDC. What follows
from it (`ganesha/krb5.conf`, `ganesha/idmapd.conf`) is written at each start.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway import keytab
from gateway.errors import ControlError, Reason, StartError
from gateway.keytab import Entry, KeytabError
from gateway.state import StateDir, unusable, write_atomically

SERVICE: Final = "nfs/"
FLAVOURS: Final = ("krb5", "krb5i", "krb5p")
MAX_BYTES: Final = 32 << 10
_TELL: Final = "make one: `ktadd` of kadmin, `ktpass` or adcli for Active Directory, ipa-getkeytab"
NO_KEYTAB: Final = "`caudal kerberos keytab FILE` gives the server one first"


@dataclass(frozen=True, slots=True)
class Keytab:
    """A checked keytab. version: changes with its bytes, never 0."""

    entries: tuple[Entry, ...]
    version: int

    @property
    def realms(self) -> tuple[str, ...]:
        """The realms of the server's own principals, without repetition."""
        own = (entry.realm for entry in self.entries if entry.principal.startswith(SERVICE))
        return tuple(dict.fromkeys(own))


def keytab_file(state: StateDir) -> Path:
    """A secret: in no backup and no support bundle."""
    return state.root / "krb5.keytab"


def check(data: bytes) -> Keytab:
    """The keytab that bytes are, one that clients can use. Raises ControlError (invalid)."""
    if len(data) > MAX_BYTES:
        raise _wrong(f"the keytab has more than {MAX_BYTES} bytes", "give one with the server's keys only")
    try:
        entries = keytab.parse(data)
    except KeytabError as error:
        raise _wrong(f"this is no keytab that can be used: {error}", _TELL) from None
    own = [entry for entry in entries if entry.principal.startswith(SERVICE)]
    if not own:
        raise _wrong(
            "the keytab has no key of a principal nfs/HOST",
            "add the key of nfs/ and the name by which clients mount",
        )
    if any(_unfit(entry.realm) for entry in own):
        raise _wrong("the keytab names a realm that cannot be one", _TELL)
    if not any(entry.enctype in keytab.KEY_BYTES for entry in own):
        kinds = ", ".join(sorted({entry.enctype_name for entry in own}))
        raise _wrong(
            f"the keys of {own[0].principal} are of outdated types only: {kinds}",
            "make the principal's keys anew, with AES",
        )
    digest = int.from_bytes(hashlib.sha256(data).digest()[:6], "big")
    return Keytab(entries, digest or 1)


def _wrong(message: str, hint: str) -> ControlError:
    return ControlError("invalid", message, hint)


def _unfit(realm: str) -> bool:
    """Whether a realm could not stand in the files that are written from it."""
    return not realm or any(mark in realm for mark in " ,{}[]=#;\"'\\/")


def read(state: StateDir) -> Keytab | None:
    """The keytab that is kept, None where there is none. Raises StartError for one that cannot be used."""
    path = keytab_file(state)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(path.parent, error) from error
    try:
        return check(data)
    except ControlError as error:
        raise StartError(
            f"{path}: {error.message}",
            "remove it, start, and give the server its keytab anew (`caudal kerberos keytab FILE`)",
            Reason.STATE_UNUSABLE,
        ) from error


def write_conf(state: StateDir, kept: Keytab | None) -> None:
    """Leaves the files that Ganesha's libraries read at its start; durable when this returns."""
    realms = kept.realms if kept else ()
    write_atomically(state.ganesha / "krb5.conf", krb5_conf(realms).encode())
    write_atomically(state.ganesha / "idmapd.conf", idmapd_conf(realms).encode())


def krb5_conf(realms: tuple[str, ...]) -> str:
    """What stands in for /etc/krb5.conf. It names no KDC: Ganesha would ask one at its start, for calls back to clients
    that it never makes, and wait while none answers.
    """
    default = f" default_realm = {realms[0]}\n" if realms else ""
    return (
        "# Written by caudal at each start; changes here are lost.\n[libdefaults]\n"
        f"{default} dns_lookup_kdc = false\n dns_lookup_realm = false\n"
        " dns_canonicalize_hostname = false\n rdns = false\n"
    )


def idmapd_conf(realms: tuple[str, ...]) -> str:
    """Users of the server's own realms are this machine's users of that name; those of others are nobody."""
    domain = f"Domain = {realms[0].lower()}\nLocal-Realms = {','.join(realms)}\n" if realms else ""
    return (
        "# Written by caudal at each start; changes here are lost.\n[General]\n"
        f"{domain}\n[Translation]\nMethod = nsswitch\n"
    )


def environment(state: StateDir, given: str | None) -> dict[str, str]:
    """Variables of Ganesha's process. given: KRB5_CONFIG of whoever started the server, which then holds."""
    # Tickets seen are remembered here; by default that is a file in /var/tmp, the same for all servers of a machine.
    return {
        "KRB5_CONFIG": given or str(state.ganesha / "krb5.conf"),
        "KRB5RCACHEDIR": str(state.run),
    }
