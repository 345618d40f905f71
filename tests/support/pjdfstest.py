"""The Rust port of pjdfstest, run by a kernel client on mounts of a server: what it found, test by test."""

import re
from dataclasses import dataclass, field
from typing import Protocol

from tests.support import uml
from tests.support.processes import CACHE

PROGRAM = CACHE / "pjdfstest/bin/pjdfstest"
EXPORT = "/data"
# Users that every Debian has, each with the group of its entry as its main one.
_CONFIGURATION = """
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}
stat_st_birthtime = {}
[settings]
naptime = 0.02
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
"""
# These remount the file system, which the client's kernel refuses while earlier tests' inodes are on their way out.
_REMOUNTING = "erofs"
_VERDICT = re.compile(r"^(\S+::\S+)\s+(ok|FAILED|skipped)$")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

# What fails on every NFS server, and why: test, version ("" is any), reason.
KNOWN_FAILURES = (
    (
        "unlink::open_file_not_freed",
        "",
        "the client renames a file that it has open and removes it at the last close, so its link count stays 1",
    ),
    ("utimensat::y2038", "3", "times of version 3 are unsigned 32-bit seconds: they end in 2106"),
)


class Server(Protocol):
    nfs_port: int
    mountd_port: int


@dataclass
class Report:
    """Names of tests by how they ended; of those that failed also why."""

    passed: set[str] = field(default_factory=set[str])
    skipped: set[str] = field(default_factory=set[str])
    failed: dict[str, str] = field(default_factory=dict[str, str])

    def ran(self) -> set[str]:
        return self.passed | self.failed.keys()


def known_failures(version: str) -> set[str]:
    return {name for name, of, _ in KNOWN_FAILURES if of in ("", version)}


def parse(output: str) -> Report:
    """The report of a run's whole output. Raises ValueError where its summary is missing or counts others."""
    plain = _COLOUR.sub("", output)
    report = Report()
    last = ""
    for line in plain.splitlines():
        found = _VERDICT.match(line)
        if found:
            last, verdict = found.groups()
            if verdict == "ok":
                report.passed.add(last)
            elif verdict == "skipped":
                report.skipped.add(last)
            else:
                report.failed[last] = ""
        elif last in report.failed and line.strip() and not line.startswith("Summary"):
            report.failed[last] = f"{report.failed[last]} {line.strip()}".strip()
    summary = re.search(r"^Summary: .* (\d+) total", plain, re.MULTILINE)
    if not summary:
        raise ValueError(f"pjdfstest did not reach its end:\n{plain[-2000:]}")
    if int(summary[1]) != len(report.ran()) + len(report.skipped):
        raise ValueError(
            f"{summary[0]!r}, but {len(report.ran())} ran and {len(report.skipped)} were skipped"
        )
    return report


def run(client: uml.Client, server: Server, version: str, *names: str, timeout_s: float = 400) -> Report:
    """Runs all tests, or those named, on mounts of the server's export by a version.

    A second file system, for links and renames across the border, is the client's own /run.
    """
    if names:
        whole = [f"pjdfstest::tests::{name}" for name in names]
        return _run(client, server, version, ["-e", *whole], timeout_s, remount=False)
    report = _run(client, server, version, [], timeout_s, remount=False)
    remounting = _run(client, server, version, [_REMOUNTING], timeout_s, remount=True)
    report.skipped -= remounting.ran()
    report.passed |= remounting.passed
    report.failed |= remounting.failed
    return report


def _run(
    client: uml.Client, server: Server, version: str, arguments: list[str], timeout_s: float, *, remount: bool
) -> Report:
    setting = f"allow_remount = {'true' if remount else 'false'}"
    configuration = _CONFIGURATION.replace("[settings]", f"[settings]\n{setting}")
    with client.mounted(version, server.nfs_port, EXPORT, mountd_port=server.mountd_port) as point:
        done = client.run(
            f"cat >/run/pjdfstest.toml <<'END'\n{configuration}END\nmkdir -p /run/other\n"
            f"{PROGRAM} -c /run/pjdfstest.toml -s /run/other -p {point} {' '.join(arguments)}",
            timeout_s,
            check=False,
        )
    return parse(done.output)
