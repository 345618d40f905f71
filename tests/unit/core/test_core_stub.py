"""The stub says what the binary does."""

import re
import subprocess
import sys
from pathlib import Path

from gateway import _core

REPOSITORY = Path(__file__).parents[3]


def test_stub_and_binary_agree() -> None:
    check = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "gateway._core", "--concise"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert check.returncode == 0, check.stdout + check.stderr


def test_failpoints_are_named() -> None:
    assert len(set(_core.FAILPOINTS)) == len(_core.FAILPOINTS)
    assert set(_core.FAILPOINTS) == {
        name
        for source in (REPOSITORY / "gateway" / "core").glob("**/src/**/*.rs")
        for name in re.findall(r'failpoint::hit\("([a-z_.]+)"\)', source.read_text())
    }
    _core.failpoint("nothing.armed")
