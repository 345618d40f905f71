from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.metadata.database import Database, sqlite_url
from tests.unit.metadata.harness import FS_ID, FakeHarness


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database with the newest schema, to be copied: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "metadata.db"
    Database(sqlite_url(path), FS_ID).close()
    return path


@pytest.fixture
def harness(tmp_path: Path, template: Path) -> Iterator[FakeHarness]:
    harness = FakeHarness(tmp_path, template)
    yield harness
    harness.close()
