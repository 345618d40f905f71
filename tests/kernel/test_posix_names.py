"""Names at a real client: renames, removals, limits, names of any bytes, objects of every kind."""

from tests.kernel.conftest import Mount


def test_limits_of_names_and_paths(mounted: Mount) -> None:
    mounted.python("""
longest = "x" * 255
write(longest, b"1"); assert read(longest) == b"1"
os.mkdir("y" * 255); os.symlink("target", "z" * 255); os.link(longest, "l" * 255); os.rename(longest, "r" * 255)
for call in (lambda n: os.stat(n), lambda n: write(n), lambda n: os.mkdir(n), lambda n: os.symlink("t", n),
             lambda n: os.link("r" * 255, n), lambda n: os.rename("r" * 255, n), lambda n: os.unlink(n),
             lambda n: os.rmdir(n), lambda n: os.mkfifo(n)):
    with fails(errno.ENAMETOOLONG):
        call("x" * 256)
assert os.pathconf(".", "PC_NAME_MAX") == 255
assert sorted(map(len, os.listdir("."))) == [255] * 4
# A path of 4095 bytes is the longest, whatever it is made of.
with fails(errno.ENAMETOOLONG):
    os.stat("./" * 2048 + "x")
os.symlink("a" * 4095, "far"); assert len(os.readlink("far")) == 4095
    """)


def test_symbolic_links_in_circles(mounted: Mount) -> None:
    mounted.python("""
os.symlink("b", "a"); os.symlink("a", "b"); os.symlink("self", "self")
for name in ("a", "self", "a/x"):
    for call in (os.stat, os.listdir, read, lambda n: write(n), lambda n: os.chmod(n, 0o600), lambda n: os.truncate(n, 0)):
        with fails(errno.ELOOP):
            call(name)
os.lstat("a"); assert os.readlink("self") == "self"
# Forty in a row are too many, ten are not.
write("end", b"here"); os.symlink("end", "0")
for number in range(1, 50):
    os.symlink(str(number - 1), str(number))
assert read("10") == b"here"
with fails(errno.ELOOP):
    read("49")
    """)


def test_directories_that_are_not_empty_or_none(mounted: Mount) -> None:
    mounted.python("""
os.makedirs("full/below"); os.mkdir("empty"); write("file"); write("other")
with fails(errno.ENOTEMPTY, errno.EEXIST): os.rmdir("full")
with fails(errno.ENOTEMPTY, errno.EEXIST): os.rename("empty", "full")
with fails(errno.EINVAL): os.rename("full", "full/below/x")
with fails(errno.ENOTDIR): os.rename("empty", "file")
with fails(errno.EISDIR): os.rename("file", "empty")
with fails(errno.EISDIR, errno.EPERM): os.unlink("empty")
with fails(errno.ENOTDIR): os.rmdir("file")
with fails(errno.ENOTDIR): os.stat("file/x")
with fails(errno.EEXIST): os.mkdir("file")
with fails(errno.EPERM): os.link("empty", "second")
with fails(errno.ENOENT): os.rename("missing", "x")
with fails(errno.ENOENT): write("missing/x")
inode = os.stat("full").st_ino
os.rename("full", "empty"); assert os.stat("empty").st_ino == inode and os.path.isdir("empty/below")
inode = os.stat("file").st_ino
os.rename("file", "other"); assert os.stat("other").st_ino == inode and not os.path.exists("file")
os.rename("other", "other"); assert os.stat("other").st_ino == inode
os.link("other", "twin"); os.rename("other", "twin")
assert os.stat("other").st_nlink == 2, "a rename between two names of one file does nothing"
    """)


