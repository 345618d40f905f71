"""The templates, the scripts, and what `make image` leaves."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from packer import sbom
from tests.support.processes import ROOT

pytestmark = pytest.mark.timeout(1500)
TEMPLATES = ROOT / "packer"
SCRIPTS = sorted((TEMPLATES / "scripts").iterdir())
GIB = 1 << 30


def packer(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["packer", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("folder", [TEMPLATES, TEMPLATES / "current"], ids=["templates", "plugins"])
def test_templates_are_in_form(folder: Path) -> None:
    done = packer("fmt", "-check", folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_terraform_files_are_in_form(tmp_path: Path) -> None:
    """Packer's formatter reads the same language: it refuses what is none, and what is not in form."""
    text = (ROOT / "appliance/azure/terraform/main.tf").read_text()
    (tmp_path / "main.pkr.hcl").write_text(text)
    assert packer("fmt", "-check", tmp_path).returncode == 0


def test_templates_are_valid_for_both_sources(tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    given = {"base": key, "base_key": key, "subscription_id": "00000000-0000-0000-0000-000000000000"}
    words = [word for name, value in given.items() for word in ("-var", f"{name}={value}")]
    for source in ("qemu.caudal", "azure-arm.caudal"):
        done = packer("validate", f"-only={source}", *words, TEMPLATES)
        assert done.returncode == 0, done.stdout + done.stderr
    wrong = packer("validate", "-only=qemu.caudal", "-var", "base=", "-var", f"base_key={key}", TEMPLATES)
    assert wrong.returncode != 0, "and it does look"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_ends_with_its_check(script: Path) -> None:
    text = script.read_text()
    assert text.startswith("#!/bin/bash\n# ")
    assert "set -euo pipefail" in text
    assert "\n# check\n" in text
    assert len(text.split("\n# check\n")[1].splitlines()) >= 3
    subprocess.run(["bash", "-n", script], check=True)


def test_the_image_is_what_its_checksums_say_and_not_too_large(image: Path) -> None:
    for line in (image.parent / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        with (image.parent / name).open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == digest, name
    assert image.stat().st_size <= 1.5 * GIB
    assert (image.parent / "caudal.qcow2").stat().st_size <= 1.5 * GIB


def test_the_list_of_what_is_in_it_names_packages_of_all_kinds(image: Path) -> None:
    document = json.loads((image.parent / "caudal.spdx.json").read_text())
    assert document["spdxVersion"] == "SPDX-2.3"
    packages = {one["name"]: one for one in document["packages"]}
    for name in ("caudal", "caudal-admin", "nfs-ganesha", "samba", "openssh-server", "cryptography", "tokio"):
        assert packages[name]["versionInfo"], name
    ids = [one["SPDXID"] for one in document["packages"]]
    assert len(set(ids)) == len(ids)
    assert {one["relatedSpdxElement"] for one in document["relationships"]} == set(ids)


def test_packages_that_are_gone_are_not_listed() -> None:
    status = (
        "Package: kept\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2-3\nDescription: a\n b: c\n\n"
        "Package: removed\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n"
    )
    assert [(one["name"], one["versionInfo"]) for one in sbom.debian(status)] == [("kept", "1:2-3")]
