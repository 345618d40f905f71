"""NFSv4 access control lists at a real client: kept, obeyed by every version, inherited, and in step with the mode."""

from collections.abc import Iterator

import pytest

from tests.kernel.conftest import PRELUDE, Mount, mount
from tests.support import uml
from tests.support.caudal import Caudal

# The list as Linux shows it: what goes over the wire.
LISTS = (
    PRELUDE
    + r"""
import struct
NAME = "system.nfs4_acl"
ALLOW, DENY = 0, 1
FILES, DIRECTORIES, ONCE, ONLY, GROUP, INHERITED = 1, 2, 4, 8, 0x40, 0x80
R, W, A, X, CHILD, DELETE = 1, 2, 4, 0x20, 0x40, 0x10000
BASE = 0x120088  # attributes, the list, named attributes, synchronize
WRITING = 0x110  # named and other attributes
FULL = 0x1f01ff

def encode(entries):
    out = struct.pack(">I", len(entries))
    for kind, flags, mask, who in entries:
        name = who.encode()
        out += struct.pack(">4I", kind, flags, mask, len(name)) + name + bytes(-len(name) % 4)
    return out

def acl(path):
    content = os.getxattr(path, NAME)
    (count,), at, out = struct.unpack_from(">I", content), 4, []
    for _ in range(count):
        kind, flags, mask, length = struct.unpack_from(">4I", content, at)
        at += 16
        out.append((kind, flags, mask, content[at : at + length].decode().split("@localdomain")[0]))
        at += length + -length % 4
    return out

def set_acl(path, *entries):
    os.setxattr(path, NAME, encode(entries))

def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)

OWNER, EVERYONE = (ALLOW, 0, R | W | A | BASE, "OWNER@"), (ALLOW, 0, BASE, "EVERYONE@")
"""
)


def python(mounted: Mount, text: str) -> str:
    return mounted.sh(f"python3 - <<'END'\n{LISTS}\n{text}\nEND")


@pytest.fixture
def modern(client: uml.Client, shared: Caudal, request: pytest.FixtureRequest) -> Iterator[Mount]:
    """A directory of the test's own in a mount by the version that the appliance's own has."""
    point, name = mount(client, shared, "4.2"), request.node.name
    client.run(f"mkdir {point}/{name}; chmod 777 {point}/{name}")
    yield Mount(client, shared, "4.2", f"{point}/{name}")
    client.run("cd /; for point in $(awk '$3 ~ /^nfs/ {print $2}' /proc/mounts); do umount -f $point; done")


def test_a_file_without_one_shows_what_its_mode_comes_to(modern: Mount) -> None:
    python(
        modern,
        r"""
for bits in (0o640, 0o777, 0o000, 0o474, 0o705):
    write("f"); os.chmod("f", bits)
    found = acl("f")
    assert {who for _, _, _, who in found} == {"OWNER@", "GROUP@", "EVERYONE@"} and mode("f") == bits, found
    os.setxattr("f", NAME, os.getxattr("f", NAME))
    assert mode("f") == bits and acl("f") == found
    os.unlink("f")
everyones = [entry[:3] for entry in acl(".") if entry[3] == "EVERYONE@"]
assert everyones == [(ALLOW, 0, R | W | A | CHILD | X | BASE | WRITING)]
for bad in (encode([(2, 0, R, "OWNER@")]), encode([OWNER] * 401)):
    write("f")
    with fails(errno.EINVAL, errno.ENOTSUP, errno.ENOSPC, errno.EIO): os.setxattr("f", NAME, bad)
set_acl("f"); os.chown("f", 1001, 1)
assert mode("f") == 0 and len(acl("f")) == 1
with user(1001, 1):
    with fails(errno.EACCES): read("f")
    set_acl("f", OWNER)
    read("f")
""",
    )


SET = r"""
for name in ("let in", "kept out", "both"):
    write(name, b"data", 0o600); os.chown(name, 1001, 2001)
os.mkdir("d", 0o700); os.chown("d", 1001, 2001)
set_acl("let in", (ALLOW, 0, R | BASE, "1002"), (ALLOW, GROUP, R | W | A | BASE, "3003"), OWNER, EVERYONE)
set_acl("kept out", (DENY, 0, R, "1002"), OWNER, (ALLOW, 0, R | BASE, "EVERYONE@"))
set_acl("both", (DENY, 0, W, "1002"), (ALLOW, GROUP, R | W | A | BASE, "3003"), OWNER, EVERYONE)
set_acl("d", (ALLOW, 0, R | X | W | BASE, "1002"), (ALLOW, 0, X | BASE, "1003"), (ALLOW, 0, FULL, "OWNER@"), EVERYONE)
write("d/of owner", b"x", 0o644); os.chown("d/of owner", 1001, 2001)
write("d/to delete", b"x", 0o644); set_acl("d/to delete", (ALLOW, 0, R | DELETE | BASE, "1003"), OWNER, EVERYONE)
"""

