"""What Samba's programs read, as the operator's file and the membership in a domain have it."""

from pathlib import Path

from appliance.firstboot import domain, smb
from appliance.firstboot.domain import Member
from appliance.firstboot.host import Paths
from gateway.state import write_atomically


def write(paths: Paths, state: Path, wanted: smb.Smb) -> tuple[Member | None, list[str]]:
    """The membership by which domain users are served, and notes for the operator. Harmless to run again."""
    for name in ("samba", "samba/private"):
        (state / name).mkdir(mode=0o700, exist_ok=True)
    member, notes = (None, []) if wanted.domain is None else domain.found(state, wanted.domain)
    write_krb5_conf(paths, wanted)
    text = smb.configuration(wanted, paths.smb_mount, state, member)
    write_atomically(paths.smb_effective, text.encode(), 0o644)
    return member, notes


def write_for_net(paths: Paths, state: Path, wanted: smb.Smb, member: Member) -> None:
    """What `net` goes by before the machine is that member: what is served by stays."""
    write_krb5_conf(paths, wanted)
    text = smb.configuration(wanted, paths.smb_mount, state, member)
    write_atomically(paths.smb_join_conf, text.encode(), 0o644)


def write_krb5_conf(paths: Paths, wanted: smb.Smb) -> None:
    """For Samba's programs."""
    write_atomically(paths.smb_krb5_conf, domain.krb5_conf(wanted.domain).encode(), 0o644)
