"""Membership in an Active Directory domain, where `[domain]` of /etc/caudal/smb.toml names one.

    [domain]
    realm = "CORP.EXAMPLE"
    workgroup = "CORP"         # the domain's short name; without it the realm's first part
    name = "FILES"             # of this machine in the domain; without it its host name
    dns = ["10.0.0.4"]         # servers that know the domain, where the network's do not
    ou = "Servers/Files"       # where the machine's account is made
    first_id = 1000000         # uid and gid of a domain account: first_id + its RID
    last_id = 1999999999

`caudal-smb-join` makes the machine a member. What a member is known by (secrets.tdb) lies in the state directory, and beside
it the record of the membership: another system image finds both, and serves at its first boot.
"""

import ipaddress
import json
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from gateway.errors import ConfigError
from gateway.state import write_atomically

TEXTS: Final = ("realm", "workgroup", "name", "ou")
NUMBERS: Final = ("first_id", "last_id")
KEYS: Final = {*TEXTS, *NUMBERS, "dns"}
OTHER_IDS: Final = (70000, 89999)
"""Groups that every Windows has (BUILTIN), and what is this machine's alone. Local users lie below, the domain's above."""
LOWEST_FIRST_ID: Final = 100_000
LARGEST_ID: Final = 2**31 - 1
LEAST_IDS: Final = 10_000
RECORD_FORMAT: Final = 1
WINBIND_UNIT: Final = "caudal-winbind.service"
"""Runs where the machine is a member."""
_REALM: Final = re.compile(r"[A-Z0-9]([A-Z0-9-]{0,62}[A-Z0-9])?(\.[A-Z0-9]([A-Z0-9-]{0,62}[A-Z0-9])?)+")
_SHORT: Final = re.compile(r"[A-Z0-9][A-Z0-9-]{0,14}")
_OU: Final = re.compile(r"[^\\\"'\n\r\t]{1,255}")


@dataclass(frozen=True, slots=True)
class Domain:
    """What the file says. name: empty where it says nothing of it."""

    realm: str
    workgroup: str
    name: str = ""
    dns: tuple[str, ...] = ()
    ou: str = ""
    first_id: int = 1_000_000
    last_id: int = 1_999_999_999


@dataclass(frozen=True, slots=True)
class Member:
    """A membership that was made: by this name the domain knows the machine, whatever its host name is by now."""

    realm: str
    workgroup: str
    name: str

    def of(self, domain: Domain) -> bool:
        """Whether it is the domain that the file asks for."""
        return (self.realm, self.workgroup) == (domain.realm, domain.workgroup)


def checked(found: object, file: Path) -> Domain:
    """Raises ConfigError for a table with a mistake in it, which names the file."""
    if not isinstance(found, Mapping):
        raise ConfigError(f"domain in {file} is no table", 'as: [domain] and below it realm = "CORP.EXAMPLE"')
    table = cast(Mapping[str, Any], found)
    if unknown := sorted(set(table) - KEYS):
        raise ConfigError(
            f"unknown key {unknown[0]} in [domain] of {file}", f"known are {', '.join(sorted(KEYS))}"
        )
    for key in TEXTS:
        if not isinstance(table.get(key, ""), str):
            raise ConfigError(f"{key} in [domain] of {file} is no text", 'as: realm = "CORP.EXAMPLE"')
    realm = str(table.get("realm", "")).upper()
    if not _REALM.fullmatch(realm):
        raise ConfigError(
            f"{realm!r} cannot be a realm ([domain] of {file})",
            'the domain\'s DNS name: realm = "CORP.EXAMPLE"',
        )
    workgroup = str(table.get("workgroup", realm.partition(".")[0][:15])).upper()
    name = str(table.get("name", "")).upper()
    for key, value in (("workgroup", workgroup), ("name", name)):
        if (value or key == "workgroup") and not _SHORT.fullmatch(value):
            raise ConfigError(
                f"{value!r} cannot be {key} ([domain] of {file})", "15 letters, digits and hyphens at most"
            )
    if (ou := str(table.get("ou", ""))) and not _OU.fullmatch(ou):
        raise ConfigError(
            f"{ou!r} cannot be an ou ([domain] of {file})", 'from the top down: ou = "Servers/Files"'
        )
    return Domain(realm, workgroup, name, _dns(table, file), ou, *_ids(table, file))


def _dns(table: Mapping[str, Any], file: Path) -> tuple[str, ...]:
    try:
        given = table.get("dns", [])
        if not isinstance(given, list):
            raise ValueError("no list")
        return tuple(str(ipaddress.ip_address(each)) for each in cast(list[Any], given))
    except ValueError as error:
        raise ConfigError(
            f"dns in [domain] of {file} is no list of addresses: {error}",
            'as: dns = ["10.0.0.4", "10.0.0.5"]',
        ) from error


