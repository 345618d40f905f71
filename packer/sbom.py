"""What is in an image, as SPDX 2.3: python3 -m packer.sbom IMAGE.ext4 writes JSON to standard output.

Debian's packages from dpkg's status, Python's from the names of their metadata directories, crates from the lock file; read
out of the file system without mounting it.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

STATUS: Final = "/var/lib/dpkg/status"
SITE: Final = "/usr/lib/caudal/lib/python3.11/site-packages"
CRATES: Final = Path("gateway/core/Cargo.lock")
_METADATA: Final = re.compile(r"(\S+)-([^-\s]+)\.dist-info$")
_OURS: Final = {"caudal", "caudal-admin", "caudal-appliance"}


def debugfs(image: Path, request: str) -> str:
    """The answer of debugfs. Raises RuntimeError where the path is not in the image."""
    done = subprocess.run(["debugfs", "-R", request, str(image)], capture_output=True, text=True, check=True)
    if "File not found" in done.stderr:
        raise RuntimeError(f"{image}: {request}: {done.stderr.strip()}")
    return done.stdout


def debian(status: str) -> Iterator[dict[str, Any]]:
    """The installed packages of a dpkg status file."""
    for paragraph in status.strip().split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in paragraph.splitlines() if re.match(r"[A-Z][\w-]*: ", line)
        )
        if fields.get("Status") != "install ok installed":
            continue
        name, version, arch = fields["Package"], fields["Version"], fields["Architecture"]
        supplier = "Organization: Caudal" if name in _OURS else "Organization: Debian"
        purl = f"pkg:deb/debian/{name}@{version}?arch={arch}"
        yield package(f"deb-{name}-{arch}", name, version, purl, supplier)


def python(listing: str) -> Iterator[dict[str, Any]]:
    for line in listing.splitlines():
        if found := _METADATA.search(line.strip()):
            name, version = found[1].replace("_", "-").lower(), found[2]
            yield package(f"pypi-{name}", name, version, f"pkg:pypi/{name}@{version}")


def crates(lock: str) -> Iterator[dict[str, Any]]:
    """What the native core was built of; the workspace's own crates have no source."""
    for one in tomllib.loads(lock)["package"]:
        if "source" in one:
            name, version = one["name"], one["version"]
            yield package(f"cargo-{name}-{version}", name, version, f"pkg:cargo/{name}@{version}")


def package(key: str, name: str, version: str, purl: str, supplier: str = "NOASSERTION") -> dict[str, Any]:
    return {
        "SPDXID": "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", key),
        "name": name,
        "versionInfo": version,
        "supplier": supplier,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}
        ],
    }


def document(packages: list[dict[str, Any]], created: datetime) -> dict[str, Any]:
    """The document; its namespace follows from what is in it."""
    digest = hashlib.sha256(json.dumps(packages, sort_keys=True).encode()).hexdigest()[:32]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "caudal-image",
        "documentNamespace": f"https://spdx.org/spdxdocs/caudal-image-{digest}",
        "creationInfo": {
            "created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: caudal-packer.sbom"],
        },
        "packages": packages,
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": one["SPDXID"],
            }
            for one in packages
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path)
    image = parser.parse_args().image
    found = [
        *debian(debugfs(image, f"cat {STATUS}")),
        *python(debugfs(image, f"ls -p {SITE}").replace("/", " ")),
        *crates(CRATES.read_text()),
    ]
    json.dump(document(found, datetime.now(UTC)), sys.stdout, indent=1)  # noqa: TID251  (a build is of this moment)


if __name__ == "__main__":
    main()
