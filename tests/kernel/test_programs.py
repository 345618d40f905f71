"""Programs that people run in their directories, by the kernel's own clients."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel.conftest import Mount

MODULES = Path("/usr/lib/python3.11")
PIP = Path("/usr/share/python-wheels")  # Debian's python3-venv brings it
# The older version is test_clients', too, where not all is to be run.
VERSIONS = pytest.mark.parametrize(
    "mounted", ["3", "4.2"] if os.environ.get("TEST_VERSIONS") == "all" else ["4.2"], indirect=True
)
GIT_FILES = 2500

pytestmark = VERSIONS


@pytest.fixture(scope="session")
def large_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare git repository: a few thousand files in a hundred directories, and two branches that differ in many."""
    work, bare = (
        tmp_path_factory.mktemp("git-large") / "work",
        tmp_path_factory.mktemp("git-large") / "large.git",
    )

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.invalid"]
        subprocess.run(["git", *identity, "-C", str(work), *arguments], check=True, capture_output=True)

    work.mkdir()
    git("init", "-q", "-b", "main")
    for number in range(GIT_FILES):
        path = work / f"part{number % 100}" / f"file{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{number}\n" * (1 + number % 300))
    git("add", "-A")
    git("commit", "-q", "-m", "First")
    git("checkout", "-q", "-b", "side")
    for number in range(0, GIT_FILES, 5):
        path = work / f"part{number % 100}" / f"file{number}.txt"
        if number % 2:
            path.unlink()
        else:
            path.write_text(f"changed {number}\n")
            path.chmod(0o755)
    git("add", "-A")
    git("commit", "-q", "-m", "Second")
    git("checkout", "-q", "main")
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True, capture_output=True)
    return bare


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel with a hundred modules and a command, made without any network."""
    source = tmp_path_factory.mktemp("package")
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "sample"\nversion = "1.0"\n'
    )
    (source / "backend.py").write_text(BACKEND)
    code = "import sys, backend; print(backend.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(source)], cwd=source, check=True, capture_output=True, text=True
    )
    return source / done.stdout.strip()


BACKEND = """
import zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    name, info = "sample-1.0-py3-none-any.whl", "sample-1.0.dist-info"
    files = {f"sample/module{n}.py": f"NUMBER = {n}\\n" for n in range(100)}
    files["sample/__init__.py"] = "from .module99 import NUMBER\\n\\ndef main():\\n    print(NUMBER)\\n"
    files[f"{info}/METADATA"] = "Metadata-Version: 2.1\\nName: sample\\nVersion: 1.0\\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    files[f"{info}/entry_points.txt"] = "[console_scripts]\\nsample = sample:main\\n"
    files[f"{info}/RECORD"] = "".join(f"{path},,\\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name
"""


def test_git_of_thousands_of_files(mounted: Mount, large_repository: Path) -> None:
    mounted.sh(
        f"""
        export GIT_CONFIG_GLOBAL=$PWD/.gitconfig; git config --global safe.directory '*'
        git clone -q --no-local {large_repository} work; cd work
        test "$(git ls-files | wc -l)" = {GIT_FILES}
        git checkout -q side; git status --porcelain | wc -l | grep -qx 0
        test "$(find . -name '*.txt' -perm -100 | wc -l)" = {GIT_FILES // 10}
        git checkout -q main; git diff --quiet HEAD
        git gc -q --prune=now; git fsck --full --strict
        # Nothing is stale: the index's times and sizes are still those of the files.
        test -z "$(GIT_TRACE_SETUP=0 git ls-files -m)"
        """,
        timeout_s=300,
    )


def test_python_compiles_a_tree(mounted: Mount) -> None:
    mounted.sh(
        f"""
        cp -r --preserve=timestamps {MODULES}/json {MODULES}/email {MODULES}/xml .
        python3 -m compileall -q json email xml
        # The times that are written into the compiled files are those that the server keeps: nothing is compiled again.
        find . -name '*.pyc' -printf '%P %T@ %i\\n' | sort >before; test $(wc -l <before) -gt 40
        python3 -m compileall -q json email xml
        find . -name '*.pyc' -printf '%P %T@ %i\\n' | sort | diff before -
        """
    )


def test_pip_installs_into_a_virtual_environment(mounted: Mount, wheel: Path) -> None:
    mounted.sh(
        f"""
        export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INDEX=1 HOME=$PWD
        python3 -m venv --without-pip env; pip="python3 $(ls {PIP}/pip-*.whl)/pip --python env/bin/python"
        $pip install -q {wheel}
        test "$(env/bin/sample)" = 99; test "$(find env -path '*/sample/*.pyc' | wc -l)" = 101
        $pip uninstall -q -y sample; test ! -e env/bin/sample; test -z "$(ls env/lib/python3.11/site-packages)"
        """,
        timeout_s=240,
    )


SQLITE_WRITER = """
import sqlite3, sys
path, name, mode = sys.argv[1:]
db = sqlite3.connect(path, timeout=60, isolation_level=None)
assert db.execute(f"pragma journal_mode = {mode}").fetchone() == (mode,)
for number in range(40):
    db.execute("begin immediate")
    (count,) = db.execute("select value from total").fetchone()
    db.execute("insert into t(writer, number, text) values (?, ?, ?)", (name, number, name * 300))
    db.execute("update total set value = ?", (count + 1,))
    db.execute("commit")
"""


def test_sqlite_with_two_writers(mounted: Mount, tmp_path: Path) -> None:
    """Neither loses what the other wrote: each transaction counts up from the other's. WAL keeps its shared memory in a
    mapped file, which two processes of one client share.
    """
    writer = tmp_path / "writer.py"
    writer.write_text(SQLITE_WRITER)
    check = "select count(distinct writer || number) from t; select value from total; pragma integrity_check"
    for mode in ("delete", "wal"):
        mounted.sh(
            f"""
            sqlite3 {mode} 'create table t(writer, number, text); create table total(value);
                insert into total values (0)' 'pragma journal_mode = {mode}'
            python3 {writer} {mode} a {mode} & first=$!
            python3 {writer} {mode} b {mode} & second=$!
            wait $first; wait $second
            """
        )
        assert mounted.sh(f"sqlite3 {mode} '{check}'") == "80\n80\nok\n"
    again = mounted.remount()
    for mode in ("delete", "wal"):
        assert again.sh(f"sqlite3 {mode} '{check}'") == "80\n80\nok\n"


def test_rsync_twice(mounted: Mount, tree: Path) -> None:
    """The second run finds all times, sizes, modes, owners and links as the first left them; with checksums, the bytes."""
    sources = f"{tree}/odd {tree}/encodings"
    mounted.sh(f"rsync -aH --exclude=fifo {sources} copy/")
    again = mounted.remount()
    again.sh(
        f"""
        rsync -aH --exclude=fifo --itemize-changes --stats {sources} copy/ >said
        grep -q 'Number of regular files transferred: 0' said; grep -q 'Total transferred file size: 0 bytes' said
        ! grep -E '^[<>ch.*][fdL]' said
        test -z "$(rsync -aHn --exclude=fifo --checksum --itemize-changes {sources} copy/)"
        # Back from the mount, over what is there, with files that went.
        rm copy/odd/large; echo more >>copy/odd/program; rsync -aH --exclude=fifo --delete --inplace {sources} copy/
        test -z "$(rsync -aHn --exclude=fifo --checksum --itemize-changes --delete {sources} copy/)"
        """
    )


def test_tar_of_the_kernel_s_headers(mounted: Mount) -> None:
    mounted.sh(
        """
        tar -C /usr/include -cf - linux asm-generic | tar -xpf - ; tar -cf archive.tar linux asm-generic
        tar --compare -f archive.tar
        # What is newer than the archive is found, and nothing else.
        echo >>linux/fs.h; tar --listed-incremental=state -cf full.tar linux
        sleep 1.1; echo >>linux/fs.h
        tar --listed-incremental=state -cf new.tar linux; tar -tf new.tar | grep -v '/$' | grep -qx linux/fs.h
        test "$(tar -tf new.tar | grep -vc '/$')" = 1
        """
    )


MAKEFILE = """
OBJECTS := $(patsubst src/%.c,out/%.o,$(wildcard src/*.c))
program: out/all.a ; gcc -o $@ $<
out/all.a: $(OBJECTS) ; ar crs $@ $^
out/%.o: src/%.c src/all.h | out ; gcc -c -o $@ $<
out: ; mkdir $@
"""


def test_make_of_a_c_project(mounted: Mount, tmp_path: Path) -> None:
    """Times of the server are compared by make with the client's clock, and with each other."""
    sources, numbers = tmp_path / "src", range(1, 16)
    sources.mkdir()
    for number in numbers:
        (sources / f"f{number}.c").write_text(
            f'#include "all.h"\nint f{number}(void) {{ return {number}; }}\n'
        )
    (sources / "all.h").write_text("".join(f"int f{number}(void);\n" for number in numbers))
    total = " + ".join(f"f{number}()" for number in numbers)
    (sources / "main.c").write_text(
        f'#include <stdio.h>\n#include "all.h"\nint main(void) {{ printf("%d\\n", {total}); }}\n'
    )
    (tmp_path / "Makefile").write_text(MAKEFILE)
    mounted.sh(
        f"""
        cp -r {tmp_path}/src {tmp_path}/Makefile .
        make -j4 >said 2>&1; test "$(./program)" = {sum(numbers)}
        ! grep -i -e skew -e future said
        make -j4 >said 2>&1; grep -q "'program' is up to date" said; ! grep -i -e skew -e future said
        touch src/f7.c; make -j4 2>&1 | tee said; test "$(grep -c 'gcc -c' said)" = 1; ! grep -i -e skew -e future said
        make -q; make -n | grep -q 'up to date'
        """,
        timeout_s=240,
    )


def test_find_and_list_many_entries(mounted: Mount) -> None:
    mounted.sh(
        """
        mkdir tree wide; mkdir tree/d{01..15}; touch tree/d{01..15}/f{01..50}; touch wide/'file '{0001..1500}
        """
    )
    again = mounted.remount()
    again.sh(
        """
        test "$(find tree | wc -l)" = 766; test "$(find tree -type f | sort -u | wc -l)" = 750
        test "$(find tree -type f -name f50 -size 0 -links 1 -print | wc -l)" = 15
        test "$(ls -l wide | awk 'NR > 1 {print $1, $2, $5}' | sort | uniq -c)" = "   1500 -rw-r--r-- 1 0"
        rm -rf tree wide; test -z "$(ls -A)"
        """
    )


DEEPER = """
import os
for _ in range(300):
    os.mkdir("level")
    os.chdir("level")
open("bottom", "w").write("here")
"""


def test_a_deep_tree(mounted: Mount) -> None:
    """Made, walked and removed by programs that go down one level at a time."""
    mounted.sh(f"mkdir deep; cd deep; python3 -c '{DEEPER}'")
    again = mounted.remount()
    assert again.sh("find deep | wc -l; find deep -name bottom -exec cat {} +") == "302\nhere"
    assert again.sh("rm -rf deep; ls -A") == ""


def test_dd_and_fio_past_the_page_cache(mounted: Mount) -> None:
    mounted.sh(
        """
        dd if=/dev/urandom of=/run/random bs=1M count=6 status=none
        dd if=/run/random of=direct bs=256k oflag=direct status=none; cmp direct /run/random
        dd if=direct bs=64k iflag=direct status=none | cmp - /run/random
        # Half a page in the middle, and one past the end.
        cp direct copy
        for at in 1 3071 3073; do
            dd if=/run/random of=copy bs=2k count=1 seek=$at conv=notrunc status=none
            dd if=/run/random of=direct bs=2k count=1 seek=$at conv=notrunc oflag=direct status=none
        done
        cmp copy direct; test "$(stat -c %s direct)" = $((3074 * 2048))
        """
    )
    mounted.sh(
        """
        fio --name=mixed --filename=fio --size=8M --rw=randrw --bsrange=512-128k --bs_unaligned=0 --direct=1 \
            --ioengine=psync --verify=crc32c --verify_fatal=1 --randseed=7 --fsync=64 --minimal >/dev/null
        fio --name=streams --directory=. --numjobs=3 --thread --size=4M --rw=write --bs=256k --direct=1 \
            --ioengine=psync --verify=sha256 --verify_fatal=1 --do_verify=1 --minimal >/dev/null
        """,
        timeout_s=240,
    )