def test_link_counts(mounted: Mount) -> None:
    mounted.python("""
def links(name="."): return os.stat(name).st_nlink
before = links()
for name in "abc": os.mkdir(name)
os.mkdir("a/inner"); write("a/file")
assert (links() - before, links("a"), links("b")) == (3, 3, 2)
os.rename("a/inner", "b/inner"); assert (links("a"), links("b")) == (2, 3)
os.rename("c", "b/inner"); assert (links() - before, links("b")) == (2, 3)
os.rmdir("b/inner"); assert links("b") == 2
write("f"); os.link("f", "a/g"); os.link("a/g", "b/h"); assert links("f") == links("b/h") == 3
os.unlink("f"); os.rename("a/g", "b/h2"); os.unlink("b/h"); assert links("b/h2") == 1
    """)


def test_names_of_any_bytes(mounted: Mount) -> None:
    mounted.python(r"""
names = [bytes([byte]) * 3 for byte in range(1, 256) if byte != 0x2f]
names += [b"\xff\xfe\xfd", b"\xc3\x28", "größe".encode(), "größe".encode("latin-1"), b"a b\tc\nd", b"-rf", b"...", b"\\"]
for number, name in enumerate(names):
    write(name, b"%d" % number)
assert sorted(os.listdir(b".")) == sorted(set(names))
os.mkdir(b"\x80dir"); os.rename(names[5], b"\x80dir/\x81"); os.symlink(b"\xfe/\xff", b"\x82link")
    """)
    mounted.remount().python(r"""
found = os.listdir(b".")
assert len(found) == 256 - 2 + 8 + 2 - 1 - 1, len(found)
assert os.readlink(b"\x82link") == b"\xfe/\xff" and os.listdir(b"\x80dir") == [b"\x81"]
assert read("größe".encode("latin-1")) != read("größe".encode())
for name in found:
    os.lstat(name)
    """)


def test_open_files_that_lose_their_names(mounted: Mount) -> None:
    mounted.python("""
fd = os.open("doomed", os.O_RDWR | os.O_CREAT)
os.write(fd, b"before "); os.unlink("doomed"); os.write(fd, b"after"); os.fsync(fd)
assert os.pread(fd, 100, 0) == b"before after" and not os.path.exists("doomed")
write("doomed", b"another"); assert os.pread(fd, 100, 0) == b"before after"
os.ftruncate(fd, 3); assert os.pread(fd, 100, 0) == b"bef"
os.close(fd)
fd = os.open("victim", os.O_RDWR | os.O_CREAT); os.write(fd, b"old")
write("new", b"new"); os.rename("new", "victim")
assert os.pread(fd, 10, 0) == b"old" and read("victim") == b"new"
os.write(fd, b"er"); os.fsync(fd); assert os.pread(fd, 10, 0) == b"older" and read("victim") == b"new"
os.close(fd)
fd = os.open("moved", os.O_RDWR | os.O_CREAT); os.mkdir("d"); os.rename("moved", "d/moved")
os.write(fd, b"followed"); os.close(fd); assert read("d/moved") == b"followed"
    """)
    assert mounted.remount().sh("ls -A").split() == ["d", "doomed", "victim"]


def test_objects_of_every_kind(mounted: Mount) -> None:
    mounted.python("""
import socket
os.mkfifo("fifo", 0o640)
socket.socket(socket.AF_UNIX).bind("socket")
os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
os.mknod("disk", stat.S_IFBLK | 0o660, os.makedev(259, 70000))
os.mknod("plain", stat.S_IFREG | 0o604)
    """)
    mounted.remount().python("""
kinds = {name: stat.S_IFMT(os.lstat(name).st_mode) for name in os.listdir(".")}
assert kinds == {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "null": stat.S_IFCHR, "disk": stat.S_IFBLK,
                 "plain": stat.S_IFREG}, kinds
assert os.stat("null").st_rdev == os.makedev(1, 3) and os.stat("disk").st_rdev == os.makedev(259, 70000)
with open("null", "wb") as null:
    null.write(b"x" * 1000)
assert os.stat("null").st_size == 0
if os.fork() == 0:
    write("fifo", b"through the pipe"); os._exit(0)
assert read("fifo") == b"through the pipe"; os.wait()
os.rename("fifo", "pipe"); os.link("pipe", "second"); os.unlink("pipe"); os.unlink("socket")
    """)