CHECK = r"""
def tries(path, uid, gid, *groups):
    out = ""
    with user(uid, gid, *groups):
        for letter, flag in (("r", os.O_RDONLY), ("w", os.O_WRONLY)):
            try:
                fd = os.open(path, flag); os.read(fd, 1) if letter == "r" else os.write(fd, b"d"); os.close(fd)
                out += letter
            except PermissionError: pass
    return out
callers = ((1001, 1), (1002, 1), (1003, 3003), (1003, 1, 3003), (1003, 1))
assert [tries("let in", *who) for who in callers] == ["rw", "r", "rw", "rw", ""]
assert [tries("kept out", *who) for who in ((1001, 1), (1002, 1), (1003, 1))] == ["rw", "", "r"]
assert [tries("both", *who) for who in ((1002, 3003), (1003, 3003))] == ["r", "rw"]
assert (mode("let in"), mode("kept out"), mode("both")) == (0o600, 0o644, 0o600)
with user(1002, 1):
    write("d/made"); os.listdir("d"); write("d/own"); os.unlink("d/own")
    for call in (lambda: os.mkdir("d/sub"), lambda: os.unlink("d/of owner"), lambda: os.rename("d/of owner", "d/moved")):
        with fails(errno.EACCES): call()
with user(1003, 1):
    assert read("d/of owner") == b"x"
    for call in (lambda: os.listdir("d"), lambda: write("d/other"), lambda: os.unlink("d/of owner")):
        with fails(errno.EACCES): call()
    assert read("d/to delete") == b"x"
    for call in (lambda: os.chmod("d/to delete", 0o666), lambda: os.chown("d/to delete", 1003, -1)):
        with fails(errno.EPERM): call()
os.unlink("d/made")
"""


def test_entries_let_in_and_keep_out_by_every_version(
    modern: Mount, client: uml.Client, shared: Caudal
) -> None:
    python(modern, SET + CHECK)
    for version in ("3", "4.0", "4.2"):
        point = mount(client, shared, version)
        place = f"{point}/{modern.at.rsplit('/', 1)[1]}"
        python(Mount(client, shared, version, place), CHECK)
    python(modern, 'with user(1003, 1): os.unlink("d/to delete")')


def test_new_objects_inherit(modern: Mount) -> None:
    python(
        modern,
        r"""
os.umask(0o077)
os.mkdir("d"); os.chown("d", 1001, 2001)
set_acl("d", (ALLOW, FILES | DIRECTORIES, R | W | A | X | BASE, "1002"), (DENY, FILES | ONLY, W | A, "1003"),
        (ALLOW, DIRECTORIES | ONCE, X | BASE, "1004"), (ALLOW, 0, FULL, "OWNER@"), (ALLOW, 0, R | BASE, "EVERYONE@"))
assert mode("d") == 0o744
write("d/f", b"data"); os.mkdir("d/s"); write("d/s/f", b"data"); os.mkdir("d/s/s"); os.symlink("f", "d/l")
assert acl("d/f")[:2] == [(ALLOW, INHERITED, R | W | A | X | BASE, "1002"), (DENY, INHERITED, W | A, "1003")], acl("d/f")
assert acl("d/s")[:3] == [(ALLOW, FILES | DIRECTORIES | INHERITED, R | W | A | X | BASE, "1002"),
    (DENY, FILES | ONLY | INHERITED, W | A, "1003"), (ALLOW, INHERITED, X | BASE, "1004")], acl("d/s")
assert acl("d/s/f")[:2] == acl("d/f")[:2] and acl("d/s/s")[:2] == acl("d/s")[:2]
assert mode("d/f") == 0o600 and mode("d/s") == 0o700
with user(1002, 1):
    write("d/f", b"more"); write("d/s/f", b"more"); write("d/s/new"); assert read("d/l") == b"more"
os.close(os.open("d/exclusive", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
assert acl("d/exclusive")[:2] == acl("d/f")[:2]
# What the directory gives to all, a umask does not take away.
set_acl("d", *((ALLOW, FILES | DIRECTORIES, FULL, who) for who in ("OWNER@", "GROUP@", "EVERYONE@")))
write("d/g"); os.mkdir("d/t")
assert mode("d/g") == 0o777 and mode("d/t") == 0o777
with user(1005, 1): write("d/g", b"anybody's")
""",
    )


