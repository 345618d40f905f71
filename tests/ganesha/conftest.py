"""Clients of NFS 4 that send what a test wants, on the server that a module shares."""

from collections.abc import Iterator
from itertools import count

import pytest

from tests.ganesha.nfs4_session import Session
from tests.support.caudal import Caudal

_numbers = count()


@pytest.fixture(scope="module", params=[0, 1, 2], ids=["4.0", "4.1", "4.2"])
def minor(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def session(shared: Caudal, minor: int) -> Iterator[Session]:
    """Root's client, one for a module and version."""
    with Session(shared.nfs_port, b"root-%d" % next(_numbers), minor) as client:
        yield client


@pytest.fixture
def place(session: Session) -> bytes:
    """A directory of the test's own."""
    return session.make(session.root, b"place-%d" % next(_numbers))


@pytest.fixture
def other(shared: Caudal, minor: int) -> Iterator[Session]:
    """A second client, also root's."""
    with Session(shared.nfs_port, b"other-%d" % next(_numbers), minor) as client:
        client.renew()
        yield client
