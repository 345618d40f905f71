"""NT ACLs at the appliance's share: what an SMB client sets, NFS clients obey, new files inherit, and both show."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.kernel.conftest import mount
from tests.support import uml
from tests.support.caudal import Caudal
from tests.support.smb_share import OTHER, OTHER_UID, PROGRAMS, UID, USER, Share


@dataclass(frozen=True, slots=True)
class Both:
    """The share, and a mount of its own for NFS."""

    share: Share
    client: uml.Client
    at: str

    def smb(self, user: str, commands: str, *, check: bool = True) -> str:
        return self.share.as_user("smbclient", user, "-c", commands, check=check)

    def acl(self, name: str, *arguments: str) -> str:
        return self.share.as_user("smbcacls", USER, name, *arguments)

    def nfs(self, uid: int, script: str) -> str:
        """Runs it in the share's directory as a user; an error is an exception."""
        user = f"setpriv --reuid {uid} --regid {uid} --clear-groups"
        return self.client.run(f"cd {self.at}; {user} bash -ec '{script}' 2>&1").output


@pytest.fixture(scope="module")
def both(private_network: None, shared: Caudal) -> Iterator[Both]:
    missing = [each for each in (*PROGRAMS, "smbclient", "smbcacls") if shutil.which(each) is None]
    assert not missing, f"install {', '.join(missing)}: tools/setup client"
    with uml.Client(memory_mib=768) as client:
        share = Share(client, shared)
        share.start()
        yield Both(share, client, mount(client, shared, "4.2"))


def refused(both: Both, user: str, commands: str) -> None:
    said = both.smb(user, commands, check=False)
    assert "NT_STATUS_ACCESS_DENIED" in said, said


def test_entries_for_others_hold_for_both_protocols(both: Both) -> None:
    both.smb(USER, "put /etc/hostname file")
    both.nfs(UID, "chmod 600 file")
    refused(both, OTHER, "get file /dev/null")
    both.acl("file", "-a", f"ACL:{OTHER}:ALLOWED/0x0/CHANGE")
    assert f"{OTHER}:ALLOWED/0x0/CHANGE" in both.acl("file")
    both.nfs(OTHER_UID, "cat file; echo more >>file")
    both.smb(OTHER, "get file /dev/null")
    both.nfs(OTHER_UID + 1, "! cat file")
    assert f"A::{OTHER_UID}:" in both.nfs(0, "nfs4_getfacl file")
    # And the other way round, with a denial that comes first.
    both.nfs(UID, f"nfs4_setfacl -a D::{OTHER_UID}:r file")
    assert f"{OTHER}:DENIED" in both.acl("file")
    both.nfs(OTHER_UID, "! cat file")
    refused(both, OTHER, "get file /dev/null")


def test_new_files_inherit(both: Both) -> None:
    both.smb(USER, "mkdir folder")
    both.nfs(UID, "chmod 700 folder")
    both.acl("folder", "-a", f"ACL:{OTHER}:ALLOWED/OI|CI/CHANGE")
    both.acl("folder", "-a", "ACL:CREATOR OWNER:ALLOWED/OI|CI|IO/FULL")
    both.smb(USER, "cd folder; put /etc/hostname smb; mkdir deep; cd deep; put /etc/hostname smb")
    both.nfs(UID, "umask 077; echo data >folder/nfs; echo data >folder/deep/nfs")
    names = ("smb", "nfs", "deep/smb", "deep/nfs")
    for uid in (UID, OTHER_UID):
        both.nfs(uid, "".join(f"cat folder/{name}; echo more >>folder/{name}\n" for name in names))
    both.nfs(OTHER_UID + 1, "".join(f"! cat folder/{name}\n" for name in names))
    paths = [f"folder/{name}".replace("/", "\\") for name in names]
    assert all(f"{OTHER}:ALLOWED" in both.acl(path) for path in paths[2:])
    both.smb(OTHER, "; ".join(f'get "{path}" /dev/null; del "{path}"' for path in paths))
    refused(both, OTHER, "get deep /dev/null; cd folder; rename deep ..\\mine")


def test_the_owner_has_full_control_of_a_file_that_is_not_executable(both: Both) -> None:
    both.smb(USER, "put /etc/hostname plain")
    assert both.nfs(0, "stat -c %a plain").strip()[0] == "6"
    both.nfs(UID, "! test -x plain")
    both.acl("plain", "-a", f"ACL:{OTHER}:ALLOWED/0x0/READ")
    both.nfs(OTHER_UID, "cat plain; ! { echo more >>plain; }")
    both.nfs(UID, "chmod 600 plain; cat plain")
    both.nfs(OTHER_UID, "! cat plain")