def test_mode_and_list_follow_each_other(modern: Mount) -> None:
    python(
        modern,
        r"""
write("f", b"data"); os.chown("f", 1001, 2001)
set_acl("f", (ALLOW, 0, R | W | A | BASE, "1002"), (DENY, 0, R, "1003"), OWNER, (ALLOW, 0, R | BASE, "EVERYONE@"))
before = os.stat("f").st_ctime_ns
assert mode("f") == 0o644
# 1002 may more than the group until somebody sets a mode, be it the one that is there.
os.chmod("f", 0o644)
kept = acl("f")
assert kept[:2] == [(ALLOW, 0, R | BASE, "1002"), (DENY, 0, R, "1003")], kept
os.chmod("f", 0o644)
assert acl("f") == kept
os.chmod("f", 0o640)
assert os.stat("f").st_ctime_ns > before and mode("f") == 0o640
assert acl("f")[:2] == [(ALLOW, 0, R | BASE, "1002"), (DENY, 0, R, "1003")], acl("f")
with user(1002, 1):
    assert read("f") == b"data"
    with fails(errno.EACCES): write("f")
with user(1005, 1):
    with fails(errno.EACCES): read("f")
with user(1001, 1):
    os.chmod("f", 0o600)
    assert read("f") == b"data"
with user(1002, 1):
    with fails(errno.EACCES): read("f")
os.chmod("f", 0o6755); set_acl("f", (ALLOW, 0, R | BASE, "1002"), OWNER)
assert mode("f") == 0o6600 and len(acl("f")) == 2
with user(1005, 1):
    with fails(errno.EPERM): set_acl("f", OWNER)
""",
    )


def test_the_usual_tools(modern: Mount) -> None:
    modern.sh("""
        echo data >f; chmod 600 f; chown 1001 f
        nfs4_setfacl -a A::1002:R f
        nfs4_getfacl f | grep -q '^A::1002'
        setpriv --reuid 1002 --regid 1 --clear-groups cat f
        ! setpriv --reuid 1003 --regid 1 --clear-groups cat f
        mv f g; ln g h; cp -a g copy
        setpriv --reuid 1002 --regid 1 --clear-groups cat h
    """)


@pytest.mark.timeout(120)
def test_lists_survive_a_kill_and_a_checkpoint(modern: Mount) -> None:
    python(modern, SET)
    server = modern.server
    server.expect(r"killed|died|ended|restart|ganesha|steward|connection")
    server.wait_restarted(server.kill_server())
    again = modern.remount()
    python(again, CHECK)
    server.flush()
    server.wait_restarted(server.kill_server())
    python(again.remount(), CHECK)


def test_who_may_change_the_list_makes_nothing_run_as_the_owner(modern: Mount) -> None:
    python(
        modern,
        """
write("tool", b"#!/bin/sh", 0o755)
set_acl("tool", OWNER, (ALLOW, 0, FULL, "1000"), EVERYONE)
with user(1000, 1000):
    write("tool", b"#!/bin/sh -e")
    os.chmod("tool", 0o6755)
assert mode("tool") & 0o6000 == 0, oct(mode("tool"))
# The owner's bits stay when he sets a list, and go when somebody else does.
os.chown("tool", 1001, 1001)
with user(1001, 1001):
    os.chmod("tool", 0o4755)
    set_acl("tool", (ALLOW, 0, FULL, "OWNER@"), (ALLOW, 0, FULL, "1000"), EVERYONE)
assert mode("tool") & 0o4000, oct(mode("tool"))
with user(1000, 1000):
    set_acl("tool", (ALLOW, 0, FULL, "OWNER@"), (ALLOW, 0, FULL, "1000"), (ALLOW, 0, X | BASE, "EVERYONE@"))
assert mode("tool") & 0o6000 == 0, oct(mode("tool"))
""",
    )


def test_an_entry_for_a_name_that_nobody_knows_is_refused(modern: Mount) -> None:
    """Ganesha takes the anonymous user for it, who is everybody that is squashed."""
    python(
        modern,
        """
write("file", b"x", 0o600)
for who in ("stranger@elsewhere.example", "stranger@localdomain"):
    with fails(errno.EINVAL):
        set_acl("file", OWNER, (ALLOW, 0, R | BASE, who), EVERYONE)
assert len(acl("file")) == 3, acl("file")
""",
    )
