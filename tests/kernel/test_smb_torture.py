"""Samba's own test programs at the appliance's share, whose files are on our server: what must pass, passes, and what does
not is excluded for a reason (smb_expectations.py, docs/smb.md). Takes some minutes, so only with TEST_VERSIONS=all.
"""

import os
import shutil
import warnings
from collections.abc import Iterator

import pytest

from tests.kernel.smb_expectations import SUITES, TIMING
from tests.support import uml
from tests.support.caudal import Caudal
from tests.support.smb_share import PROGRAMS, Share

SUITE_TIMEOUT_S = 240
pytestmark = [
    pytest.mark.timeout(3 * SUITE_TIMEOUT_S),
    pytest.mark.skipif(os.environ.get("TEST_VERSIONS") != "all", reason="takes some minutes: make test-all"),
]


@pytest.fixture(scope="module")
def share(private_network: None, shared: Caudal) -> Iterator[Share]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    assert not missing, f"install {', '.join(missing)}: tools/setup client"
    with uml.Client(memory_mib=768) as client:
        one = Share(client, shared)
        one.start()
        yield one


@pytest.mark.parametrize("name", SUITES)
def test_what_must_pass_passes(share: Share, name: str) -> None:
    suite = SUITES[name]
    found, said = share.torture(suite.arguments(name), SUITE_TIMEOUT_S)
    wrong = {each: found.get(each, "did not end") for each in suite.passes if found.get(each) != "success"}
    assert not wrong, f"{name}: {wrong}\n{said[-4000:]}\n{share.log_tail()}"
    unknown = {each for each, what in found.items() if what != "skip"} - suite.known()
    assert not unknown, f"{name}: neither in the list of what must pass nor excluded: {unknown}"
    better = [each for each, why in suite.excluded.items() if found.get(each) == "success" and why != TIMING]
    if better:
        warnings.warn(f"smb2.{name}: excluded, and passes: {', '.join(better)}", stacklevel=1)