def _ids(table: Mapping[str, Any], file: Path) -> tuple[int, int]:
    first, last = (table.get(key, getattr(_DEFAULT, key)) for key in NUMBERS)
    if any(type(each) is not int for each in (first, last)):
        raise ConfigError(f"first_id or last_id in [domain] of {file} is no number", "as: first_id = 1000000")
    if first < LOWEST_FIRST_ID or last > LARGEST_ID or last - first < LEAST_IDS:
        raise ConfigError(
            f"ids from {first} to {last} do not do ([domain] of {file})",
            f"from {LOWEST_FIRST_ID} up (what is below is local users'), to {LARGEST_ID} at most,"
            f" and {LEAST_IDS} of them at least",
        )
    return first, last


_DEFAULT: Final = Domain("", "")


def record(state: Path) -> Path:
    """Where the membership is written down."""
    return state / "samba/member.json"


def member(state: Path) -> Member | None:
    """None where the machine is no member of any domain. Raises ConfigError for a record that cannot be read."""
    file = record(state)
    try:
        found = json.loads(file.read_bytes())
        if (kept := found["format"]) > RECORD_FORMAT:
            raise ConfigError(
                f"{file} is of a later version (format {kept})", "install the version that wrote it"
            )
        return Member(*(str(found[key]) for key in ("realm", "workgroup", "name")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} cannot be read: {error!r}", "join again: caudal-smb-join") from error


def keep(state: Path, made: Member) -> None:
    """Written after the domain has the account: without the record nothing counts as a membership."""
    data = {"format": RECORD_FORMAT, "realm": made.realm, "workgroup": made.workgroup, "name": made.name}
    write_atomically(record(state), json.dumps(data).encode(), 0o600)


def found(state: Path, domain: Domain) -> tuple[Member | None, list[str]]:
    """The membership of this very domain, and notes for the operator where there is none: local users are served without."""
    try:
        kept = member(state)
    except ConfigError as error:
        return None, [f"{error.message}; {error.hint}"]
    if kept is not None and kept.of(domain):
        return kept, []
    other = "" if kept is None else f" (it is one of {kept.realm})"
    return None, [f"the machine is no member of {domain.realm} yet{other}: caudal-smb-join makes it one"]


def wanted(domain: Domain, host_name: Callable[[], str] = socket.gethostname) -> Member:
    """The membership to make. Raises ConfigError where the host name cannot be the machine's in the domain."""
    name = domain.name or host_name().partition(".")[0].upper()
    if not _SHORT.fullmatch(name):
        raise ConfigError(
            f"the host name {name!r} cannot be this machine's name in the domain",
            'give another one in [domain] of /etc/caudal/smb.toml: name = "FILES", 15 characters at most',
        )
    return Member(domain.realm, domain.workgroup, name)


def settings(domain: Domain, as_member: Member) -> str:
    """Samba's, for [global].

    uids and gids follow from SIDs alone (rid), so they are the same on each machine. Users of other domains that are trusted
    have none that would be: theirs are below the least that is let in. (To trust no domain would keep local users out, too.)
    """
    low, high = OTHER_IDS
    idmap = f"idmap config {domain.workgroup}"
    return f"""\
	workgroup = {domain.workgroup}
	realm = {domain.realm}
	netbios name = {as_member.name}
	server role = member server
	security = ads
	# Keys are in secrets.tdb; a keytab would be the whole machine's.
	kerberos method = secrets only
	idmap config * : backend = autorid
	idmap config * : range = {low}-{high}
	idmap config * : rangesize = 2000
	{idmap} : backend = rid
	{idmap} : range = {domain.first_id}-{domain.last_id}
	# Nobody of the domain is one of the system's users, and nobody of another domain gets in.
	min domain uid = {LOWEST_FIRST_ID}
	winbind use default domain = yes
	winbind enum users = no
	winbind enum groups = no
	template homedir = /nonexistent
	template shell = /usr/sbin/nologin"""


def krb5_conf(domain: Domain | None) -> str:
    """For Samba's programs alone; keys of NFS are the server's."""
    lines = ["[libdefaults]", " dns_lookup_realm = false", " rdns = false"]
    if domain is not None:
        lines += [f" default_realm = {domain.realm}", " dns_lookup_kdc = true"]
    return "\n".join(lines) + "\n"


def resolved_conf(domain: Domain) -> str:
    """For systemd-resolved: names of the domain are asked of its servers."""
    return (
        "# Written by first boot; dns in [domain] of /etc/caudal/smb.toml is what to change.\n"
        f"[Resolve]\nDNS={' '.join(domain.dns)}\nDomains=~{domain.realm.lower()}\n"
    )


def configure_resolver(domain: Domain | None, file: Path) -> bool:
    """Writes or removes what systemd-resolved reads of the domain; whether that is another than before."""
    text = resolved_conf(domain).encode() if domain is not None and domain.dns else None
    before = file.read_bytes() if file.exists() else None
    if text is None:
        file.unlink(missing_ok=True)
    elif text != before:
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomically(file, text, 0o644)
    return text != before
