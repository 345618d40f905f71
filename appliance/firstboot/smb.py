"""SMB: Samba over a mount of our own export on the loopback, where /etc/caudal/smb.toml asks for it.

    share = "data"            # name of the configured share, which shows the whole export
    encrypt = "required"      # or "desired": clients that cannot are let in, signed
    workgroup = "WORKGROUP"

Without the file there is no SMB. Users are this machine's, with a password of Samba's (`caudal-smb-user`), and those of the
domain that a table `[domain]` names (domain.py).
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from appliance.firstboot.domain import Domain, Member, settings
from appliance.firstboot.domain import checked as checked_domain
from gateway import smb_shares
from gateway.config import Config
from gateway.errors import ConfigError
from gateway.state import StateDir

KEYS: Final = {"share", "encrypt", "workgroup", "domain"}
ENCRYPT: Final = {"required", "desired"}
SMB_UNIT: Final = "caudal-smb.service"
LOOPBACK: Final = ("127.0.0.1", "::1")
RUN: Final = "/run/samba"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.$-]{0,62}")
_WORKGROUP: Final = re.compile(r"[A-Za-z0-9-]{1,15}")


@dataclass(frozen=True, slots=True)
class Smb:
    """What the file says."""

    share: str = "data"
    encrypt: str = "required"
    workgroup: str = "WORKGROUP"
    domain: Domain | None = None


def read(file: Path) -> Smb | None:
    """None where there is no such file. Raises ConfigError for one with a mistake in it."""
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", 'as: share = "data"') from error
    return _checked(found, file)


def _checked(found: Mapping[str, Any], file: Path) -> Smb:
    if unknown := sorted(set(found) - KEYS):
        raise ConfigError(f"unknown key {unknown[0]} in {file}", f"known are {', '.join(sorted(KEYS))}")
    texts = {key: value for key, value in found.items() if key != "domain"}
    if wrong := [key for key, value in texts.items() if not isinstance(value, str)]:
        raise ConfigError(f"{wrong[0]} in {file} is no text", 'as: share = "data"')
    smb = Smb(**texts, domain=checked_domain(found["domain"], file) if "domain" in found else None)
    if smb.domain is not None and "workgroup" in found:
        raise ConfigError(
            f"workgroup stands outside of [domain] in {file}", "put it into [domain], or leave it out"
        )
    if not _NAME.fullmatch(smb.share) or smb_shares.key(smb.share) in smb_shares.RESERVED:
        raise ConfigError(
            f"{smb.share!r} cannot be the name of a share (in {file})", "letters, digits, hyphens"
        )
    if smb.encrypt not in ENCRYPT:
        raise ConfigError(f"encrypt is {smb.encrypt!r} (in {file})", "give required or desired")
    if not _WORKGROUP.fullmatch(smb.workgroup):
        raise ConfigError(
            f"{smb.workgroup!r} cannot be a workgroup (in {file})", "15 letters and digits at most"
        )
    return smb


def clients(config: Config) -> tuple[str, ...]:
    """Who may mount: those of the configuration, and Samba on this machine."""
    return (*config.clients, *(one for one in LOOPBACK if one not in config.clients))


def configuration(smb: Smb, mount: Path, state: Path, member: Member | None = None) -> str:
    """Samba's file. What it keeps lies in the state directory, so that another image finds it. member: of the domain that
    smb.toml names; without it local users are served alone.

    Locks: byte-range locks and opens of SMB clients become POSIX locks of the mount, so NFS clients see them; oplocks and
    leases are off, because an NFS client's write would not break them.
    """
    identity = f"\tworkgroup = {smb.workgroup}\n\tserver role = standalone server"
    if smb.domain is not None and member is not None:
        identity = settings(smb.domain, member)
    return f"""\
# Written by first boot at each boot; /etc/caudal/smb.toml is the file to change.
[global]
{identity}
	map to guest = never
	server min protocol = SMB3_00
	smb encrypt = {smb.encrypt}
	server signing = mandatory
	smb ports = 445
	disable netbios = yes
	load printers = no
	printcap name = /dev/null
	disable spoolss = yes
	logging = systemd
	private dir = {state / "samba/private"}
	state directory = {state / "samba"}
	cache directory = /run/samba/cache
	lock directory = /run/samba
	pid directory = {RUN}
	ncalrpc dir = /run/samba/ncalrpc
	deadtime = 30
	smb2 leases = no

[{smb.share}]
	path = {mount}
	read only = no
	guest ok = no
	# Coherent with NFS clients: every open, read and write goes to the server, which decides.
	oplocks = no
	kernel oplocks = no
	strict locking = yes
	posix locking = yes
	kernel share modes = no
	durable handles = no
	# DOS attributes and streams are extended attributes of the file, which NFS 4.2 has.
	ea support = yes
	store dos attributes = yes
	map archive = no
	map hidden = no
	map system = no
	vfs objects = streams_xattr nfs4acl_xattr
	# NT ACLs are the server's own lists, which it obeys for both protocols.
	nfs4acl_xattr:encoding = nfs
	nfs4acl_xattr:version = 40
	nfs4acl_xattr:xattr_name = system.nfs4_acl
	nfs4acl_xattr:nfs4_id_numeric = yes
	nfs4:chown = yes
	# The owner of a file that is not executable has full control of it, as on Windows; NFS clients still see no execute.
	acl allow execute always = yes
	inherit permissions = yes
	# A flush is a COMMIT to the journal: acknowledged means kept.
	strict sync = yes
	sync always = no

# Shares beside this one: `caudal share`. They copy what stands above.
include = {smb_shares.conf_file(StateDir(state))}
"""


def for_the_server(smb: Smb, mount: Path) -> bytes:
    """What the server must know of it to keep shares in Samba's form: the contents of its `run/smb.json`."""
    return msgspec.json.encode(smb_shares.Samba(str(mount), smb.share, smb.encrypt, f"{RUN}/smbd.pid"))
