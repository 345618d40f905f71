"""Builds the plugin: ``python -m gateway.pyganesha.build`` leaves ``_build/libfsalpyganesha.so`` beside this file.

Run it with the Python whose virtual environment will hold the file system: the plugin is bound to that CPython build.
Ganesha's headers are no Debian package; they come from its source package and are kept under ``$CAUDAL_CACHE``
(default ``~/.cache/caudal``). Nothing of Ganesha is compiled. Unchanged inputs are not built again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
NATIVE = HERE / "native"
OUTPUT = HERE / "_build"
LIBRARY = OUTPUT / "libfsalpyganesha.so"
GANESHA_LIBRARY = Path("/usr/lib/ganesha/libganesha_nfsd.so")
SUPPORTED = "4.3"
PACKAGES = [
    *(
        "nfs-ganesha",
        "libntirpc-dev",
        "cmake",
        "gcc",
        "g++",
        "bison",
        "flex",
        "dpkg-dev",
        "libpython3.11-dev",
    ),
    *("liburcu-dev", "libkrb5-dev", "libdbus-1-dev", "uuid-dev", "libcap-dev", "libblkid-dev", "libacl1-dev"),
    "libnfsidmap-dev",
]
OTHER_FSALS = (
    "VFS",
    "PROXY_V3",
    "PROXY_V4",
    "LUSTRE",
    "LIZARDFS",
    "KVSFS",
    "CEPH",
    "GPFS",
    "XFS",
    "GLUSTER",
    "RGW",
)
# What has no influence on the headers that config.h decides stays off, so that cmake asks for little.
CMAKE_FLAGS = [
    *("-DUSE_SYSTEM_NTIRPC=ON", "-DUSE_DBUS=ON", "-DUSE_9P=ON", "-DUSE_GSS=ON"),
    *("-DUSE_GUI_ADMIN_TOOLS=OFF", "-DUSE_MAN_PAGE=OFF", "-DUSE_RADOS_RECOV=OFF"),
    *(f"-DUSE_FSAL_{name}=OFF" for name in OTHER_FSALS),
]
C_FLAGS = [
    *("-shared", "-fPIC", "-O2", "-g", "-std=gnu11", "-Wall", "-Wno-unused-function", "-fvisibility=hidden"),
    *("-D_FILE_OFFSET_BITS=64", "-DLINUX", "-D_GNU_SOURCE"),
]


class BuildError(Exception):
    """The plugin cannot be built; the message says what to do."""


def say(text: str) -> None:
    print(f"pyganesha: {text}", flush=True)


def run(command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
    """Runs a command quietly; its output is shown only where it fails."""
    done = subprocess.run(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-40:])
        raise BuildError(f"`{' '.join(command)}` failed with status {done.returncode}:\n{tail}")


def cache_directory() -> Path:
    chosen = os.environ.get("CAUDAL_CACHE")
    return (Path(chosen) if chosen else Path.home() / ".cache" / "caudal") / "ganesha"


def missing_packages() -> list[str]:
    query = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *PACKAGES]
    listed = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    return [name for name in PACKAGES if f"{name} installed" not in listed]


def install_packages() -> None:
    """Installs what is missing, as root; else says what to install."""
    missing = missing_packages()
    if not missing:
        return
    if os.geteuid() != 0:
        raise BuildError(f"packages are missing; as root: apt-get install {' '.join(missing)}")
    say(f"installing {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-qq"], env=environment)
    run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], env=environment)


def ganesha_version() -> str:
    query = ["dpkg-query", "-W", "-f", "${Version}", "nfs-ganesha"]
    found = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    version = found.split(":")[-1].rsplit("-", 1)[0]
    if version != SUPPORTED:
        raise BuildError(
            f"nfs-ganesha {SUPPORTED} is needed (its plugin interface has no promise); found {found or 'none'}"
        )
    return version


def has_source_lists() -> bool:
    lists = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    return any(
        line.startswith("deb-src") or (line.startswith("Types:") and "deb-src" in line.split())
        for path in lists
        if path.is_file()
        for line in path.read_text(errors="replace").splitlines()
    )


def add_source_lists() -> None:
    """Writes deb-src twins of Debian's own package lists, whose keys and suites they keep."""
    if os.geteuid() != 0:
        raise BuildError("apt has no deb-src lines; add them to /etc/apt/sources.list.d, or run this as root")
    say("adding deb-src lines for apt")
    folder = Path("/etc/apt/sources.list.d")
    modern, classic = folder / "debian.sources", Path("/etc/apt/sources.list")
    if modern.is_file():
        text = "\n".join(
            "Types: deb-src" if line.strip() == "Types: deb" else line
            for line in modern.read_text().splitlines()
        )
        (folder / "debian-src.sources").write_text(text + "\n")
    elif classic.is_file():
        lines = [f"deb-src{line[3:]}" for line in classic.read_text().splitlines() if line.startswith("deb ")]
        (folder / "debian-src.list").write_text("\n".join(lines) + "\n")
    else:
        raise BuildError("found no Debian package lists to add deb-src lines to")
    run(["apt-get", "update", "-qq"])


