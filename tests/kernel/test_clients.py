"""What people do with files, done by the kernel's own clients, by every version of the protocol."""

from pathlib import Path

import pytest

from tests.kernel.conftest import Mount
from tests.support import uml
from tests.support.caudal import Caudal

# Everything but the sizes and link counts of directories.
LISTING = (
    "find . -printf '%P %y %m %U %G %n %s %T@ %l\\n'"
    " | sed -E 's/^(.* d [0-7]+ [0-9]+ [0-9]+) [0-9]+ [0-9]+ /\\1 /' | sort"
)


def test_a_tree_is_copied_and_compared(mounted: Mount, tree: Path) -> None:
    mounted.sh(f"cp -a {tree} copy")
    mounted.sh(f"diff -r --no-dereference {tree} copy --exclude=fifo")
    mounted.sh(f"diff <(cd {tree}; {LISTING}) <(cd copy; {LISTING})")
    # From the server, not from this client's cache; then from the store, not from the server's.
    again = mounted.remount()
    again.sh(
        f"diff -r --no-dereference {tree} copy --exclude=fifo; diff <(cd {tree}; {LISTING}) <(cd copy; {LISTING})"
    )
    mounted.server.flush()
    mounted.server.cli("cache", "drop")
    cold = again.remount()
    cold.sh(f"diff -r --no-dereference {tree} copy --exclude=fifo")
    assert cold.sh("./copy/odd/program") == "it runs\n"
    cold.sh('rm -r copy; test -z "$(ls -A)"')


def test_git(mounted: Mount, repository: Path) -> None:
    mounted.sh(f"""
        export GIT_CONFIG_GLOBAL=$PWD/.gitconfig
        git config --global user.name Tester; git config --global user.email tester@example.invalid
        git config --global safe.directory '*'
        git clone -q --no-local {repository} work
        cd work
        test -z "$(git status --porcelain)"
        git fsck --full --strict
        echo change >>fs.h; echo new >new.txt; git add -A; git commit -q -m 'A change'
        git clone -q --bare . ../bare.git
        git remote add bare ../bare.git
        git checkout -q -b side HEAD~3; git checkout -q main
        git gc -q --prune=now
        git fsck --full --strict
        git push -q bare main side
        test "$(git -C ../bare.git rev-parse main)" = "$(git rev-parse HEAD)"
    """)


def test_tar(mounted: Mount, tree: Path) -> None:
    mounted.sh(f"""
        tar -C {tree} -cf archive.tar .
        mkdir out; tar -xpf archive.tar -C out
        tar -C out --compare -f archive.tar
        tar -C out -czf again.tar.gz .; gzip -t again.tar.gz
    """)


def test_sqlite(mounted: Mount) -> None:
    mounted.sh("""
        sqlite3 db 'create table t(id integer primary key, text)'
        for round in 1 2 3 4 5; do
            sqlite3 db "begin; with recursive n(i) as (select 1 union all select i + 1 from n where i < 200)
                insert into t(text) select hex(randomblob(200)) from n; commit"
        done
        test "$(sqlite3 db 'select count(*) from t; pragma integrity_check')" = "$(printf '1000\\nok')"
        sqlite3 db 'delete from t where id % 3; vacuum; pragma integrity_check' | grep -qx ok
    """)


def test_unlinked_while_open(mounted: Mount) -> None:
    mounted.sh("""
        echo content >f; exec 5<f; rm f; test ! -e f
        test "$(cat <&5)" = content; exec 5<&-
        # The client of NFS 3 removes its own hidden name in the background.
        for _ in $(seq 50); do test -z "$(ls -A)" && break; sleep 0.1; done
        test -z "$(ls -A)"
        mkdir d; cd d; rmdir ../d; cd ..
    """)


def test_memory_maps_appends_and_holes(mounted: Mount) -> None:
    mounted.sh(r"""
python3 - <<'END'
import mmap, os
with open("mapped", "w+b") as file:
    file.truncate(1 << 20)
    with mmap.mmap(file.fileno(), 1 << 20) as view:
        view[4000:4200] = b"m" * 200
        view.flush()
with open("mapped", "rb") as file:
    data = file.read()
assert data == bytes(4000) + b"m" * 200 + bytes((1 << 20) - 4200)
for number in range(50):
    with open("log", "a") as file:
        file.write(f"line {number}\n")
assert open("log").read() == "".join(f"line {number}\n" for number in range(50))
fd = os.open("holes", os.O_RDWR | os.O_CREAT)
for at in (0, 1 << 30, 1 << 20, 12345):
    os.pwrite(fd, b"here", at)
os.fsync(fd)
assert os.fstat(fd).st_size == (1 << 30) + 4 and os.pread(fd, 6, (1 << 20) - 1) == b"\0here\0"
os.ftruncate(fd, 12347)
assert os.pread(fd, 100, 12340) == b"\0" * 5 + b"he"
os.close(fd)
END
    """)


def test_a_large_directory(mounted: Mount) -> None:
    mounted.sh("mkdir many; cd many; seq -f 'file number %05g' 2000 | xargs -d '\\n' touch")
    again = mounted.remount()
    again.sh("""
        test "$(ls many | wc -l)" = 2000
        test "$(ls -l many | tail -n +2 | awk '{print $NF}' | sort -u | wc -l)" = 2000
        find many -name '*5' -delete; test "$(ls many | wc -l)" = 1800
        rm -r many
    """)


def test_permissions_of_users(mounted: Mount) -> None:
    mounted.sh("""
        mkdir private; chown 1000:1000 private; chmod 700 private
        as() { setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"; }
        as 1000 sh -c 'echo mine >private/f; chmod 600 private/f'
        test "$(stat -c '%u %a' private/f)" = '1000 600'
        ! as 1001 cat private/f 2>/dev/null
        ! as 1001 touch f 2>/dev/null
        as 1000 cat private/f
    """)


@pytest.mark.parametrize("version", uml.VERSIONS)
def test_two_clients_see_each_other(shared: Caudal, client: uml.Client, version: str) -> None:
    from tests.kernel.conftest import mount

    with uml.Client() as second:
        here, there = mount(client, shared, version), mount(second, shared, version)
        for round_ in range(3):
            client.run(f"echo {round_} >{here}/seen-{version}; echo new >{here}/new-{version}-{round_}")
            assert second.run(f"cat {there}/seen-{version}").output == f"{round_}\n"
            second.run(f"cat {there}/new-{version}-{round_}; rm {there}/new-{version}-{round_}")
            client.run(f"! ls {here} | grep new-{version}")
        # A lock that one holds keeps the other out, and is free when its holder is gone.
        client.run(f"touch {here}/lock-{version}")
        holder = client.start_command(f"flock {here}/lock-{version} sh -c 'echo held; sleep 4'")
        wait = f"flock -n {there}/lock-{version} true"
        uml.wait_until(lambda: "held" in holder.output(), "the first client has the lock")
        assert second.run(wait, check=False).status == 1
        holder.wait()
        second.run(f"flock -w 20 {there}/lock-{version} true")
        client.run(f"umount {here}")
        second.run(f"umount {there}")


def test_the_clients_kernel_did_not_complain(client: uml.Client) -> None:
    messages = client.kernel_messages().splitlines()
    bad = [
        line
        for line in messages
        if any(word in line for word in ("BUG", "Oops", "nfs: RPC call returned", "NFS: v4"))
    ]
    assert not bad
