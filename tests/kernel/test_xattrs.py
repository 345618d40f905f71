"""Extended attributes as the kernel's client has them: over NFS 4.2 those of users, over the others none."""

from collections.abc import Iterator

import pytest

from tests.kernel.conftest import Mount, mount
from tests.support import uml
from tests.support.caudal import Caudal

PYTHON = """
import errno, os
def refused(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except OSError as error:
        return errno.errorcode[error.errno]
    return ""
ACL = "system.nfs4_acl"  # what Linux adds to every list; tests/kernel/test_acls.py
def everything(path):
    return {name: os.getxattr(path, name) for name in os.listxattr(path) if name != ACL}
"""


def python(mounted: Mount, text: str) -> str:
    return mounted.sh(f"python3 - <<'END'\n{PYTHON}\n{text}\nEND")


@pytest.fixture
def modern(client: uml.Client, shared: Caudal, request: pytest.FixtureRequest) -> Iterator[Mount]:
    """A directory of the test's own in a mount by the version that has extended attributes."""
    point, name = mount(client, shared, "4.2"), request.node.name
    client.run(f"mkdir {point}/{name}")
    yield Mount(client, shared, "4.2", f"{point}/{name}")
    client.run("cd /; for point in $(awk '$3 ~ /^nfs/ {print $2}' /proc/mounts); do umount -f $point; done")


def test_versions_without_them_say_so(mounted: Mount) -> None:
    if mounted.version != "4.2":
        python(
            mounted,
            r"""
os.close(os.open("f", os.O_CREAT))
assert refused(os.setxattr, "f", "user.a", b"1") == "ENOTSUP"
assert refused(os.getxattr, "f", "user.a") == "ENOTSUP"
assert everything("f") == {}
""",
        )


def test_flags_sizes_and_bounds(modern: Mount) -> None:
    python(
        modern,
        r"""
os.close(os.open("f", os.O_CREAT)); os.mkdir("d"); os.symlink("f", "l")
for path in ("f", "d"):
    assert refused(os.getxattr, path, "user.a") == "ENODATA"
    assert refused(os.removexattr, path, "user.a") == "ENODATA"
    assert refused(os.setxattr, path, "user.a", b"1", os.XATTR_REPLACE) == "ENODATA"
    os.setxattr(path, "user.a", b"1", os.XATTR_CREATE)
    assert refused(os.setxattr, path, "user.a", b"2", os.XATTR_CREATE) == "EEXIST"
    os.setxattr(path, "user.a", b"3", os.XATTR_REPLACE)
    os.setxattr(path, "user.empty", b"")
    os.setxattr(path, "user." + "n" * 250, b"longest")
    os.setxattr(path, b"user.\xff\xfe/", b"any bytes")
    os.setxattr(path, "user.large", bytes(range(256)) * 256)
    assert refused(os.setxattr, path, "user.larger", bytes(65537)) == "E2BIG"
    assert refused(os.setxattr, path, "trusted.a", b"1") == "ENOTSUP"
    assert refused(os.setxattr, path, "system.posix_acl_access", b"1") == "ENOTSUP"
assert refused(os.setxattr, "l", "user.a", b"1", follow_symlinks=False) == "EPERM"
for number in range(14):
    os.setxattr("f", f"user.fill{number}", bytes(65536))
assert refused(os.setxattr, "f", "user.more", bytes(65536)) == "ENOSPC"
for number in range(14):
    os.removexattr("f", f"user.fill{number}")
""",
    )
    # What this client cached is no proof.
    expected = r"""
for path in ("f", "d"):
    found = everything(path)
    assert found == {"user.a": b"3", "user.empty": b"", "user." + "n" * 250: b"longest",
                     os.fsdecode(b"user.\xff\xfe/"): b"any bytes", "user.large": bytes(range(256)) * 256}, found.keys()
"""
    again = modern.remount()
    python(again, expected)
    modern.server.flush()
    python(again.remount(), expected + "os.unlink('f'); os.rmdir('d')")


