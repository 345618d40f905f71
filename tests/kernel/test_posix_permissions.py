"""Permissions at a real client: users and groups, set-id bits, sticky and set-group-id directories."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kernel.conftest import Mount, mount
from tests.support import netns, uml
from tests.support.caudal import Caudal

MEMBER, STRANGER = 4242, 4243
GROUPS = range(5001, 5026)


def test_users_groups_and_others(mounted: Mount) -> None:
    mounted.python("""
os.chmod(".", 0o777)
write("f", b"data"); os.chown("f", 1001, 2001)
def reads(): return read("f")
def appends():
    with open("f", "ab") as file: file.write(b"")
def tries(mode, uid, gid, *groups):
    os.chmod("f", mode); out = ""
    with user(uid, gid, *groups):
        for letter, call in (("r", reads), ("w", appends)):
            try: call(); out += letter
            except PermissionError: pass
    return out
assert tries(0o600, 1001, 1) == "rw" and tries(0o060, 1001, 2001) == ""
assert tries(0o060, 5, 2001) == "rw" and tries(0o040, 5, 9, 8, 2001) == "r" and tries(0o606, 5, 2001) == ""
assert tries(0o006, 5, 9) == "rw" and tries(0o660, 5, 9) == "" and tries(0o002, 5, 9) == "w"
assert tries(0o000, 0, 0) == "rw"
with user(5, 9):
    for call in (lambda: os.chmod("f", 0o777), lambda: os.chown("f", 5, 9), lambda: os.utime("f", ns=(1, 1))):
        with fails(errno.EPERM): call()
with user(1001, 1, 2001, 3001):
    os.chmod("f", 0o640); os.chown("f", -1, 3001); os.utime("f", ns=(1, 1))
    with fails(errno.EPERM): os.chown("f", -1, 4001)
    with fails(errno.EPERM): os.chown("f", 1002, -1)
os.mkdir("d", 0o700); write("d/x"); os.mkdir("d/open"); os.chmod("d/open", 0o777); os.chown("d", 1001, 2001)
with user(5, 9):
    for call in (lambda: os.listdir("d"), lambda: os.stat("d/x"), lambda: write("d/y"), lambda: os.unlink("d/x")):
        with fails(errno.EACCES): call()
os.chmod("d", 0o711)
with user(5, 9):
    os.stat("d/x"); write("d/open/y")
    with fails(errno.EACCES): os.listdir("d")
    """)


def test_writing_truncating_and_giving_away_clear_set_id_bits(mounted: Mount) -> None:
    mounted.python("""
os.chmod(".", 0o777)
def fresh(mode=0o6777):
    write("f", b"data"); os.chown("f", 1001, 1001); os.chmod("f", mode)
def mode(): return stat.S_IMODE(os.stat("f").st_mode)
def appends():
    with open("f", "ab") as file: file.write(b"x")
for change in (appends, lambda: os.truncate("f", 2), lambda: write("f", b"new")):
    fresh()
    with user(1001, 1001): change()
    assert mode() == 0o777, oct(mode())
    fresh()
    with user(7, 7): change()
    assert mode() == 0o777, oct(mode())
    # Without execution by the group the bit is no privilege.
    fresh(0o2767)
    with user(7, 7): change()
    assert mode() == 0o2767, oct(mode())
fresh(); os.chown("f", 1002, -1); assert mode() == 0o777
fresh(); os.chown("f", -1, 1002); assert mode() == 0o777
fresh()
with user(1001, 1001, 1003): os.chown("f", -1, 1003)
assert mode() == 0o777
# Nobody but root gives a bit of a group that is not his.
fresh(0o755); os.chown("f", 1001, 5)
with user(1001, 1001): os.chmod("f", 0o2755)
assert mode() == 0o755
    """)


def test_set_group_id_directories(mounted: Mount) -> None:
    mounted.python("""
os.mkdir("d"); os.chown("d", 0, 3001); os.chmod("d", 0o2777)
with user(1001, 1001):
    write("d/file"); os.mkdir("d/sub"); os.symlink("x", "d/link"); os.mkfifo("d/fifo")
    os.mkdir("d/sub/deep")
for name in ("file", "sub", "link", "fifo", "sub/deep"):
    found = os.lstat(f"d/{name}"); assert (found.st_uid, found.st_gid) == (1001, 3001), (name, found)
    is_directory = stat.S_ISDIR(found.st_mode)
    assert bool(found.st_mode & stat.S_ISGID) == is_directory, (name, oct(found.st_mode))
with user(1001, 1001): os.chmod("d/sub", 0o755)
write("mine"); assert os.stat("mine").st_gid == 0
    """)


def test_sticky_directories(mounted: Mount) -> None:
    mounted.python("""
os.mkdir("d"); os.chmod("d", 0o1777)
with user(1001, 1001): write("d/one"); write("d/other"); os.mkdir("d/sub")
with user(1002, 1002):
    write("d/two")
    for call in (lambda: os.unlink("d/one"), lambda: os.rename("d/one", "d/x"), lambda: os.rename("d/two", "d/one"),
                 lambda: os.rmdir("d/sub"), lambda: os.rename("d/sub", "d/y")):
        with fails(errno.EPERM, errno.EACCES): call()
    os.link("d/two", "d/three"); os.rename("d/two", "d/four")
with user(1001, 1001): os.unlink("d/one"); os.rmdir("d/sub")
os.chown("d", 1002, -1)
with user(1002, 1002): os.unlink("d/other")
assert sorted(os.listdir("d")) == ["four", "three"]
    """)


@pytest.fixture
def users(private_network: None, tmp_path: Path) -> Iterator[None]:
    """A user in 25 groups, in this machine's database as the run sees it."""
    lines = {
        "passwd": f"member:x:{MEMBER}:{MEMBER}::/:/bin/sh\n",
        "group": f"member:x:{MEMBER}:\n" + "".join(f"caudal{gid}:x:{gid}:member\n" for gid in GROUPS),
    }
    for name, more in lines.items():
        (tmp_path / name).write_text(Path("/etc", name).read_text() + more)
        netns.run("mount", "--bind", str(tmp_path / name), f"/etc/{name}")
    yield
    for name in lines:
        netns.run("umount", f"/etc/{name}")


@pytest.mark.parametrize("version", ["3", "4.2"])
def test_more_groups_than_a_request_can_name(
    client: uml.Client, shared: Caudal, caudal: Callable[..., Caudal], users: None, version: str
) -> None:
    script = f"""
os.mkdir("d"); os.chown("d", 0, {GROUPS[-1]}); os.chmod("d", 0o770)
def enters(uid, *groups):
    with user(uid, uid, *groups):
        try: os.listdir("d"); write("d/f"); return True
        except PermissionError: return False
print(enters({MEMBER}, *range({GROUPS[0]}, {GROUPS[-1]} + 1)), enters({STRANGER}, {GROUPS[-1]}), enters(0))
"""
    for server, expected in (
        (shared, "False True True"),
        (caudal(options=("--manage-gids", "yes")).start(), "True False True"),
    ):
        point = mount(client, server, version)
        client.run(f"mkdir {point}/groups-{version}")
        at = Mount(client, server, version, f"{point}/groups-{version}")
        assert at.python(script).strip() == expected
        client.unmount(point)
