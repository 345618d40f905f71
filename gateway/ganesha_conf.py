"""Ganesha's configuration, rendered from ours.

Every parameter here was tried with nfs-ganesha 4.3. What it would otherwise take for granted is turned off,
because several servers run on one machine: listeners with fixed ports that we do not use (rquota, UDP),
recovery records and Kerberos caches in shared directories.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway import kerberos
from gateway.config import Config
from gateway.exports import MAX_IO_BYTES, SQUASH, conf_of
from gateway.state import StateDir

FSAL_NAME: Final = "PYGANESHA"
FACTORY: Final = "gateway.fsal:create"
_LEVELS: Final = {"debug": "DEBUG", "info": "EVENT", "warning": "WARN", "error": "CRIT"}


@dataclass(frozen=True, slots=True)
class Fsal:
    """The FSAL block of the export and what it needs beside it. Tests put Ganesha's own FSAL_VFS here."""

    name: str
    plugins: Path
    export_path: str
    block: str = ""
    own_block: str = ""


def caudal_fsal(config: Config, plugins: Path, python: Path) -> Fsal:
    """Our FSAL: pyganesha, which loads `python`'s gateway.fsal and hands it the state directory."""
    return Fsal(
        name=FSAL_NAME,
        plugins=plugins,
        export_path=config.export,
        block=f"Factory = {_quoted(FACTORY)};\n        Options = {_quoted(config.state)};",
        own_block=f"{FSAL_NAME} {{\n    Python = {_quoted(python)};\n}}\n",
    )


def render(
    config: Config,
    fsal: Fsal,
    versions: tuple[int, ...],
    *,
    grace: bool = True,
    with_kerberos: bool = False,
) -> str:
    """The whole file, for the protocol versions given: (4,) where no rpcbind can be had, else (3, 4).

    grace: clients of before the start may have something to reclaim. with_kerberos: there is a keytab.
    """
    state = StateDir(config.state)
    protocols = ", ".join(str(version) for version in versions)
    v3 = "true" if 3 in versions else "false"
    gids = "true" if config.manage_gids else "false"
    return f"""\
# Written by caudal at each start; changes here are lost.

NFS_CORE_PARAM {{
    # No Bind_addr: left out, IPv4 and IPv6 are both served; any value fails on machines without such an
    # address.
    NFS_Port = {config.nfs_port};
    MNT_Port = {config.mountd_port};
    NLM_Port = {config.nlm_port};
    Protocols = {protocols};
    Enable_NLM = {v3};
    Enable_RQUOTA = false;
    Enable_UDP = false;
    Mount_Path_Pseudo = true;
    # Ganesha answers NFSACL even where it is off, but cannot decode the kernel's SETACL: `cp -a` over NFS 3
    # would end in EIO. Under a number that no client asks for, they see that there is none.
    NFSACL_Program = 1073741823;
    Plugins_Dir = {_quoted(fsal.plugins)};
    # Our FSAL says where a file ends; asking again after each read would double its cost.
    Getattrs_In_Complete_Read = false;
    heartbeat_freq = 0;
}}

NFS_KRB5 {{
    Active_krb5 = {"true" if with_kerberos else "false"};
    KeytabPath = {_quoted(kerberos.keytab_file(state))};
    # Without a host: whatever nfs/HOST the keytab holds, since clients know a server by several names.
    PrincipalName = "nfs";
    CCacheDir = {_quoted(state.run / "krb5")};
}}

NFSV4 {{
    RecoveryBackend = fs;
    RecoveryRoot = {_quoted(state.ganesha)};
    Minor_Versions = 0, 1, 2;
    Graceless = {"false" if grace else "true"};
    Lease_Lifetime = {config.lease_s};
    Grace_Period = {config.grace_s};
    Allow_Numeric_Owners = true;
    Only_Numeric_Owners = true;
    IdmapConf = {_quoted(state.ganesha / "idmapd.conf")};
}}

MDCACHE {{
    Entries_HWMark = {config.metadata.entries};
    # Of 128 names each. By default they may come to several GiB, however low the other mark is.
    Chunks_HWMark = {config.metadata.chunks};
}}

LOG {{
    Default_Log_Level = {_LEVELS[config.log_level]};
    Components {{
        # D-Bus is not used; that it is missing is no news.
        DBUS = FATAL;
        # By it we know that a reload of the exports has ended.
        CONFIG = EVENT;
        NFS_CB = MAJ;
    }}
}}

{fsal.own_block}
EXPORT {{
    Export_Id = 1;
    Path = {_quoted(fsal.export_path)};
    Pseudo = {_quoted(config.export)};
    Protocols = {protocols};
    Transports = TCP;
    SecType = sys;
    # Who is not named below gets nothing.
    Access_Type = None;
    Squash = {SQUASH[config.squash]};
    Manage_Gids = {gids};
    MaxRead = {MAX_IO_BYTES};
    MaxWrite = {MAX_IO_BYTES};
    PrefRead = {MAX_IO_BYTES};
    PrefWrite = {MAX_IO_BYTES};

    CLIENT {{
        Clients = {", ".join(config.clients)};
        Protocols = {protocols};
        Access_Type = RW;
        Squash = {SQUASH[config.squash]};
        Manage_Gids = {gids};
    }}

    FSAL {{
        Name = {fsal.name};
        {fsal.block}
    }}
}}

# Exports that were added while it served.
{conf_of(state.exports_conf)}"""


def _quoted(text: object) -> str:
    """A text in Ganesha's quotes, which know no escapes: the configuration refuses what would need one."""
    raw = str(text)
    if '"' in raw or "\n" in raw:
        raise ValueError(f"{raw!r} cannot stand in Ganesha's configuration")
    return f'"{raw}"'
