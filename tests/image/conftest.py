"""The built image, and appliances made of it."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.appliance import IMAGE, Appliance
from tests.support.processes import ROOT

# Linux renews no sooner than after 5 s, so the lease is well above that: an idle client whose lease is over at each renewal
# gives up after ten recoveries, with EIO.
CONFIG = """\
export = "/data"
clients = ["192.168.0.0/16"]
lease_s = 15
grace_s = 15
"""


# Built beside the tests that come before, by one worker of the run: the last minutes then are those of its tests alone.
_BUILD: list[subprocess.Popen[bytes]] = []


def pytest_collection_finish(session: pytest.Session) -> None:
    wanted = any(Path(__file__).parent in item.path.parents for item in session.items)
    first = getattr(session.config, "workerinput", {"workerid": "gw0"})["workerid"] == "gw0"
    if wanted and first and not session.config.option.collectonly and not os.environ.get("TEST_IMAGE"):
        quiet = subprocess.DEVNULL
        command = [str(ROOT / "tools/image")]
        _BUILD.append(
            subprocess.Popen(
                command, stdin=quiet, stdout=quiet, stderr=quiet, cwd=ROOT, start_new_session=True
            )
        )


def pytest_sessionfinish() -> None:
    for build in _BUILD:
        if build.poll() is None:
            os.killpg(build.pid, signal.SIGTERM)
        build.wait()


@pytest.fixture(scope="session")
def image() -> Path:
    """dist/caudal.img of this tree, built where it is not there yet (minutes); TEST_IMAGE names one to take as it is."""
    if given := os.environ.get("TEST_IMAGE"):
        return Path(given)
    # Where it is being built this waits; where that failed it fails again, and says why.
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
