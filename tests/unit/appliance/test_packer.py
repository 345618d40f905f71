"""Packer's templates and scripts, and the list of what an image holds."""

import subprocess
from pathlib import Path

import pytest

from packer import sbom
from tests.support.processes import ROOT

TEMPLATES = ROOT / "packer"
SCRIPTS = sorted((TEMPLATES / "scripts").iterdir())


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
    # What the image is to get need not be built for this, but its place is looked for.
    (ROOT / "dist/debs").mkdir(parents=True, exist_ok=True)
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


def test_packages_that_are_gone_are_not_listed() -> None:
    status = (
        "Package: kept\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2-3\nDescription: a\n b: c\n\n"
        "Package: removed\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n"
    )
    assert [(one["name"], one["versionInfo"]) for one in sbom.debian(status)] == [("kept", "1:2-3")]
