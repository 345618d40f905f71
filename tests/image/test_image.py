"""What `make image` leaves."""

import hashlib
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(1500)
GIB = 1 << 30


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
