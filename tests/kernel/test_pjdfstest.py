"""pjdfstest at a real client: nothing fails but what no NFS server can do.

bench/conformance.py compares all versions with the stock server; here the stock server only shows that the exceptions
are its own as well.
"""

import pytest

from tests.support import pjdfstest, uml
from tests.support.caudal import Caudal
from tests.support.stock import StockGanesha


@pytest.mark.parametrize("version", uml.DISTINCT)
def test_nothing_fails_that_nfs_can_do(client: uml.Client, shared: Caudal, version: str) -> None:
    report = pjdfstest.run(client, shared, version)
    assert len(report.ran()) > 390, f"few tests ran: {sorted(report.skipped)}"
    unexpected = report.failed.keys() - pjdfstest.known_failures(version)
    assert not unexpected, {name: report.failed[name] for name in unexpected}


@pytest.mark.parametrize("version", uml.DISTINCT)
def test_the_exceptions_fail_on_the_stock_server_too(
    client: uml.Client, stock: StockGanesha, version: str
) -> None:
    known = pjdfstest.known_failures(version)
    report = pjdfstest.run(client, stock, version, *sorted(known))
    assert report.failed.keys() == known, (
        "a test of the list passes on the stock server: it must pass on ours"
    )