def fetch_headers(version: str) -> Path:
    """The unpacked, configured source tree of Ganesha; fetched once."""
    tree = cache_directory() / f"nfs-ganesha-{version}"
    if (tree / "build" / "include" / "config.h").is_file():
        return tree
    tree.parent.mkdir(parents=True, exist_ok=True)
    archive = tree.parent / f"nfs-ganesha_{version}.orig.tar.gz"
    if not archive.is_file():
        if not has_source_lists():
            add_source_lists()
        say(f"fetching the source of nfs-ganesha {version} for its headers")
        fetch = ["apt-get", "source", "--tar-only", "--download-only", "nfs-ganesha"]
        try:
            run(fetch, cwd=tree.parent)
        except BuildError:
            if os.geteuid() != 0:
                raise
            run(["apt-get", "update", "-qq"])  # its lists may be older than the deb-src lines, or gone
            run(fetch, cwd=tree.parent)
        if not archive.is_file():
            raise BuildError(f"apt-get source left no {archive.name} in {archive.parent}")
    partial = tree.with_name(f"{tree.name}.{os.getpid()}")
    partial.mkdir()
    try:
        run(["tar", "xzf", str(archive), "-C", str(partial), "--strip-components=1"])
        shutil.rmtree(tree, ignore_errors=True)
        partial.rename(tree)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    say("configuring the headers")
    run(["cmake", "-S", str(tree / "src"), "-B", str(tree / "build"), *CMAKE_FLAGS])
    return tree


def sources() -> list[Path]:
    return sorted(path for path in NATIVE.iterdir() if path.suffix in {".c", ".h", ".pyx", ".pxi", ".pxd"})


def compiler_command(tree: Path, generated: Path, target: Path) -> list[str]:
    include = [
        NATIVE,
        HERE / "include",
        tree / "build" / "include",
        tree / "src" / "include",
        tree / "src" / "include" / "os" / "linux",
    ]
    python_library = str(sysconfig.get_config_var("INSTSONAME") or "")
    if not sysconfig.get_config_var("Py_ENABLE_SHARED") or ".so" not in python_library:
        raise BuildError(
            f"{sys.executable} has no shared libpython; make the virtual environment with Debian's /usr/bin/python3"
        )
    package = __package__ or "pyganesha"
    return [
        *("gcc", *C_FLAGS),
        *(f"-I{path}" for path in include),
        *(
            "-I/usr/include/ntirpc",
            f"-I{sysconfig.get_path('include')}",
            f"-I{sysconfig.get_path('platinclude')}",
        ),
        f'-DPYGANESHA_PACKAGE="{package}"',
        f'-DPYGANESHA_LIBPYTHON="{python_library}"',
        f'-DPYGANESHA_BASE_PREFIX="{sys.base_prefix}"',
        *(str(path) for path in sources() if path.suffix == ".c"),
        *(str(generated), "-o", str(target)),
        *("-Wl,-z,nodelete", "-Wl,-z,defs", str(GANESHA_LIBRARY), "-lntirpc", "-lpthread", "-ldl"),
        f"-L{sysconfig.get_config_var('LIBDIR')}",
        f"-lpython{sysconfig.get_config_var('LDVERSION')}",
    ]


def fingerprint(command: Sequence[str]) -> str:
    digest = hashlib.sha256("\0".join(command).encode())
    digest.update(sys.version.encode())
    for path in [*sources(), *sorted((HERE / "include").glob("*.h")), GANESHA_LIBRARY]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def build(*, force: bool = False) -> Path:
    """Builds the plugin where anything changed; returns its path. Raises BuildError."""
    install_packages()
    tree = fetch_headers(ganesha_version())
    OUTPUT.mkdir(exist_ok=True)
    generated, partial = OUTPUT / "_pyganesha_native.c", OUTPUT / f"libfsalpyganesha.so.{os.getpid()}"
    stamp = OUTPUT / "inputs"
    state = fingerprint(compiler_command(tree, generated, LIBRARY))
    if not force and LIBRARY.is_file() and stamp.is_file() and stamp.read_text() == state:
        say(f"{LIBRARY} is up to date")
        return LIBRARY
    say("translating Cython to C")
    run(
        [
            sys.executable,
            "-m",
            "cython",
            "-3",
            "-I",
            str(NATIVE),
            str(NATIVE / "_pyganesha_native.pyx"),
            "-o",
            str(generated),
        ]
    )
    say("compiling")
    try:
        run(compiler_command(tree, generated, partial))
        partial.rename(LIBRARY)
    finally:
        partial.unlink(missing_ok=True)
    stamp.write_text(state)
    say(f"built {LIBRARY}")
    return LIBRARY


def main() -> int:
    try:
        build(force="--force" in sys.argv[1:])
    except (BuildError, OSError) as failure:
        print(f"pyganesha: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