def test_listing_many_names_with_small_buffers(modern: Mount) -> None:
    python(
        modern,
        r"""
os.close(os.open("f", os.O_CREAT))
names = [f"user.{number:03}-{'x' * 40}" for number in range(600)]
for name in names:
    os.setxattr("f", name, name.encode())
""",
    )
    python(
        modern.remount(),
        r"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
needed = libc.listxattr(b"f", None, 0)
buffer = ctypes.create_string_buffer(needed)
assert libc.listxattr(b"f", buffer, needed - 1) == -1 and ctypes.get_errno() == errno.ERANGE
assert libc.listxattr(b"f", buffer, 20) == -1 and ctypes.get_errno() == errno.ERANGE
assert libc.listxattr(b"f", buffer, needed) == needed
names = [f"user.{number:03}-{'x' * 40}" for number in range(600)]
assert sorted(buffer.raw.split(b"\0")[:-1]) == sorted(name.encode() for name in [*names, ACL])
assert needed == sum(len(name) + 1 for name in [*names, ACL])
assert libc.getxattr(b"f", names[7].encode(), buffer, 3) == -1 and ctypes.get_errno() == errno.ERANGE
assert libc.getxattr(b"f", names[7].encode(), None, 0) == len(names[7])
assert everything("f") == {name: name.encode() for name in names}
""",
    )


def test_copies_and_moves_keep_them(modern: Mount) -> None:
    modern.sh("""
        mkdir -p from/deep; echo content >from/deep/file; ln -s file from/deep/link
        setfattr -n user.colour -v red from/deep/file
        setfattr -n user.owner -v somebody from/deep
        cp -a from to
        test "$(getfattr --only-values -n user.colour to/deep/file)" = red
        test "$(getfattr --only-values -n user.owner to/deep)" = somebody
        echo more >>to/deep/file; chmod 600 to/deep/file; ln to/deep/file to/second
        mv to moved; mv moved/deep/file moved/renamed
        rsync -aX moved/ synced/
        rm -r from
    """)
    again = modern.remount()
    again.sh("""
        for tree in moved synced; do
            test "$(getfattr --only-values -n user.colour $tree/renamed)" = red
            test "$(getfattr --only-values -n user.colour $tree/second)" = red
            test "$(getfattr --only-values -n user.owner $tree/deep)" = somebody
        done
        setfattr -x user.colour moved/second; ! getfattr -n user.colour moved/renamed
        test "$(cat moved/renamed)" = "$(printf 'content\nmore')"
    """)


def test_ctime_moves_and_mtime_does_not(modern: Mount) -> None:
    python(
        modern,
        r"""
os.close(os.open("f", os.O_CREAT)); os.mkdir("d")
for path in ("f", "d"):
    for change in (lambda: os.setxattr(path, "user.a", b"1"), lambda: os.removexattr(path, "user.a")):
        before = os.stat(path)
        change()
        after = os.stat(path)
        assert after.st_ctime_ns > before.st_ctime_ns
        assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
""",
    )


def test_permissions(modern: Mount) -> None:
    modern.sh("""
        as() { setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"; }
        touch mine shown; chown 1000:1000 mine shown; chmod 600 mine; chmod 644 shown
        as 1000 setfattr -n user.a -v 1 mine; as 1000 setfattr -n user.a -v 1 shown
        ! as 1001 getfattr -n user.a mine 2>/dev/null
        ! as 1001 setfattr -n user.a -v 2 shown 2>/dev/null
        test "$(as 1001 getfattr --only-values -n user.a shown)" = 1
        mkdir sticky; chmod 1777 sticky; ! as 1000 setfattr -n user.a -v 1 sticky 2>/dev/null
    """)


def test_another_client_sees_what_this_one_sets(modern: Mount) -> None:
    with uml.Client() as second:
        point, _, name = modern.at.rpartition("/")
        there = f"{mount(second, modern.server, '4.2')}/{name}"
        modern.sh("touch f")
        for value in ("one", "two", "three"):
            modern.sh(f"setfattr -n user.a -v {value} f")
            # A stat by the second client asks for the change, once its cached attributes are old.
            second.run(f"ls {there} >/dev/null; exec 5<{there}/f; exec 5<&-")
            assert second.run(f"getfattr --only-values -n user.a {there}/f").output.strip().endswith(value)
        assert point
