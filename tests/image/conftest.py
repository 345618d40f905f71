"""The built image, and appliances made of it."""

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.appliance import IMAGE, Appliance
from tests.support.processes import CACHE, ROOT

# Linux renews no sooner than after 5 s, so the lease is well above that: an idle client whose lease is over at each renewal
# gives up after ten recoveries, with EIO.
CONFIG = """\
export = "/data"
clients = ["192.168.0.0/16"]
lease_s = 15
grace_s = 15
"""


@pytest.fixture(scope="session")
def image() -> Path:
    """dist/caudal.img of this tree, built where it is not there yet (minutes); TEST_IMAGE names one to take as it is."""
    if given := os.environ.get("TEST_IMAGE"):
        return Path(given)
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Packer needs the machine's own ways, and makes a network of its own.
        done = subprocess.run([ROOT / "tools/image"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return IMAGE


@pytest.fixture(scope="module")
def appliances(
    private_network: None, image: Path, module_disk_path: Path
) -> Iterator[Callable[..., Appliance]]:
    """Makes appliances, which the test gives disks and starts; ends them with the module."""
    made: list[Appliance] = []

    def make(config: str = CONFIG, **options: object) -> Appliance:
        one = Appliance(module_disk_path / f"appliance{len(made)}", image=image, **options)  # type: ignore[arg-type]
        made.append(one)
        if config:
            one.put("etc/caudal/caudal.toml", config, 0o600)
        return one

    yield make
    for one in made:
        one.close()
