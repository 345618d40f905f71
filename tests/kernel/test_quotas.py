"""Limits on directories at the kernel's own client: what programs are told, and what df shows."""

from collections.abc import Callable, Iterator

import pytest

from tests.kernel.conftest import Mount, mount
from tests.support import uml
from tests.support.caudal import Caudal

KIB = 1024


@pytest.fixture
def place(client: uml.Client, shared: Caudal, request: pytest.FixtureRequest) -> Iterator[Mount]:
    yield from mount(client, shared, request)
