"""What the appliance's package does to the machine's units when it is installed, upgraded and removed."""

import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT

SCRIPTS = ROOT / "appliance/debian/caudal-appliance"


@pytest.mark.parametrize(
    ("words", "calls"),
    [
        (("postinst", "configure", ""), {"mask nfs-ganesha.service"}),
        (("postinst", "configure", "0.1.0"), {"mask nfs-ganesha.service"}),
        (("postrm", "upgrade", "0.2.0"), set[str]()),
        (("postrm", "failed-upgrade", "0.2.0"), set[str]()),
        (("postrm", "remove"), {"unmask nfs-ganesha.service"}),
        (("postrm", "purge"), {"unmask nfs-ganesha.service"}),
    ],
)
def test_debians_own_unit_stays_masked_as_long_as_the_package_is_there(
    tmp_path: Path, words: tuple[str, ...], calls: set[str]
) -> None:
    log = tmp_path / "calls"
    for name in ("systemctl", "systemd-tmpfiles"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "$@" >>{log}\n')
        program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(["/bin/sh", SCRIPTS / words[0], *words[1:]], check=True, env=environment)
    said = log.read_text().splitlines() if log.exists() else []
    assert {call for call in said if "mask" in call} == calls
